/* SPDX-License-Identifier: Apache-2.0
 *
 * The pump: one thread that reads records, submits them, and writes results in input order. Every
 * record that is not written yet stands in a queue, a ring of slots that own their cleaned
 * sequence until then; failed records wait there for their turn. It sleeps only in one poll() on
 * the input and the session, and writes out what it has before that.
 *
 * With --long window a long record is several sequences to the daemon: they are sent one by one,
 * and its rows put together (window.h) as it stands at the head of the queue.
 *
 * When the daemon goes away, what is in the queue is sent again to the one that comes.
 */
#include "client/filter/connection.h"
#include "client/filter/report.h"
#include "client/filter/verbs.h"
#include "client/filter/warnings.h"
#include "client/filter/window.h"
#include "ipc/base/fifo.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define QUEUE_SLOTS 1024u      /* at most; a power of two */
#define QUEUE_SLOTS_FIRST 2u   /* a small call needs no more */
#define QUEUE_BYTES (4u << 20) /* of input in the queue: no record joins more */
#define FEED_RECORDS 32

struct stream {
    const struct options *options;
    struct input input;
    struct record_rules rules;
    struct reader reader;
    struct output output;
    struct warnings warnings;
    struct progress progress;
    uint64_t residues; /* embedded so far */
    struct connection connection;

    /* Slots head, head + 1, ... modulo their number: first those that were submitted (or failed),
     * then at most one that waits for room, then the one that is being read. */
    struct fifo queue; /* of struct record */
    uint64_t head, submitted, tail;
    size_t queued;        /* bytes of input in it */
    uint32_t sent;        /* windows of the record at submitted that went */
    struct stitch stitch; /* of the record at head */

    /* The last result that was taken, while the output refers to rows up to it. */
    struct esm1nv_result held;
    esm1nv_session *holder; /* the session it is of; NULL: none is held */

    bool input_waits; /* the reader needs input_read() */
    bool input_ended;
    int input_error; /* negative exit status: told when all before it is written */
};

static struct record *slot(const struct stream *stream, uint64_t number) {
    return fifo_at(&stream->queue, number, sizeof(struct record));
}

static struct windows windows_of_record(const struct stream *stream, const struct record *record) {
    return windows_of(record->residue_count, stream->rules.positions);
}

static esm1nv_session *session_of(const struct stream *stream, const struct record *record) {
    return record->residue_count > stream->rules.positions ? stream->connection.windows
                                                           : stream->connection.session;
}

/* Writes out what waits, and gives back the results that are held for it. */
static int flush(struct stream *stream) {
    int code = output_flush(&stream->output);
    if (stream->holder)
        esm1nv_release(stream->holder, &stream->held);
    stream->holder = NULL;
    return code;
}

/* Gives a result back, and all of its session before it: now, or when its rows are written. */
static void give_back(struct stream *stream, esm1nv_session *session,
                      const struct esm1nv_result *result, bool now) {
    if (now)
        esm1nv_release(session, result);
    stream->held = *result;
    stream->holder = now ? NULL : session;
}

/* A session failed. Returns 1 when there are new ones, which know nothing of the queue. */
static int restore(struct stream *stream, const esm1nv_session *failed, int code) {
    int result = flush(stream); /* it may take a while */
    if (result == 0)
        result = connection_restore(&stream->connection, failed, code, stream->warnings.records);
    stream->submitted = stream->head;
    stream->sent = 0;
    stream->stitch.taken = 0;
    return result < 0 ? result : 1;
}

static bool finished(const struct stream *stream) {
    return stream->input_ended && stream->head == stream->tail;
}

/* The oldest record leaves the queue: with its rows, or with its failure. */
static int write_head(struct stream *stream, const struct esm1nv_result *result) {
    struct record *record = slot(stream, stream->head++);
    if (result && result->status != ESM1NV_RECORD_OK)
        record_fail(record, "%s", esm1nv_status_text(result->status));
    if (!record_failed(record))
        stream->residues += record->residue_count;
    warnings_add(&stream->warnings, record);
    stream->queued -= record_size(record);
    int code = output_write(&stream->output, record, result);
    record_trim(record);
    return code;
}

/* One result of the record at the head, which is its only one or that of a window. */
static int take_window(struct stream *stream, const struct windows *windows,
                       const struct esm1nv_result *result) {
    if (windows->count == 1)
        return write_head(stream, result);
    /* What the output refers to would be given back with this one, or overwritten by it. */
    int code = stream->holder || output_refers(&stream->output) ? flush(stream) : 0;
    stitch_add(&stream->stitch, windows, result);
    if (code < 0 || stream->stitch.taken < windows->count)
        return code;
    struct esm1nv_result whole = stitch_end(&stream->stitch, windows);
    return write_head(stream, &whole);
}

/* Takes what is there for the record at the head. Returns 1 when there was something. */
static int take_head(struct stream *stream) {
    const struct record *record = slot(stream, stream->head);
    if (record_failed(record)) {
        int code = write_head(stream, NULL);
        return code < 0 ? code : 1;
    }
    esm1nv_session *session = session_of(stream, record);
    struct windows windows = windows_of_record(stream, record);
    struct esm1nv_result result;
    int next = esm1nv_next(session, &result, 0);
    if (next == ESM1NV_AGAIN)
        return 0;
    if (next < 0)
        return restore(stream, session, next);
    if (next != 0 || result.tag != record->ordinal)
        return -report_daemon_error(ESM1NV_ERROR_PROTOCOL, "a result came out of order");
    int code = take_window(stream, &windows, &result);
    /* The rows of a window were copied. */
    give_back(stream, session, &result, windows.count > 1 || !output_refers(&stream->output));
    return code < 0 ? code : 1;
}

/* Writes what is done. Returns 1 when there was something. */
static int take_results(struct stream *stream) {
    int progress = 0;
    while (stream->head < stream->submitted || stream->stitch.taken < stream->sent) {
        int taken = take_head(stream);
        if (taken <= 0)
            return taken < 0 ? taken : progress;
        progress = 1;
    }
    return progress;
}

/* Submits the record that waits, or its next window. Returns 1 when it went. */
static int submit_next(struct stream *stream) {
    if (stream->submitted == stream->tail)
        return 0;
    struct record *record = slot(stream, stream->submitted);
    if (!record_failed(record)) {
        esm1nv_session *session = session_of(stream, record);
        struct windows windows = windows_of_record(stream, record);
        int code =
            esm1nv_submit(session, record->ordinal,
                          record->residues + window_start(&windows, stream->sent), windows.size);
        if (code == ESM1NV_AGAIN)
            return 0;
        if (code == ESM1NV_ERROR_ARGUMENT || code == ESM1NV_ERROR_LENGTH ||
            code == ESM1NV_ERROR_LETTER)
            record_fail(record, "%s", esm1nv_error_name(code));
        else if (code < 0)
            return restore(stream, session, code);
        else if (++stream->sent < windows.count)
            return 1;
    }
    stream->sent = 0;
    stream->submitted++;
    return 1;
}

/* A record is read only when the one before it is on its way, so that little is held here. */
static bool wants_record(const struct stream *stream) {
    return !stream->input_ended && stream->submitted == stream->tail &&
           stream->tail - stream->head < QUEUE_SLOTS && stream->queued < QUEUE_BYTES;
}

/* Reads a record out of the bytes that are there. Returns 1 when one was complete. */
static int read_record(struct stream *stream) {
    if (!wants_record(stream) || stream->input_waits)
        return 0;
    if (stream->tail - stream->head == stream->queue.count &&
        fifo_grow(&stream->queue, stream->head, QUEUE_SLOTS_FIRST, sizeof(struct record)) < 0)
        exit_out_of_memory();
    struct record *record = slot(stream, stream->tail);
    int result = reader_next(&stream->reader, record);
    if (result == READER_RECORD) {
        stream->queued += record_size(record);
        stream->tail++;
        return 1;
    }
    stream->input_waits = result == READER_WAIT;
    stream->input_ended = result != READER_WAIT;
    stream->input_error = result < 0 ? result : 0;
    return 0;
}

/* Sends on what the input has, up to a few records, so that results are not left waiting. */
static int feed(struct stream *stream) {
    int progress = 0;
    for (int i = 0; i < FEED_RECORDS; i++) {
        int submitted = submit_next(stream);
        if (submitted < 0)
            return submitted;
        int read = read_record(stream);
        if (submitted + read == 0)
            break;
        progress = 1;
    }
    return progress;
}

static void read_input(struct stream *stream) {
    int result = input_read(&stream->input);
    stream->input_waits = false;
    stream->input_ended = result < 0;
    stream->input_error = result;
}

/* Sleeps until the input or the session that serves the head has something. Room for records of
 * the other session, which are behind it, is not worth waking up for. Writes out first if that
 * takes time. */
static int wait_for_more(struct stream *stream) {
    bool reading = wants_record(stream);
    struct pollfd polls[2] = {{.fd = -1, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    if (reading) {
        polls[0].fd = input_fd(&stream->input);
        if (polls[0].fd < 0) {
            read_input(stream);
            return 0;
        }
    }
    if (stream->tail != stream->head)
        polls[1].fd = esm1nv_fd(session_of(stream, slot(stream, stream->head)));
    int ready = poll(polls, 2, 0);
    if (ready == 0) {
        int result = flush(stream);
        if (result < 0)
            return result;
        ready = poll(polls, 2, progress_timeout(&stream->progress));
    }
    if (ready < 0 && errno != EINTR) {
        report("poll: %s", strerror(errno));
        return -EX_SOFTWARE;
    }
    if (ready > 0 && polls[0].revents)
        read_input(stream);
    return 0;
}

/* Input bytes behind what was written: of those that were read, the share of records. */
static uint64_t bytes_done(const struct stream *stream) {
    double share = stream->tail ? (double)stream->head / (double)stream->tail : 0;
    return (uint64_t)((double)stream->input.bytes_read * share);
}

/* One round: results first, so that the session has room. */
static int step(struct stream *stream) {
    int taken = take_results(stream);
    if (taken < 0)
        return taken;
    int fed = feed(stream);
    if (fed < 0)
        return fed;
    progress_update(&stream->progress, stream->warnings.records, stream->residues,
                    bytes_done(stream));
    return taken || fed || finished(stream) ? 0 : wait_for_more(stream);
}

static int pump(struct stream *stream) {
    int result = 0;
    while (result == 0 && !finished(stream))
        result = step(stream);
    return result < 0 ? result : stream->input_error;
}

/* What the daemon told decides how records are cleaned and how wide rows are. */
static int begin(struct stream *stream) {
    const struct esm1nv_info *info = esm1nv_info(stream->connection.session);
    options_set_rules(stream->options, &stream->rules, info->alphabet, info->positions,
                      info->hidden);
    stream->stitch = (struct stitch){.pooling = stream->options->pooling,
                                     .dtype = stream->options->dtype,
                                     .hidden = info->hidden};
    stream->warnings.positions = info->positions;
    stream->warnings.verbose = stream->options->verbose;
    reader_init(&stream->reader, &stream->input, &stream->rules, stream->options->input);
    progress_start(&stream->progress, stream->options->progress, stream->input.bytes_total,
                   stream->output.target.fd);
    return output_begin(&stream->output, info->hidden);
}

static int run(struct stream *stream) {
    const struct options *options = stream->options;
    stream->output.format = options->format;
    stream->output.pooling = options->pooling;
    stream->output.dtype = options->dtype;
    connection_begin(&stream->connection, options);
    int result = input_open(&stream->input, options->files, options->file_count);
    if (result == 0 && options->output)
        result = input_spare(&stream->input, options->output);
    if (result == 0 && options->index)
        result = input_spare(&stream->input, options->index);
    if (result == 0)
        result = output_open(&stream->output, options->output, options->index);
    if (result == 0 && input_fd(&stream->input) < 0)
        read_input(stream); /* while the daemon answers */
    if (result == 0)
        result = connection_open(&stream->connection);
    if (result == 0)
        result = begin(stream);
    if (result < 0)
        return result;
    result = pump(stream);
    progress_clear();
    if (result == 0)
        result = output_commit(&stream->output);
    else if (result != -EX_IOERR)
        output_flush(&stream->output); /* what came before the error is output */
    warnings_tell(&stream->warnings);
    return result;
}

static int embed_run(const struct options *options) {
    struct stream stream = {
        .options = options, .output = OUTPUT_NULL, .connection = CONNECTION_NULL};
    int result = run(&stream);
    if (result == 0 && stream.warnings.failed)
        result = -EX_DATAERR;
    connection_finish(&stream.connection);
    stitch_finish(&stream.stitch);
    output_finish(&stream.output);
    input_finish(&stream.input);
    for (uint64_t i = 0; i < stream.queue.count; i++)
        record_finish(slot(&stream, i));
    free(stream.queue.slots);
    return -result;
}

const struct verb verb_embed = {.run = embed_run};

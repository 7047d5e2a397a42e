/* SPDX-License-Identifier: Apache-2.0
 *
 * Embedding: one thread reads records, submits them, and writes results in input order. Every
 * record that is not written yet stands in a queue and keeps its cleaned sequence; records that
 * failed wait there for their turn. The thread sleeps only in one poll() on the input and the
 * session, and writes out what it has before that.
 *
 * With --long window a long record is several sequences to the daemon. They are sent one by one,
 * and the record's rows are put together (window.h) while it is at the head of the queue.
 *
 * When the daemon goes away, all records in the queue are sent again to the next one.
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
#define QUEUE_SLOTS_FIRST 2u   /* enough for a small call */
#define QUEUE_BYTES (4u << 20) /* with so much input in the queue no record is added */
#define FEED_RECORDS 32        /* that are submitted before results are looked for again */

/* What steps return when they did something; 0 means there was nothing to do, and a negative value
 * is an exit status. */
enum { EMBED_MOVED = 1 };

struct embed {
    const struct options *options;
    struct input input;
    struct record_rules rules;
    struct reader reader;
    struct output output;
    struct warnings warnings;
    struct progress progress;
    uint64_t residues; /* embedded so far */
    struct connection connection;

    /* Records from number `head` on: first those that were submitted or have failed, then at most
     * one that waits to be submitted, and at `tail` the one that is being read. */
    struct fifo queue; /* of struct record */
    uint64_t head, submitted, tail;
    size_t queued;        /* bytes of input in the queue */
    uint32_t sent;        /* windows of the record at `submitted` that were submitted */
    struct stitch stitch; /* of the record at `head` */

    /* The last answer that was taken but not released, since the output refers to its rows. */
    struct esm1nv_result held;
    esm1nv_session *holder; /* the session of that answer; NULL: none is held */

    bool input_waits; /* the reader needs input_read() */
    bool input_ended;
    int input_error; /* negative exit status, returned when all records before it are written */
};

static struct record *embed_slot(const struct embed *embed, uint64_t number) {
    return fifo_at(&embed->queue, number, sizeof(struct record));
}

static struct windows embed_windows(const struct embed *embed, const struct record *record) {
    return windows_of(record->residue_count, embed->rules.positions);
}

static esm1nv_session *embed_session(const struct embed *embed, const struct record *record) {
    return record->residue_count > embed->rules.positions ? embed->connection.windows
                                                          : embed->connection.session;
}

/* Writes out what waits, and releases the results that were held for it. */
static int embed_flush(struct embed *embed) {
    int result = output_flush(&embed->output);
    if (embed->holder)
        esm1nv_release(embed->holder, &embed->held);
    embed->holder = NULL;
    return result;
}

/* Called when a session failed. Returns EMBED_MOVED when there are new ones, to which all records
 * in the queue must be submitted again. */
static int embed_restore(struct embed *embed, const esm1nv_session *failed, int reason) {
    int result = embed_flush(embed); /* first, since waiting for a daemon may take a while */
    if (result == 0)
        result = connection_restore(&embed->connection, failed, reason, embed->warnings.records);
    embed->submitted = embed->head;
    embed->sent = 0;
    embed->stitch.taken = 0;
    return result < 0 ? result : EMBED_MOVED;
}

static bool embed_finished(const struct embed *embed) {
    return embed->input_ended && embed->head == embed->tail;
}

/* Writes the oldest record with its rows or its failure, and takes it from the queue. */
static int embed_write_head(struct embed *embed, const struct esm1nv_result *answer) {
    struct record *record = embed_slot(embed, embed->head++);
    if (answer && answer->status != ESM1NV_RECORD_OK)
        record_fail(record, "%s", esm1nv_status_text(answer->status));
    if (!record_failed(record))
        embed->residues += record->residue_count;
    warnings_add(&embed->warnings, record);
    embed->queued -= record_size(record);
    int result = output_write(&embed->output, record, answer);
    record_trim(record);
    return result;
}

/* Takes an answer for the record at the head, which is the only one or that of a window. */
static int take_window(struct embed *embed, const struct windows *windows,
                       const struct esm1nv_result *answer) {
    if (windows->count == 1)
        return embed_write_head(embed, answer);
    /* Rows that the output still refers to would be released together with this answer, or
     * overwritten by stitch_add(). */
    int result = embed->holder || output_refers(&embed->output) ? embed_flush(embed) : 0;
    stitch_add(&embed->stitch, windows, answer);
    if (result < 0 || embed->stitch.taken < windows->count)
        return result;
    struct esm1nv_result whole = stitch_end(&embed->stitch, windows);
    return embed_write_head(embed, &whole);
}

/* Takes the next answer for the record at the head, if it is there. */
static int take_head(struct embed *embed) {
    const struct record *record = embed_slot(embed, embed->head);
    if (record_failed(record)) {
        int result = embed_write_head(embed, NULL);
        return result < 0 ? result : EMBED_MOVED;
    }
    esm1nv_session *session = embed_session(embed, record);
    struct windows windows = embed_windows(embed, record);
    struct esm1nv_result answer;
    int result = esm1nv_next(session, &answer, 0);
    if (result == ESM1NV_AGAIN)
        return 0;
    if (result < 0)
        return embed_restore(embed, session, result);
    if (result != 0 || answer.tag != record->ordinal)
        return -report_daemon_error(ESM1NV_ERROR_PROTOCOL, "a result came out of order");
    result = take_window(embed, &windows, &answer);
    /* The answer is released when its rows are written; those of windows were copied. Releasing it
     * releases all earlier ones of its session, so the last one is all that needs to be kept. */
    bool written = windows.count > 1 || !output_refers(&embed->output);
    if (written)
        esm1nv_release(session, &answer);
    embed->held = answer;
    embed->holder = written ? NULL : session;
    return result < 0 ? result : EMBED_MOVED;
}

/* Takes all answers that are there, and writes the records that are done. */
static int take_results(struct embed *embed) {
    int result = 0;
    while (embed->head < embed->submitted || embed->stitch.taken < embed->sent) {
        int taken = take_head(embed);
        if (taken <= 0)
            return taken < 0 ? taken : result;
        result = EMBED_MOVED;
    }
    return result;
}

/* Submits the record that waits for that, or its next window. */
static int submit_next(struct embed *embed) {
    if (embed->submitted == embed->tail)
        return 0;
    struct record *record = embed_slot(embed, embed->submitted);
    if (!record_failed(record)) {
        esm1nv_session *session = embed_session(embed, record);
        struct windows windows = embed_windows(embed, record);
        const uint8_t *residues = record->residues + window_start(&windows, embed->sent);
        int result = esm1nv_submit(session, record->ordinal, residues, windows.size);
        if (result == ESM1NV_AGAIN)
            return 0;
        if (result == ESM1NV_ERROR_ARGUMENT || result == ESM1NV_ERROR_LENGTH ||
            result == ESM1NV_ERROR_LETTER)
            record_fail(record, "%s", esm1nv_error_name(result));
        else if (result < 0)
            return embed_restore(embed, session, result);
        else if (++embed->sent < windows.count)
            return EMBED_MOVED;
    }
    embed->sent = 0;
    embed->submitted++;
    return EMBED_MOVED;
}

/* A record is read only when the one before it was submitted, so that little is kept here. */
static bool wants_record(const struct embed *embed) {
    return !embed->input_ended && embed->submitted == embed->tail &&
           embed->tail - embed->head < QUEUE_SLOTS && embed->queued < QUEUE_BYTES;
}

/* Reads a record out of the bytes that are there, if they complete it. */
static int read_record(struct embed *embed) {
    if (!wants_record(embed) || embed->input_waits)
        return 0;
    if (embed->tail - embed->head == embed->queue.count &&
        fifo_grow(&embed->queue, embed->head, QUEUE_SLOTS_FIRST, sizeof(struct record)) < 0)
        exit_out_of_memory();
    struct record *record = embed_slot(embed, embed->tail);
    int result = reader_next(&embed->reader, record);
    if (result == READER_RECORD) {
        embed->queued += record_size(record);
        embed->tail++;
        return EMBED_MOVED;
    }
    embed->input_waits = result == READER_WAIT;
    embed->input_ended = result != READER_WAIT;
    embed->input_error = result < 0 ? result : 0;
    return 0;
}

/* Reads and submits a limited number of records, so that results do not wait too long. */
static int embed_feed(struct embed *embed) {
    int result = 0;
    for (int i = 0; i < FEED_RECORDS; i++) {
        int submitted = submit_next(embed);
        if (submitted < 0)
            return submitted;
        if (read_record(embed) == 0 && submitted == 0)
            break;
        result = EMBED_MOVED;
    }
    return result;
}

static void read_input(struct embed *embed) {
    int result = input_read(&embed->input);
    embed->input_waits = false;
    embed->input_ended = result < 0;
    embed->input_error = result;
}

/* Sleeps until the input, or the session that serves the record at the head, has something. The
 * other session serves only records behind that one, so it need not wake up the filter. If nothing
 * is there at once, output is written first. */
static int embed_wait(struct embed *embed) {
    bool reading = wants_record(embed);
    struct pollfd polls[2] = {{.fd = -1, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    if (reading) {
        polls[0].fd = input_fd(&embed->input);
        if (polls[0].fd < 0) {
            read_input(embed);
            return 0;
        }
    }
    if (embed->tail != embed->head)
        polls[1].fd = esm1nv_fd(embed_session(embed, embed_slot(embed, embed->head)));
    int ready = poll(polls, 2, 0);
    if (ready == 0) {
        int result = embed_flush(embed);
        if (result < 0)
            return result;
        ready = poll(polls, 2, progress_timeout(&embed->progress));
    }
    if (ready < 0 && errno != EINTR) {
        report("poll: %s", strerror(errno));
        return -EX_SOFTWARE;
    }
    if (ready > 0 && polls[0].revents)
        read_input(embed);
    return 0;
}

/* Estimates how many bytes of input belong to the records that are written: of the bytes that were
 * read, the same share as of the records. */
static uint64_t bytes_done(const struct embed *embed) {
    double share = embed->tail ? (double)embed->head / (double)embed->tail : 0;
    return (uint64_t)((double)embed->input.bytes_read * share);
}

/* One round. Results are taken first, so that the session has room for more. */
static int embed_step(struct embed *embed) {
    int taken = take_results(embed);
    if (taken < 0)
        return taken;
    int fed = embed_feed(embed);
    if (fed < 0)
        return fed;
    progress_update(&embed->progress, embed->warnings.records, embed->residues, bytes_done(embed));
    bool moved = taken == EMBED_MOVED || fed == EMBED_MOVED;
    return moved || embed_finished(embed) ? 0 : embed_wait(embed);
}

/* Sets what depends on the model: how records are cleaned, and how wide rows are. */
static int embed_begin(struct embed *embed) {
    const struct esm1nv_info *info = esm1nv_info(embed->connection.session);
    options_set_rules(embed->options, &embed->rules, info->alphabet, info->positions, info->hidden);
    embed->stitch = (struct stitch){
        .pooling = embed->options->pooling, .dtype = embed->options->dtype, .hidden = info->hidden};
    embed->warnings.positions = info->positions;
    embed->warnings.verbose = embed->options->verbose;
    reader_init(&embed->reader, &embed->input, &embed->rules, embed->options->input);
    progress_start(&embed->progress, embed->options->progress, embed->input.bytes_total,
                   embed->output.target.fd);
    return output_begin(&embed->output, info->hidden);
}

static int embed_open(struct embed *embed) {
    const struct options *options = embed->options;
    embed->output.format = options->format;
    embed->output.pooling = options->pooling;
    embed->output.dtype = options->dtype;
    connection_begin(&embed->connection, options);
    int result = input_open(&embed->input, options->files, options->file_count);
    if (result == 0 && options->output)
        result = input_spare(&embed->input, options->output);
    if (result == 0 && options->index)
        result = input_spare(&embed->input, options->index);
    if (result == 0)
        result = output_open(&embed->output, options->output, options->index);
    if (result == 0 && input_fd(&embed->input) < 0)
        read_input(embed); /* while the daemon answers */
    if (result == 0)
        result = connection_open(&embed->connection);
    return result < 0 ? result : embed_begin(embed);
}

static int embed_all(struct embed *embed) {
    int result = embed_open(embed);
    if (result < 0)
        return result;
    while (result == 0 && !embed_finished(embed))
        result = embed_step(embed);
    if (result == 0)
        result = embed->input_error;
    progress_clear();
    if (result == 0)
        result = output_commit(&embed->output);
    else if (result != -EX_IOERR)
        output_flush(&embed->output); /* records before the error are still output */
    warnings_tell(&embed->warnings);
    return result;
}

static int embed_run(const struct options *options) {
    struct embed embed = {.options = options, .output = OUTPUT_NULL, .connection = CONNECTION_NULL};
    int result = embed_all(&embed);
    if (result == 0 && embed.warnings.failed > 0)
        result = -EX_DATAERR;
    connection_finish(&embed.connection);
    stitch_finish(&embed.stitch);
    output_finish(&embed.output);
    input_finish(&embed.input);
    for (uint64_t i = 0; i < embed.queue.count; i++)
        record_finish(embed_slot(&embed, i));
    free(embed.queue.slots);
    return -result;
}

const struct verb verb_embed = {.run = embed_run};

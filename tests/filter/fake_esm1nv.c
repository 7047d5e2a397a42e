/* SPDX-License-Identifier: Apache-2.0
 *
 * A library without a daemon, for testing the filter alone. Row values are small fractions that
 * follow from the residue, its position and the column (harness.py says the same), exact in
 * float16. The environment makes it difficult: FAKE_HIDDEN and FAKE_POSITIONS change the model,
 * FAKE_DELAY answers only after milliseconds, FAKE_ROOM takes so many records at a time, FAKE_AGAIN
 * answers AGAIN every second time, FAKE_CONNECT fails with an error code, FAKE_SLOW connects only
 * after milliseconds, FAKE_LOST goes away before the result of that ordinal every time, FAKE_FLAKY
 * once before every so many results, FAKE_REBORN fails with an error code when that is to be made
 * good, FAKE_BACKEND is another one from then on, FAKE_BAD gives that record a status, FAKE_EXTREME
 * puts odd values in, FAKE_VALUE the same everywhere. And FAKE_FULL lets close() tell of a full
 * disk.
 */
#include "client/esm1nv.h"
#include "ipc/base/half.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define ROOM_MAX 64
#define SLOTS 512 /* and as many as a filter may hold before it releases them */

struct pending {
    uint64_t tag;
    uint8_t *sequence;
    size_t length;
    int64_t due; /* milliseconds */
    void *rows;  /* of its result, until that is released */
    size_t rows_size;
};

/* Where FAKE_FLAKY struck last. */
static uint64_t struck;

struct esm1nv_session {
    struct esm1nv_options options;
    struct esm1nv_info info;
    struct pending pending[SLOTS];
    uint64_t released, head, tail; /* rows live until they are released */
    unsigned calls;
    int timer;
    char text[128];
};

static long setting(const char *name, long fallback) {
    const char *value = getenv(name);
    return value ? atol(value) : fallback;
}

/* Linked with --wrap=close. */
int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd) {
    int result = __real_close(fd);
    if (!setting("FAKE_FULL", 0))
        return result;
    errno = ENOSPC;
    return -1;
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* The timer is the session's descriptor: readable from milliseconds on. */
static void wake_in(const esm1nv_session *session, int64_t milliseconds) {
    if (milliseconds < 1)
        milliseconds = 1;
    struct itimerspec when = {
        .it_value = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000}};
    timerfd_settime(session->timer, 0, &when, NULL);
}

static int fail(esm1nv_session *session, int code, const char *text) {
    snprintf(session->text, sizeof session->text, "%s", text);
    return code;
}

int esm1nv_connect_begin(esm1nv_session **result, const struct esm1nv_options *options) {
    esm1nv_session *session = calloc(1, sizeof *session);
    *result = session;
    if (!session)
        return ESM1NV_ERROR_MEMORY;
    session->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    session->options = *options;
    return 0;
}

int esm1nv_connect_complete(esm1nv_session *session) {
    const struct esm1nv_options *options = &session->options;
    if (setting("FAKE_SLOW", 0))
        usleep((useconds_t)setting("FAKE_SLOW", 0) * 1000);
    int code = (int)setting(struck ? "FAKE_REBORN" : "FAKE_CONNECT", 0);
    if (code < 0)
        return fail(session, code, "the fake refuses");
    if (options->expect_digest &&
        strncmp("0123456789", options->expect_digest, strlen(options->expect_digest)) != 0)
        return fail(session, ESM1NV_ERROR_MODEL, "the fake serves model 0123456789");
    session->info = (struct esm1nv_info){
        .socket = "fake",
        .digest = "0123456789",
        .model = "fake",
        .backend = struck && getenv("FAKE_BACKEND") ? getenv("FAKE_BACKEND") : "null",
        .precision = "f32",
        .synthetic = setting("FAKE_SYNTHETIC", 0) != 0,
        .hidden = (uint32_t)setting("FAKE_HIDDEN", 8),
        .positions = (uint32_t)setting("FAKE_POSITIONS", 512)};
    for (const char *letter = "LAGVSERTIDPKQNFYMHWCXBUZO"; *letter; letter++)
        session->info.alphabet[*letter / 8] |= (uint8_t)(1u << (*letter % 8));
    return 0;
}

int esm1nv_connect(esm1nv_session **session, const struct esm1nv_options *options) {
    int code = esm1nv_connect_begin(session, options);
    return code < 0 ? code : esm1nv_connect_complete(*session);
}

const struct esm1nv_info *esm1nv_info(const esm1nv_session *session) {
    return &session->info;
}

static int again(esm1nv_session *session) {
    wake_in(session, 1);
    return ESM1NV_AGAIN;
}

int esm1nv_submit(esm1nv_session *session, uint64_t tag, const void *sequence, size_t length) {
    long room = setting("FAKE_ROOM", ROOM_MAX);
    if (session->tail - session->head >= (uint64_t)room ||
        session->tail - session->released == SLOTS)
        return ESM1NV_AGAIN;
    if (setting("FAKE_AGAIN", 0) && session->calls++ % 2 == 0)
        return again(session);
    if (length == 0 || length > session->info.positions)
        return ESM1NV_ERROR_LENGTH;
    uint8_t *copy = malloc(length);
    if (!copy)
        return ESM1NV_ERROR_MEMORY;
    memcpy(copy, sequence, length);
    session->pending[session->tail++ % SLOTS] = (struct pending){
        .tag = tag, .sequence = copy, .length = length, .due = now() + setting("FAKE_DELAY", 0)};
    return 0;
}

/* In units of 1/64. */
static int value_of(const struct pending *record, size_t position, uint32_t column) {
    unsigned mixed = record->sequence[position] * 31u + (unsigned)position * 7u + column * 3u;
    return (int)(mixed % 401) - 200;
}

/* The mean is not divided, so that it stays exact. */
static int pooled(const esm1nv_session *session, const struct pending *record, uint32_t column) {
    int sum = 0, most = -200;
    for (size_t i = 0; i < record->length; i++) {
        int value = value_of(record, i, column);
        sum = (sum + value) % 1024;
        most = value > most ? value : most;
    }
    if (session->options.pooling == ESM1NV_POOL_BOS)
        return value_of(record, 0, column);
    return session->options.pooling == ESM1NV_POOL_MAX ? most : sum;
}

static float row_value(const esm1nv_session *session, const struct pending *record, uint32_t row,
                       uint32_t column) {
    static const float extremes[] = {0.0f, -0.0f, 1e-5f, 1e-45f, 3.4028235e38f, 1e9f, 0.1f, -1.0f};
    if (setting("FAKE_EXTREME", 0))
        return extremes[column % 8];
    if (getenv("FAKE_VALUE"))
        return strtof(getenv("FAKE_VALUE"), NULL);
    bool each = session->options.pooling == ESM1NV_POOL_NONE;
    return (float)(each ? value_of(record, row, column) : pooled(session, record, column)) / 64.0f;
}

static void fill_rows(const esm1nv_session *session, struct pending *record, uint32_t rows) {
    uint32_t hidden = session->info.hidden;
    record->rows_size = (size_t)rows * hidden * 4 + 4;
    record->rows = malloc(record->rows_size);
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < hidden; column++) {
            float value = row_value(session, record, row, column);
            size_t place = (size_t)row * hidden + column;
            if (session->options.dtype == ESM1NV_F16)
                ((uint16_t *)record->rows)[place] = f16_from_float(value);
            else
                ((float *)record->rows)[place] = value;
        }
}

static enum esm1nv_status status_of(const esm1nv_session *session, const struct pending *record) {
    if ((uint64_t)setting("FAKE_BAD", 0) == record->tag)
        return ESM1NV_RECORD_NONFINITE;
    if (session->options.pooling == ESM1NV_POOL_BOS && record->length >= session->info.positions)
        return ESM1NV_RECORD_NO_BOS;
    return ESM1NV_RECORD_OK;
}

int esm1nv_next(esm1nv_session *session, struct esm1nv_result *result, int timeout) {
    (void)timeout; /* the filter only looks */
    if (session->head == session->tail)
        return ESM1NV_END;
    struct pending *record = &session->pending[session->head % SLOTS];
    if (record->due > now()) {
        wake_in(session, record->due - now());
        return ESM1NV_AGAIN;
    }
    if (setting("FAKE_AGAIN", 0) && session->calls++ % 2 == 0)
        return again(session);
    if ((uint64_t)setting("FAKE_LOST", 0) == record->tag)
        return fail(session, ESM1NV_ERROR_LOST, "the fake went away");
    uint64_t flaky = (uint64_t)setting("FAKE_FLAKY", 0);
    if (flaky && record->tag % flaky == 0 && record->tag > struck) {
        struck = record->tag;
        return fail(session, ESM1NV_ERROR_LOST, "the fake went away");
    }
    enum esm1nv_status status = status_of(session, record);
    uint32_t rows = session->options.pooling == ESM1NV_POOL_NONE ? (uint32_t)record->length : 1;
    rows = status == ESM1NV_RECORD_OK ? rows : 0;
    fill_rows(session, record, rows);
    size_t value = session->options.dtype == ESM1NV_F16 ? 2 : 4;
    *result = (struct esm1nv_result){.tag = record->tag,
                                     .status = status,
                                     .row_count = rows,
                                     .rows = record->rows,
                                     .bytes = rows * session->info.hidden * value,
                                     .internal = ++session->head};
    free(record->sequence);
    return 0;
}

/* Whoever still reads rows that were given back sees what they never were. */
void esm1nv_release(esm1nv_session *session, const struct esm1nv_result *result) {
    for (; session->released < result->internal; session->released++) {
        struct pending *record = &session->pending[session->released % SLOTS];
        memset(record->rows, 0xEE, record->rows_size);
        free(record->rows);
    }
}

int esm1nv_fd(const esm1nv_session *session) {
    return session->timer;
}

void esm1nv_close(esm1nv_session *session) {
    if (!session)
        return;
    esm1nv_release(session, &(struct esm1nv_result){.internal = session->head});
    for (; session->head < session->tail; session->head++)
        free(session->pending[session->head % SLOTS].sequence);
    close(session->timer);
    free(session);
}

const char *esm1nv_error_text(const esm1nv_session *session) {
    return session->text;
}

const char *esm1nv_error_name(int code) {
    return code == ESM1NV_ERROR_LENGTH ? "bad length" : "bad letter";
}

const char *esm1nv_status_text(enum esm1nv_status status) {
    return status == ESM1NV_RECORD_NO_BOS ? "no start token" : "a value is not finite";
}

int esm1nv_status(const char *socket,
                  void (*visit)(void *context, const char *name, const char *text, uint64_t number),
                  void *context, char text[256]) {
    (void)socket;
    if (setting("FAKE_CONNECT", 0)) {
        snprintf(text, 256, "no daemon answers");
        return ESM1NV_ERROR_CONNECT;
    }
    visit(context, "version", "0 \"fake\"\n\x7f\xc3\x80\xc2\x80", 0);
    visit(context, "clients", NULL, 12345678901u);
    return 0;
}

int esm1nv_stop(const char *socket, char text[256]) {
    (void)socket;
    snprintf(text, 256, "no daemon answers");
    return (int)setting("FAKE_CONNECT", 0);
}

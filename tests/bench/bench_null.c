/* SPDX-License-Identifier: Apache-2.0
 *
 * This measures everything but the model's arithmetic, over the null backend: how much the filter
 * and the library can carry, against what this machine can copy and what a pipe can carry; and how
 * long a number takes to become text.
 */
#include "client/filter/output/number.h"
#include "tests/bench/bench.h"

#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 7
#define COPY_BYTES ((size_t)64 << 20)
#define WRITE_BYTES ((size_t)1 << 20)
#define ROW_BYTES (768 * sizeof(float))

#define POOLED_RECORDS 300000u
#define POOLED_LENGTH 100u
#define ROWS_RECORDS 4000u
#define ROWS_LENGTH 300u
#define ROWS_BYTES ((size_t)ROWS_RECORDS * ROWS_LENGTH * ROW_BYTES)
#define NUMBERS 1000000u

static volatile uint64_t sink; /* what is read must be read */

enum { MEMCPY, PIPE, POOLED_RATE, POOLED, POOLED_CAT, ROWS, ROWS_READ, ROWS_CAT, NUMBER, COUNT };

static const struct {
    struct bench_figure figure;
    int baseline;
} figures[COUNT] = {
    [MEMCPY] = {{"memcpy of 64 MiB", "GB/s", NULL, NULL, 0}, -1},
    [PIPE] = {{"writes of 1 MiB | cat", "GB/s", NULL, NULL, 0}, -1},
    [POOLED_RATE] = {{"null, mean of 100 residues", "records/s", NULL, ">=", 1.5e6}, -1},
    [POOLED] = {{"null, mean", "GB/s", "memcpy", "ratio >=", 0.3}, MEMCPY},
    [POOLED_CAT] = {{"null, mean | cat", "GB/s", "pipe", "ratio >=", 0.6}, PIPE},
    [ROWS] = {{"null, rows, unread", "GB/s", "memcpy", NULL, 0}, MEMCPY},
    [ROWS_READ] = {{"null, rows, every byte read", "GB/s", "memcpy", "ratio >=", 1.0}, MEMCPY},
    [ROWS_CAT] = {{"null, rows | cat", "GB/s", "pipe", "ratio >=", 0.6}, PIPE},
    [NUMBER] = {{"number as text", "ns", NULL, "<=", 30}, -1},
};

/* --- the machine --- */

static double memcpy_rate(char *to, const char *from) {
    unsigned copies = 0;
    double start = bench_seconds(), took;
    do {
        memcpy(to, from, COPY_BYTES);
        sink += (uint8_t)to[copies++];
        took = bench_seconds() - start;
    } while (took < 0.1);
    return (double)(copies * COPY_BYTES) / took * 1e-9;
}

/* Starts `cat >/dev/null`; returns the end of a pipe to write to. */
static int cat_start(pid_t *cat) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        err(1, "pipe");
    *cat = bench_spawn(ends[0], -1, "/bin/cat", NULL);
    close(ends[0]);
    return ends[1];
}

static double pipe_rate(const char *bytes) {
    size_t left = ROWS_BYTES;
    double start = bench_seconds();
    pid_t cat;
    int to = cat_start(&cat);
    fcntl(to, F_SETPIPE_SZ, WRITE_BYTES);
    while (left > 0) {
        ssize_t written = write(to, bytes, left < WRITE_BYTES ? left : WRITE_BYTES);
        if (written < 0)
            err(1, "write");
        left -= (size_t)written;
    }
    close(to);
    bench_await(cat, "cat");
    return (double)ROWS_BYTES / (bench_seconds() - start) * 1e-9;
}

/* --- the filter --- */

static double filter_seconds(const struct bench_daemon *daemon, const char *pooling,
                             const char *input, bool to_cat) {
    double start = bench_seconds();
    pid_t cat;
    int to = to_cat ? cat_start(&cat) : -1;
    pid_t filter = bench_filter_start(daemon, "raw", pooling, input, to);
    if (to_cat)
        close(to);
    bench_await(filter, "esm1nv");
    if (to_cat)
        bench_await(cat, "cat");
    return bench_seconds() - start;
}

static double pooled_rate(const struct bench_daemon *daemon, const char *input, bool to_cat) {
    return POOLED_RECORDS / filter_seconds(daemon, "mean", input, to_cat);
}

static double rows_rate(const struct bench_daemon *daemon, const char *input, bool to_cat) {
    return (double)ROWS_BYTES / filter_seconds(daemon, "none", input, to_cat) * 1e-9;
}

/* --- the library --- */

static void result_read(const struct esm1nv_result *result) {
    const uint64_t *words = result->rows;
    uint64_t sum = 0;
    if (result->bytes != ROWS_LENGTH * ROW_BYTES)
        errx(1, "a result of %zu bytes", result->bytes);
    for (size_t i = 0; i < result->bytes / sizeof *words; i += 4)
        sum += (words[i] ^ words[i + 1]) + (words[i + 2] ^ words[i + 3]);
    sink += sum;
}

/* This is a client in this process that submits as far ahead as there is room, and reads all
 * rows. */
static double library_rate(const struct bench_daemon *daemon) {
    char sequence[ROWS_LENGTH];
    struct esm1nv_result row;
    unsigned sent = 0, taken = 0;
    memset(sequence, 'A', sizeof sequence);
    esm1nv_session *session = bench_connect(daemon, ESM1NV_POOL_NONE);
    double start = bench_seconds();
    while (taken < ROWS_RECORDS) {
        while (sent < ROWS_RECORDS &&
               esm1nv_submit(session, sent, sequence, sizeof sequence) == ESM1NV_OK)
            sent++;
        int result = esm1nv_next(session, &row, -1);
        while (result == ESM1NV_OK) {
            result_read(&row);
            esm1nv_release(session, &row);
            taken++;
            result = esm1nv_next(session, &row, 0);
        }
        if (result < 0)
            errx(1, "%s", esm1nv_error_text(session));
    }
    double took = bench_seconds() - start;
    esm1nv_close(session);
    return (double)ROWS_BYTES / took * 1e-9;
}

/* --- numbers --- */

/* Makes values such as embeddings have: of both signs, near one. */
static float *numbers_make(void) {
    float *values = malloc(NUMBERS * sizeof *values);
    uint32_t random = 1;
    if (!values)
        errx(1, "out of memory");
    for (unsigned i = 0; i < NUMBERS; i++) {
        random = random * 1664525 + 1013904223;
        values[i] = ((float)(random >> 8) - 0x1p23F) * 0x1p-22F;
    }
    return values;
}

static double number_nanoseconds(const float *values) {
    char text[NUMBER_MAX];
    double start = bench_seconds();
    for (unsigned i = 0; i < NUMBERS; i++)
        sink += (uint64_t)(number_write(text, values[i]) - text);
    return (bench_seconds() - start) / NUMBERS * 1e9;
}

int main(void) {
    static double values[COUNT][ROUNDS];
    const char *pooled = bench_fasta_write("pooled.fasta", POOLED_RECORDS, POOLED_LENGTH);
    const char *rows = bench_fasta_write("rows.fasta", ROWS_RECORDS, ROWS_LENGTH);
    char *from = malloc(COPY_BYTES), *to = malloc(COPY_BYTES);
    float *numbers = numbers_make();
    struct bench_daemon daemon;
    if (!from || !to)
        errx(1, "out of memory");
    memset(from, 1, COPY_BYTES);
    memset(to, 2, COPY_BYTES);
    bench_daemon_start(&daemon, "null", NULL);
    for (unsigned r = 0; r < ROUNDS; r++) {
        values[MEMCPY][r] = memcpy_rate(to, from);
        values[POOLED_RATE][r] = pooled_rate(&daemon, pooled, false);
        values[POOLED][r] = values[POOLED_RATE][r] * (double)ROW_BYTES * 1e-9;
        values[ROWS][r] = rows_rate(&daemon, rows, false);
        values[ROWS_READ][r] = library_rate(&daemon);
        values[PIPE][r] = pipe_rate(from);
        values[POOLED_CAT][r] = pooled_rate(&daemon, pooled, true) * (double)ROW_BYTES * 1e-9;
        values[ROWS_CAT][r] = rows_rate(&daemon, rows, true);
        values[NUMBER][r] = number_nanoseconds(numbers);
    }
    if (bench_daemon_number(&daemon, "records") != ROUNDS * (2 * POOLED_RECORDS + 3 * ROWS_RECORDS))
        errx(1, "not all records that were sent were served");
    bench_daemon_stop(&daemon);
    for (int f = 0; f < COUNT; f++)
        bench_figure_print(&figures[f].figure, values[f],
                           figures[f].baseline < 0 ? NULL : values[figures[f].baseline], ROUNDS);
    free(from);
    free(to);
    free(numbers);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * This measures what a small call costs over the null backend: the round trip of one pooled
 * request, against a bare ping-pong between two processes over the same kind of socket; and the
 * filter as a whole process that embeds one sequence, against /bin/true.
 */
#include "tests/bench/bench.h"

#include <err.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS 9
#define TRIPS 2000
#define PROCESSES 60
#define LENGTH 100

static char sequence[LENGTH];

/* This is the other process of the ping-pong, which answers with as many bytes as a row has. */
static void answer(int fd) {
    static char row[768 * sizeof(float)];
    char request[256];
    while (recv(fd, request, sizeof request, 0) > 0)
        if (send(fd, row, sizeof row, 0) < 0)
            break;
    _exit(0);
}

static int answerer_start(pid_t *pid) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        err(1, "socketpair");
    *pid = fork();
    if (*pid < 0)
        err(1, "fork");
    if (*pid == 0) {
        close(ends[0]);
        answer(ends[1]);
    }
    close(ends[1]);
    return ends[0];
}

/* Returns the microseconds of the median trip. */
static double ping_pong(int fd) {
    static double trips[TRIPS];
    static char row[768 * sizeof(float)];
    for (unsigned i = 0; i < TRIPS; i++) {
        double start = bench_seconds();
        if (send(fd, sequence, LENGTH, 0) < 0 || recv(fd, row, sizeof row, 0) != sizeof row)
            err(1, "ping-pong");
        trips[i] = (bench_seconds() - start) * 1e6;
    }
    return bench_quantile(trips, TRIPS, 0.5);
}

static double round_trip(esm1nv_session *session) {
    static double trips[TRIPS];
    struct esm1nv_result result;
    for (unsigned i = 0; i < TRIPS; i++) {
        double start = bench_seconds();
        if (esm1nv_submit(session, i, sequence, LENGTH) != ESM1NV_OK ||
            esm1nv_next(session, &result, -1) != ESM1NV_OK)
            errx(1, "%s", esm1nv_error_text(session));
        trips[i] = (bench_seconds() - start) * 1e6;
        esm1nv_release(session, &result);
    }
    return bench_quantile(trips, TRIPS, 0.5);
}

/* Runs both kinds of process in turn and gives the milliseconds of the median of each. */
static void processes(const struct bench_daemon *daemon, const char *input, double *filter_time,
                      double *true_time) {
    static double filters[PROCESSES], nothings[PROCESSES];
    for (unsigned i = 0; i < PROCESSES; i++) {
        double start = bench_seconds();
        bench_await(bench_spawn(-1, -1, "/bin/true", NULL), "/bin/true");
        double middle = bench_seconds();
        bench_await(bench_filter_start(daemon, "raw", "mean", input, -1), "esm1nv");
        nothings[i] = (middle - start) * 1e3;
        filters[i] = (bench_seconds() - middle) * 1e3;
    }
    *filter_time = bench_quantile(filters, PROCESSES, 0.5);
    *true_time = bench_quantile(nothings, PROCESSES, 0.5);
}

int main(void) {
    static const struct bench_figure trip = {"round trip", "us", "bare SEQPACKET ping-pong",
                                             "ratio <=", 1.5};
    static const struct bench_figure call = {"cold call", "ms", "/bin/true", "ratio <=", 1.3};
    double trips[ROUNDS], pings[ROUNDS], calls[ROUNDS], nothings[ROUNDS];
    struct bench_daemon daemon;
    pid_t answerer;
    memset(sequence, 'A', LENGTH);
    bench_daemon_start(&daemon, "null", NULL);
    const char *input = bench_fasta_write("one.fasta", 1, LENGTH);
    int fd = answerer_start(&answerer);
    esm1nv_session *session = bench_connect(&daemon, ESM1NV_POOL_MEAN);
    for (unsigned r = 0; r < ROUNDS; r++) {
        pings[r] = ping_pong(fd);
        trips[r] = round_trip(session);
        processes(&daemon, input, &calls[r], &nothings[r]);
    }
    esm1nv_close(session);
    close(fd);
    bench_await(answerer, "ping-pong");
    bench_daemon_stop(&daemon);
    bench_figure_print(&trip, trips, pings, ROUNDS);
    bench_figure_print(&call, calls, nothings, ROUNDS);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * This measures latency beside load on the CPU backend: an interactive client sends one request of
 * 100 residues at a time, while four clients of another user stream real proteins as fast as they
 * are taken. Its waits are counted in durations of one batch of the bulk alone, and the residues of
 * all together are compared with those of the bulk alone. Only root can be several users; without
 * it all clients are one user's.
 */
#include "tests/bench/bench.h"

#include <err.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 3
#define BULK_CLIENTS 4
#define BULK_USER 65534
#define WINDOW_SECONDS 8.0
#define SETTLE_SECONDS 1
#define REQUEST_LENGTH 100
#define REQUESTS_MAX 10000

static struct bench_sequences proteins;

/* Streams until it is killed. */
static void bulk(const struct bench_daemon *daemon, unsigned number) {
    struct esm1nv_result taken;
    if (geteuid() == 0 && seteuid(BULK_USER) < 0)
        err(1, "another user");
    esm1nv_session *session = bench_connect(daemon, ESM1NV_POOL_MEAN);
    for (uint64_t tag = 0;;) {
        unsigned i = (unsigned)((tag + number * 23) % proteins.count);
        int result = esm1nv_submit(session, tag, proteins.residues[i], proteins.lengths[i]);
        if (result == ESM1NV_OK)
            tag++;
        else if (result < 0 || esm1nv_next(session, &taken, -1) != ESM1NV_OK)
            _exit(1);
        else
            esm1nv_release(session, &taken);
    }
}

static void bulk_start(const struct bench_daemon *daemon, pid_t *pids) {
    for (unsigned i = 0; i < BULK_CLIENTS; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            err(1, "fork");
        if (pids[i] == 0)
            bulk(daemon, i);
    }
    sleep(SETTLE_SECONDS);
}

static void bulk_stop(const pid_t *pids) {
    for (unsigned i = 0; i < BULK_CLIENTS; i++)
        if (waitpid(pids[i], NULL, WNOHANG) != 0)
            errx(1, "a bulk client left");
    for (unsigned i = 0; i < BULK_CLIENTS; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
}

/* What the daemon did in a window. */
struct window {
    double seconds;
    uint64_t residues, batches;
};

static struct window window_start(const struct bench_daemon *daemon) {
    return (struct window){bench_seconds(), bench_daemon_number(daemon, "residues"),
                           bench_daemon_number(daemon, "batches")};
}

static void window_end(struct window *window, const struct bench_daemon *daemon) {
    window->residues = bench_daemon_number(daemon, "residues") - window->residues;
    window->batches = bench_daemon_number(daemon, "batches") - window->batches;
    window->seconds = bench_seconds() - window->seconds;
}

/* Asks one thing at a time, at uneven moments; returns how often. */
static unsigned interact(esm1nv_session *session, double *waits) {
    char sequence[REQUEST_LENGTH];
    struct esm1nv_result result;
    double end = bench_seconds() + WINDOW_SECONDS;
    unsigned count = 0;
    memset(sequence, 'A', sizeof sequence);
    while (bench_seconds() < end && count < REQUESTS_MAX) {
        double start = bench_seconds();
        if (esm1nv_submit(session, count, sequence, sizeof sequence) != ESM1NV_OK ||
            esm1nv_next(session, &result, -1) != ESM1NV_OK)
            errx(1, "%s", esm1nv_error_text(session));
        esm1nv_release(session, &result);
        waits[count++] = (bench_seconds() - start) * 1e3;
        usleep(1000 * (count * 37 % 100));
    }
    return count;
}

int main(void) {
    static const struct bench_figure p50 = {"beside bulk, p50 wait", "ms", "one batch",
                                            "ratio <=", 1.5},
                                     p99 = {"beside bulk, p99 wait", "ms", "one batch",
                                            "ratio <=", 2.5},
                                     all = {"beside bulk, all", "residues/s", "bulk alone",
                                            "ratio >=", 0.97};
    static double waits[REQUESTS_MAX];
    double medians[ROUNDS], slowest[ROUNDS], batches[ROUNDS], together[ROUNDS], alone[ROUNDS];
    struct bench_daemon daemon;
    pid_t pids[BULK_CLIENTS];
    bench_proteins_read(&proteins, UINT64_MAX);
    bench_daemon_start(&daemon, "cpu", "bf16");
    bulk_start(&daemon, pids);
    esm1nv_session *session = bench_connect(&daemon, ESM1NV_POOL_MEAN);
    for (unsigned r = 0; r < ROUNDS; r++) {
        struct window window = window_start(&daemon);
        usleep((useconds_t)(WINDOW_SECONDS * 1e6));
        window_end(&window, &daemon);
        alone[r] = (double)window.residues / window.seconds;
        batches[r] = window.seconds / (double)window.batches * 1e3;
        window = window_start(&daemon);
        unsigned count = interact(session, waits);
        window_end(&window, &daemon);
        together[r] = (double)window.residues / window.seconds;
        medians[r] = bench_quantile(waits, count, 0.5);
        slowest[r] = bench_quantile(waits, count, 0.99);
    }
    esm1nv_close(session);
    bulk_stop(pids);
    bench_daemon_stop(&daemon);
    bench_figure_print(&p50, medians, batches, ROUNDS);
    bench_figure_print(&p99, slowest, batches, ROUNDS);
    bench_figure_print(&all, together, alone, ROUNDS);
    return 0;
}

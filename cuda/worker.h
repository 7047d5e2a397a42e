/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps one device busy, with a thread that takes parts from the queue and submits them, and one
 * that waits for them and delivers their results. A device that has failed is reopened once no pass
 * is under way on it. When reopening fails it is given up, and the engine is broken when no device
 * is left.
 */
#ifndef ESM1NV_CUDA_WORKER_H
#define ESM1NV_CUDA_WORKER_H

#include "cuda/device.h"

enum worker_state { WORKER_RUNS, WORKER_FAILED, WORKER_GONE };

/* A pass from its submission to the delivery of its results. */
struct flight {
    struct engine_part part;
    double start;
    bool failed; /* its submission, or the pass; the error says why */
    struct error error;
};

struct worker {
    struct engine_queue *queue;
    struct worker *all; /* the engine's workers */
    unsigned count;
    struct device device;
    pthread_t submitter, completer;
    unsigned threads; /* how many of the two were started */
    /* Under the queue's lock: */
    enum worker_state state;
    struct flight flights[SETS]; /* by number modulo SETS, like the device's sets */
    uint64_t sent, landed;
    bool ended;          /* nothing more will be sent */
    double last_landing; /* when a pass last ended */
    unsigned reopened;   /* how often, since the last successful pass */
    char fate[256];      /* why the device was given up */
};

/* Starts the threads for a device that is open. Returns 0, or -1; worker_stop() is to be called in
 * either case. */
int worker_start(struct worker *worker, struct error *error);

/* Joins the threads, which end after engine_queue_close(). The device stays open. */
void worker_stop(struct worker *worker);

#endif

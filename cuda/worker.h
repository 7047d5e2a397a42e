/* SPDX-License-Identifier: Apache-2.0
 *
 * What keeps one device busy: a thread that takes parts from the queue and submits them, and one
 * that waits for them and delivers their results. A device that failed is opened again when nothing
 * is on its way any more; when that fails it is gone, and with the last one the engine.
 */
#ifndef ESM1NV_CUDA_WORKER_H
#define ESM1NV_CUDA_WORKER_H

#include "cuda/device.h"

enum worker_state { WORKER_RUNS, WORKER_FAILED, WORKER_GONE };

/* A pass on its way. */
struct flight {
    struct engine_part part;
    double start;
    bool failed; /* to be submitted; the error says why */
    struct error error;
};

struct worker {
    struct engine_queue *queue;
    struct worker *all; /* the engine's workers */
    unsigned count;
    struct device device;
    pthread_t submitter, completer;
    unsigned threads; /* of the two, how many were started */
    /* Under the queue's lock: */
    enum worker_state state;
    struct flight flights[SETS]; /* by number modulo SETS, as the device's sets */
    uint64_t sent, landed;
    bool ended;          /* no more will be sent */
    double last_landing; /* when the device was last done with a pass */
    unsigned reopened;   /* times since a pass went well */
    char fate[256];      /* why it is gone */
};

/* Starts the threads for a device that is open. On -1, worker_stop is still to be called. */
int worker_start(struct worker *worker, struct error *error);

/* Ends the threads, after engine_queue_close(), or nothing was ever queued. The device stays. */
void worker_stop(struct worker *worker);

#endif

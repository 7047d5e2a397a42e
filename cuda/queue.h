/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's one queue of batches, which all devices take parts from. Functions marked (locked)
 * want queue->lock held.
 */
#ifndef ESM1NV_CUDA_QUEUE_H
#define ESM1NV_CUDA_QUEUE_H

#include "cuda/plan.h"

#include <pthread.h>

struct job {
    struct engine_batch *batch;
    uint32_t next;       /* first item that no part has taken */
    uint32_t open_parts; /* taken, not finished */
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* something was queued or finished, or the end has come */
    int fd;                 /* readable when the oldest batch is done */
    bool closing;
    const char *_Atomic broken; /* why nothing runs any more; read without the lock too */
    struct job *jobs;           /* [depth], by number modulo depth */
    unsigned depth;
    uint64_t submitted, taken, reaped; /* taken: jobs of which no item is left */
};

/* On -1 nothing is left to finish. */
int queue_init(struct queue *queue, unsigned depth, struct error *error);
void queue_finish(struct queue *queue);

/* Queues a batch; one with a fault, or after queue_break, comes back as failed. */
void queue_submit(struct queue *queue, struct engine_batch *batch, const char *fault);
struct engine_batch *queue_reap(struct queue *queue);

/* (locked) Whether a batch has items that no part has taken. */
bool queue_has_work(const struct queue *queue);

/* (locked) Takes the next part, at most so many tokens of one batch, where there is work. */
void queue_take(struct queue *queue, struct part *part, uint32_t most_tokens);

/* (locked) Ends a part that was taken, after `seconds`; failure: NULL, or why its items failed. */
void queue_part_done(struct queue *queue, const struct part *part, double seconds,
                     const char *failure);

/* (locked) Fails all that no part has taken, and all to come. `why` stays. */
void queue_break(struct queue *queue, const char *why);

#endif

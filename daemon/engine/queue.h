/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue of an engine's batches. Threads of the engine take parts of them, compute these with
 * the lock released, and report that they are done (daemon/cpu/engine.c is the simplest example).
 * Batches are reaped in the order of submission, whichever parts are done first. Functions marked
 * (locked) must be called with queue->lock held.
 */
#ifndef ESM1NV_ENGINE_QUEUE_H
#define ESM1NV_ENGINE_QUEUE_H

#include "daemon/engine/engine.h"

#include <pthread.h>

/* A run of a batch's items that one thread, or one pass of a device, takes. */
struct engine_part {
    struct engine_batch *batch;
    uint32_t first, count;        /* items */
    uint32_t first_token, tokens; /* of the batch's */
    uint64_t job;                 /* the queue's own: the batch's number */
};

struct engine_job {
    struct engine_batch *batch;
    uint32_t next;       /* first item that no part has taken */
    uint32_t open_parts; /* taken, not done */
};

struct engine_queue {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* something was queued or done, or the end has come */
    int fd;                 /* an eventfd for table->completion_fd() */
    bool told;              /* fd was written and not read */
    bool closing;
    const char *_Atomic broken; /* for table->broken(): read without the lock too */
    const struct model_config *config;
    uint32_t max_tokens;               /* of a batch */
    unsigned depth;                    /* batches in flight, at most */
    struct engine_job *jobs;           /* [depth], by number modulo depth */
    uint64_t submitted, taken, reaped; /* taken: jobs of which no item is left */
};

/* config must outlive the queue. Returns 0, or -1 with nothing to finish, for example when
 * max_tokens cannot hold one sequence (EX_CONFIG). */
int engine_queue_init(struct engine_queue *queue, unsigned depth, const struct model_config *config,
                      uint32_t max_tokens, struct error *error);

/* Lets the engine's threads end once everything queued is done; the caller joins them then. Safe on
 * a zeroed queue. */
void engine_queue_close(struct engine_queue *queue);

/* Frees what the queue holds. Safe on a zeroed queue. */
void engine_queue_finish(struct engine_queue *queue);

/* Queues a batch. One with a fault, or one after engine_queue_break(), is reaped as failed. */
void engine_queue_submit(struct engine_queue *queue, struct engine_batch *batch);

/* Queues a batch that is done already. fd stays as it is: whoever submits reaps right after. */
void engine_queue_submit_done(struct engine_queue *queue, struct engine_batch *batch);

/* The oldest batch if it is done, or NULL; clears fd when no other batch is done. */
struct engine_batch *engine_queue_reap(struct engine_queue *queue);

/* (locked) Whether a batch has items that no part has taken. */
bool engine_queue_has_work(const struct engine_queue *queue);

/* (locked) Whether the queue is closing and has no work: a thread that takes parts may end. */
bool engine_queue_is_over(const struct engine_queue *queue);

/* (locked) Takes the next part, at most so many tokens of one batch. There must be work. */
void engine_queue_take(struct engine_queue *queue, struct engine_part *part, uint32_t most_tokens);

/* (locked) Ends a part that took `seconds`. `failure` is NULL when the status of each of its items
 * is written, else why all of them failed. */
void engine_queue_part_done(struct engine_queue *queue, const struct engine_part *part,
                            double seconds, const char *failure);

/* (locked) Fails all items that no part has taken, and all batches to come. `why` must outlive the
 * queue. */
void engine_queue_break(struct engine_queue *queue, const char *why);

#endif

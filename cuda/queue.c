/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches go in and come out in one order, whatever device ran which part of them when. A batch
 * larger than the largest bucket becomes several parts.
 */
#include "cuda/queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

int queue_init(struct queue *queue, unsigned depth, struct error *error) {
    *queue = (struct queue){.depth = depth, .jobs = calloc(depth, sizeof(struct job))};
    if (!queue->jobs)
        return error_set(error, EX_SOFTWARE, "out of memory");
    queue->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (queue->fd < 0) {
        free(queue->jobs);
        return error_set(error, EX_SOFTWARE, "cannot create an eventfd: %s", strerror(errno));
    }
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
    return 0;
}

void queue_finish(struct queue *queue) {
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
    close(queue->fd);
    free(queue->jobs);
}

static struct job *job_at(const struct queue *queue, uint64_t number) {
    return &queue->jobs[number % queue->depth];
}

static bool job_is_done(const struct job *job) {
    return job->next == job->batch->count && job->open_parts == 0;
}

/* Passes over jobs that have nothing left to take, and says when the oldest is done. */
static void queue_advance(struct queue *queue) {
    while (queue->taken < queue->submitted &&
           job_at(queue, queue->taken)->next == job_at(queue, queue->taken)->batch->count)
        queue->taken++;
    if (queue->reaped < queue->taken && job_is_done(job_at(queue, queue->reaped)))
        eventfd_write(queue->fd, 1);
    pthread_cond_broadcast(&queue->changed);
}

static void items_fail(struct engine_batch *batch, uint32_t first, uint32_t count,
                       const char *why) {
    snprintf(batch->failure, sizeof(batch->failure), "%s", why);
    for (uint32_t i = first; i < first + count; i++)
        batch->items[i].status = RECORD_ENGINE;
}

static void job_fail_rest(struct job *job, const char *why) {
    items_fail(job->batch, job->next, job->batch->count - job->next, why);
    job->next = job->batch->count;
}

void queue_submit(struct queue *queue, struct engine_batch *batch, const char *fault) {
    batch->failure[0] = '\0';
    batch->seconds = 0;
    pthread_mutex_lock(&queue->lock);
    struct job *job = job_at(queue, queue->submitted++);
    *job = (struct job){.batch = batch};
    if (!fault)
        fault = queue->broken;
    if (fault)
        job_fail_rest(job, fault);
    queue_advance(queue);
    pthread_mutex_unlock(&queue->lock);
}

struct engine_batch *queue_reap(struct queue *queue) {
    struct engine_batch *batch = NULL;
    eventfd_t ignored;
    pthread_mutex_lock(&queue->lock);
    if (queue->reaped < queue->taken && job_is_done(job_at(queue, queue->reaped)))
        batch = job_at(queue, queue->reaped++)->batch;
    if (queue->reaped == queue->taken || !job_is_done(job_at(queue, queue->reaped)))
        eventfd_read(queue->fd, &ignored); /* nothing is left to be told */
    pthread_mutex_unlock(&queue->lock);
    return batch;
}

bool queue_has_work(const struct queue *queue) {
    return queue->taken < queue->submitted;
}

void queue_take(struct queue *queue, struct part *part, uint32_t most_tokens) {
    struct job *job = job_at(queue, queue->taken);
    const struct engine_item *items = job->batch->items;
    *part = (struct part){.batch = job->batch, .first = job->next};
    part->first_token = items[job->next].first_token;
    while (job->next < job->batch->count && part->tokens + items[job->next].tokens <= most_tokens) {
        part->tokens += items[job->next++].tokens;
        part->count++;
    }
    job->open_parts++;
    queue_advance(queue);
}

/* The batch's job: batches in flight are few. */
static struct job *job_of(const struct queue *queue, const struct engine_batch *batch) {
    uint64_t number = queue->reaped;
    while (job_at(queue, number)->batch != batch)
        number++;
    return job_at(queue, number);
}

void queue_part_done(struct queue *queue, const struct part *part, double seconds,
                     const char *failure) {
    job_of(queue, part->batch)->open_parts--;
    part->batch->seconds += seconds;
    if (failure)
        items_fail(part->batch, part->first, part->count, failure);
    queue_advance(queue);
}

void queue_break(struct queue *queue, const char *why) {
    queue->broken = why;
    while (queue_has_work(queue)) {
        job_fail_rest(job_at(queue, queue->taken), why);
        queue_advance(queue);
    }
}

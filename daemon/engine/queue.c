/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs are numbered in order of submission: those below `reaped` are gone, those below `taken` have
 * no item left to take, and the rest wait. The descriptor is written once for any number of
 * finished batches, and is read when the oldest remaining batch is not finished.
 */
#include "daemon/engine/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

int engine_queue_init(struct engine_queue *queue, unsigned depth, const struct model_config *config,
                      uint32_t max_tokens, struct error *error) {
    *queue = (struct engine_queue){.depth = depth, .config = config, .max_tokens = max_tokens};
    if (max_tokens < config->positions)
        return error_set(error, EX_CONFIG,
                         "batches of %u tokens cannot hold a sequence of %u; allow larger ones",
                         max_tokens, config->positions);
    queue->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (queue->fd < 0)
        return error_set(error, EX_SOFTWARE, "cannot create an eventfd: %s", strerror(errno));
    queue->jobs = calloc(depth, sizeof *queue->jobs);
    if (!queue->jobs) {
        close(queue->fd);
        return error_set(error, EX_SOFTWARE, "out of memory");
    }
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
    return 0;
}

void engine_queue_close(struct engine_queue *queue) {
    if (!queue->jobs)
        return;
    pthread_mutex_lock(&queue->lock);
    queue->closing = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

void engine_queue_finish(struct engine_queue *queue) {
    if (!queue->jobs)
        return;
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
    close(queue->fd);
    free(queue->jobs);
    queue->jobs = NULL;
}

static struct engine_job *job_at(const struct engine_queue *queue, uint64_t number) {
    return &queue->jobs[number % queue->depth];
}

static bool job_is_taken(const struct engine_job *job) {
    return job->next == job->batch->count;
}

static bool oldest_is_done(const struct engine_queue *queue) {
    return queue->reaped < queue->taken && job_at(queue, queue->reaped)->open_parts == 0;
}

/* Advances `taken` past the jobs that have no item left to take. */
static void jobs_pass(struct engine_queue *queue) {
    while (engine_queue_has_work(queue) && job_is_taken(job_at(queue, queue->taken)))
        queue->taken++;
}

/* After a change: wakes the threads, and the submitter if the oldest batch is done. */
static void changes_tell(struct engine_queue *queue) {
    jobs_pass(queue);
    if (oldest_is_done(queue) && !queue->told) {
        eventfd_write(queue->fd, 1);
        queue->told = true;
    }
    pthread_cond_broadcast(&queue->changed);
}

static struct engine_job *job_add(struct engine_queue *queue, struct engine_batch *batch) {
    assert(queue->submitted - queue->reaped < queue->depth);
    struct engine_job *job = job_at(queue, queue->submitted++);
    *job = (struct engine_job){.batch = batch};
    return job;
}

static void job_fail_rest(struct engine_job *job, const char *why) {
    engine_items_fail(job->batch, job->next, job->batch->count - job->next, why);
    job->next = job->batch->count;
}

void engine_queue_submit(struct engine_queue *queue, struct engine_batch *batch) {
    const char *fault = engine_batch_fault(batch, queue->config, queue->max_tokens);
    batch->failure[0] = '\0';
    batch->seconds = 0;
    pthread_mutex_lock(&queue->lock);
    struct engine_job *job = job_add(queue, batch);
    if (!fault)
        fault = queue->broken;
    if (fault)
        job_fail_rest(job, fault);
    changes_tell(queue);
    pthread_mutex_unlock(&queue->lock);
}

void engine_queue_submit_done(struct engine_queue *queue, struct engine_batch *batch) {
    pthread_mutex_lock(&queue->lock);
    job_add(queue, batch)->next = batch->count;
    jobs_pass(queue);
    pthread_mutex_unlock(&queue->lock);
}

struct engine_batch *engine_queue_reap(struct engine_queue *queue) {
    struct engine_batch *batch = NULL;
    pthread_mutex_lock(&queue->lock);
    if (oldest_is_done(queue))
        batch = job_at(queue, queue->reaped++)->batch;
    if (queue->told && !oldest_is_done(queue)) {
        eventfd_read(queue->fd, &(eventfd_t){0});
        queue->told = false;
    }
    pthread_mutex_unlock(&queue->lock);
    return batch;
}

bool engine_queue_has_work(const struct engine_queue *queue) {
    return queue->taken < queue->submitted;
}

bool engine_queue_is_over(const struct engine_queue *queue) {
    return queue->closing && !engine_queue_has_work(queue);
}

void engine_queue_take(struct engine_queue *queue, struct engine_part *part, uint32_t most_tokens) {
    struct engine_job *job = job_at(queue, queue->taken);
    const struct engine_item *items = job->batch->items;
    *part = (struct engine_part){.batch = job->batch,
                                 .first = job->next,
                                 .first_token = items[job->next].first_token,
                                 .job = queue->taken};
    while (!job_is_taken(job) && part->tokens + items[job->next].tokens <= most_tokens) {
        part->tokens += items[job->next++].tokens;
        part->count++;
    }
    assert(part->count > 0); /* the largest sequence has at most most_tokens */
    job->open_parts++;
    changes_tell(queue);
}

void engine_queue_part_done(struct engine_queue *queue, const struct engine_part *part,
                            double seconds, const char *failure) {
    job_at(queue, part->job)->open_parts--;
    part->batch->seconds += seconds;
    if (failure)
        engine_items_fail(part->batch, part->first, part->count, failure);
    changes_tell(queue);
}

void engine_queue_break(struct engine_queue *queue, const char *why) {
    queue->broken = why;
    for (; engine_queue_has_work(queue); jobs_pass(queue))
        job_fail_rest(job_at(queue, queue->taken), why);
    changes_tell(queue);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * The two threads of a device. What they share is guarded by the queue's lock, which neither holds
 * while it calls CUDA. They never spin: they wait for a condition variable or for a blocking event.
 * A function that says (locked) is called with the lock held.
 */
#include "cuda/worker.h"
#include "daemon/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* A device is given up after it was reopened so often without a successful pass. */
#define REOPENED_MAX 3

static unsigned in_flight(const struct worker *w) {
    return (unsigned)(w->sent - w->landed);
}

/* Only the idlest device takes work, so that all have a share even when there is little. */
static bool is_idlest(const struct worker *w) {
    for (unsigned i = 0; i < w->count; i++)
        if (w->all[i].state == WORKER_RUNS && in_flight(&w->all[i]) < in_flight(w))
            return false;
    return true;
}

static bool can_send(const struct worker *w) {
    return w->state == WORKER_RUNS && engine_queue_has_work(w->queue) && in_flight(w) < SETS &&
           is_idlest(w);
}

static bool can_mend(const struct worker *w) {
    return w->state == WORKER_FAILED && in_flight(w) == 0;
}

/* (locked) */
static void worker_fail(struct worker *w) {
    w->state = WORKER_FAILED;
    w->device.failed = true;
}

/* (locked) Submits a part, with the lock released. */
static void part_send(struct worker *w) {
    struct flight *flight = &w->flights[w->sent % SETS];
    engine_queue_take(w->queue, &flight->part, w->device.sizes->largest);
    flight->start = clock_seconds();
    pthread_mutex_unlock(&w->queue->lock);
    flight->failed = device_submit(&w->device, w->sent % SETS, &flight->part, &flight->error) < 0;
    pthread_mutex_lock(&w->queue->lock);
    if (flight->failed)
        worker_fail(w);
    w->sent++;
    pthread_cond_broadcast(&w->queue->changed);
}

/* (locked) Gives the device up. If it was the last one, everything that is queued or will be fails.
 */
static void worker_give_up(struct worker *w, const char *why) {
    bool last = true;
    w->state = WORKER_GONE;
    snprintf(w->fate, sizeof w->fate, "%s", why);
    for (unsigned i = 0; i < w->count; i++)
        last &= w->all[i].state == WORKER_GONE;
    if (last)
        engine_queue_break(w->queue, w->fate);
}

/* (locked) Reopens the device, with the lock released, or gives it up. */
static void device_mend(struct worker *w) {
    struct error error;
    if (w->reopened++ == REOPENED_MAX) {
        error_set(&error, EX_SOFTWARE, "GPU %d (%s) fails again and again: %s",
                  w->device.card.ordinal, w->device.card.name,
                  w->flights[(w->landed - 1) % SETS].error.text);
        worker_give_up(w, error.text);
        return;
    }
    pthread_mutex_unlock(&w->queue->lock);
    int result = device_reopen(&w->device, &error);
    pthread_mutex_lock(&w->queue->lock);
    if (result < 0)
        worker_give_up(w, error.text);
    else
        w->state = WORKER_RUNS;
    pthread_cond_broadcast(&w->queue->changed);
}

static void *submitter_main(void *argument) {
    struct worker *w = argument;
    struct error ignored;
    pthread_setname_np(pthread_self(), "cuda-submit");
    device_use(&w->device, &ignored); /* if it fails, so does the first part, and is reported */
    pthread_mutex_lock(&w->queue->lock);
    while (w->state != WORKER_GONE && !engine_queue_is_over(w->queue)) {
        if (can_send(w))
            part_send(w);
        else if (can_mend(w))
            device_mend(w);
        else
            pthread_cond_wait(&w->queue->changed, &w->queue->lock);
    }
    w->ended = true;
    pthread_cond_broadcast(&w->queue->changed);
    pthread_mutex_unlock(&w->queue->lock);
    return NULL;
}

/* Called without the lock, because only the completer uses a flight once it is sent. */
static void flight_finish(struct worker *w, struct flight *flight, unsigned set) {
    if (!flight->failed)
        flight->failed = device_wait(&w->device, set, &flight->error) < 0;
    if (flight->failed)
        error_prefix(&flight->error, "GPU %d", w->device.card.ordinal);
    else
        device_deliver(&w->device, set, &flight->part);
}

/* (locked) The time of a pass counts from when the one before it was done. */
static void flight_land(struct worker *w, const struct flight *flight) {
    double end = clock_seconds(), start = flight->start;
    if (start < w->last_landing)
        start = w->last_landing;
    w->last_landing = end;
    w->landed++;
    if (flight->failed)
        worker_fail(w);
    else
        w->reopened = 0;
    engine_queue_part_done(w->queue, &flight->part, end - start,
                           flight->failed ? flight->error.text : NULL);
}

static void *completer_main(void *argument) {
    struct worker *w = argument;
    struct error ignored;
    pthread_setname_np(pthread_self(), "cuda-complete");
    device_use(&w->device, &ignored);
    pthread_mutex_lock(&w->queue->lock);
    while (!w->ended || in_flight(w) > 0) {
        if (in_flight(w) == 0) {
            pthread_cond_wait(&w->queue->changed, &w->queue->lock);
            continue;
        }
        unsigned set = w->landed % SETS;
        pthread_mutex_unlock(&w->queue->lock);
        flight_finish(w, &w->flights[set], set);
        pthread_mutex_lock(&w->queue->lock);
        flight_land(w, &w->flights[set]);
    }
    pthread_mutex_unlock(&w->queue->lock);
    return NULL;
}

int worker_start(struct worker *w, struct error *error) {
    int result = pthread_create(&w->submitter, NULL, submitter_main, w);
    if (result == 0) {
        w->threads++;
        result = pthread_create(&w->completer, NULL, completer_main, w);
    }
    if (result)
        return error_set(error, EX_SOFTWARE, "cannot start a thread for a GPU: %s",
                         strerror(result));
    w->threads++;
    return 0;
}

void worker_stop(struct worker *w) {
    if (w->threads > 0)
        pthread_join(w->submitter, NULL);
    if (w->threads > 1)
        pthread_join(w->completer, NULL);
}

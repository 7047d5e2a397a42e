/* SPDX-License-Identifier: Apache-2.0
 *
 * Detached threads, counted under a lock. The result of a load is kept here until it is taken, and
 * the eventfd wakes the loop for it.
 */
#include "daemon/serve/background.h"
#include "daemon/base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct background {
    pthread_mutex_t lock;
    pthread_cond_t ended; /* signalled when a thread ends */
    unsigned threads;
    int event;
    bool has_result;
    struct generation *loaded; /* NULL: error says why */
    struct error error;
};

struct job {
    struct background *background;
    struct generation *closes; /* NULL: it loads */
    struct generation_request request;
    const struct limits *limits;
};

int background_create(struct background **out) {
    *out = NULL;
    struct background *background = calloc(1, sizeof *background);
    if (!background)
        return -ENOMEM;
    background->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (background->event < 0) {
        free(background);
        return -errno;
    }
    pthread_mutex_init(&background->lock, NULL);
    pthread_cond_init(&background->ended, NULL);
    *out = background;
    return 0;
}

int background_fd(const struct background *background) {
    return background->event;
}

static void *background_main(void *argument) {
    struct job job = *(struct job *)argument;
    struct background *background = job.background;
    struct generation *loaded = NULL;
    struct error error = {0};
    free(argument);
    if (job.closes)
        generation_close(job.closes);
    else
        generation_load(&loaded, &job.request, job.limits, &error);
    pthread_mutex_lock(&background->lock);
    if (!job.closes) {
        background->loaded = loaded;
        background->error = error;
        background->has_result = true;
        eventfd_write(background->event, 1);
    }
    background->threads--;
    pthread_cond_signal(&background->ended);
    pthread_mutex_unlock(&background->lock); /* background_destroy() may free it from now on */
    return NULL;
}

static int background_start(struct job job, const char *name) {
    struct job *copy = malloc(sizeof *copy);
    if (!copy)
        return -ENOMEM;
    *copy = job;
    struct background *background = job.background;
    pthread_mutex_lock(&background->lock);
    pthread_t thread;
    int result = pthread_create(&thread, NULL, background_main, copy);
    if (result == 0) {
        background->threads++;
        pthread_setname_np(thread, name);
        pthread_detach(thread);
    } else {
        free(copy);
    }
    pthread_mutex_unlock(&background->lock);
    return -result;
}

int background_load(struct background *background, const struct generation_request *request,
                    const struct limits *limits) {
    struct job job = {.background = background, .request = *request, .limits = limits};
    return background_start(job, "esm1nvd-load");
}

int background_take(struct background *background, struct generation **generation,
                    struct error *error) {
    int result = 1;
    *generation = NULL;
    pthread_mutex_lock(&background->lock);
    eventfd_read(background->event, &(eventfd_t){0});
    if (background->has_result) {
        *generation = background->loaded;
        *error = background->error;
        background->loaded = NULL;
        background->has_result = false;
        result = *generation ? 0 : -1;
    }
    pthread_mutex_unlock(&background->lock);
    return result;
}

void background_close(struct background *background, struct generation *generation) {
    struct job job = {.background = background, .closes = generation};
    if (background_start(job, "esm1nvd-unload") < 0)
        generation_close(generation);
}

bool background_destroy(struct background *background, int milliseconds) {
    if (!background)
        return true;
    struct timespec until = clock_deadline(milliseconds);
    pthread_mutex_lock(&background->lock);
    while (background->threads > 0 &&
           pthread_cond_timedwait(&background->ended, &background->lock, &until) == 0)
        continue;
    bool busy = background->threads > 0;
    pthread_mutex_unlock(&background->lock);
    if (busy)
        return false;
    generation_close(background->loaded);
    pthread_cond_destroy(&background->ended);
    pthread_mutex_destroy(&background->lock);
    close(background->event);
    free(background);
    return true;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Detached threads, counted under a lock; the result of a load lies there until it is taken. The
 * eventfd wakes the loop.
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
    pthread_cond_t ended; /* a thread */
    unsigned threads;
    int event;
    bool has_result;
    struct generation *loaded; /* NULL: error says why */
    struct error error;
};

struct job {
    struct background *background;
    struct generation_request request; /* to be loaded */
    const struct limits *limits;
    struct generation *generation; /* to be closed */
};

int background_create(struct background **result) {
    struct background *background = calloc(1, sizeof *background);

    *result = NULL;
    if (!background)
        return -ENOMEM;
    background->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (background->event < 0) {
        free(background);
        return -errno;
    }
    pthread_mutex_init(&background->lock, NULL);
    pthread_cond_init(&background->ended, NULL);
    *result = background;
    return 0;
}

int background_fd(const struct background *background) {
    return background->event;
}

/* The last thing that a thread does with the background. */
static void background_leave(struct background *background) {
    background->threads--;
    pthread_cond_signal(&background->ended);
    pthread_mutex_unlock(&background->lock);
}

static void *load_main(void *argument) {
    struct job job = *(struct job *)argument;
    struct background *background = job.background;
    struct generation *loaded;
    struct error error = {0};

    free(argument);
    generation_load(&loaded, &job.request, job.limits, &error);
    pthread_mutex_lock(&background->lock);
    background->loaded = loaded;
    background->error = error;
    background->has_result = true;
    eventfd_write(background->event, 1);
    background_leave(background);
    return NULL;
}

static void *close_main(void *argument) {
    struct job job = *(struct job *)argument;

    free(argument);
    generation_close(job.generation);
    pthread_mutex_lock(&job.background->lock);
    background_leave(job.background);
    return NULL;
}

static int background_start(struct background *background, void *(*run)(void *), struct job job,
                            const char *name) {
    struct job *copy = malloc(sizeof *copy);

    if (!copy)
        return -ENOMEM;
    *copy = job;
    pthread_mutex_lock(&background->lock);
    pthread_t thread;
    int result = pthread_create(&thread, NULL, run, copy);
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

    return background_start(background, load_main, job, "esm1nvd-load");
}

int background_take(struct background *background, struct generation **generation,
                    struct error *error) {
    eventfd_t ignored;
    int result = 1;

    *generation = NULL;
    pthread_mutex_lock(&background->lock);
    eventfd_read(background->event, &ignored);
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
    struct job job = {.background = background, .generation = generation};

    if (background_start(background, close_main, job, "esm1nvd-unload") < 0)
        generation_close(generation);
}

bool background_destroy(struct background *background, int milliseconds) {
    struct timespec until = clock_deadline(milliseconds);

    if (!background)
        return true;
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

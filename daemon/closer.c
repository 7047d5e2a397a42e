/* SPDX-License-Identifier: Apache-2.0
 *
 * A queue of descriptors and a few detached threads that close them. There is one thread as long
 * as nothing blocks; another is started when a descriptor arrives and all are busy, up to a limit,
 * so that one client's blocking descriptors do not hold up everybody's.
 */
#include "daemon/closer.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLOSER_THREADS_MAX 16u

struct doomed {
    int fd;
    bool is_socket;
};

struct closer {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    struct doomed *queue;
    unsigned capacity, first, count;
    unsigned busy, threads;
    bool ending;
};

/* After SHUT_RD nothing more can come in; what lies there is thrown away here, because closing a
 * socket with unread messages resets the peer's side. */
static void close_one(const struct doomed *doomed) {
    char byte;

    while (doomed->is_socket && recv(doomed->fd, &byte, 1, MSG_DONTWAIT) > 0)
        continue;
    close(doomed->fd);
}

static void *closer_main(void *argument) {
    struct closer *closer = argument;

    pthread_mutex_lock(&closer->lock);
    while (!closer->ending || closer->count) {
        if (!closer->count) {
            pthread_cond_wait(&closer->work, &closer->lock);
            continue;
        }
        struct doomed doomed = closer->queue[closer->first];
        closer->first = (closer->first + 1) % closer->capacity;
        closer->count--;
        closer->busy++;
        pthread_mutex_unlock(&closer->lock);
        close_one(&doomed);
        pthread_mutex_lock(&closer->lock);
        closer->busy--;
    }
    closer->threads--;
    pthread_cond_signal(&closer->done);
    pthread_mutex_unlock(&closer->lock);
    return NULL;
}

static int start_thread(struct closer *closer) {
    pthread_attr_t attributes;
    pthread_t thread;
    int result;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    result = pthread_create(&thread, &attributes, closer_main, closer);
    pthread_attr_destroy(&attributes);
    if (result == 0) {
        closer->threads++;
        pthread_setname_np(thread, "esm1nvd-close");
    }
    return -result;
}

int closer_create(struct closer **result) {
    struct closer *closer = calloc(1, sizeof *closer);
    struct rlimit limit;
    int error;

    *result = NULL;
    if (!closer || getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        free(closer);
        return -ENOMEM;
    }
    closer->capacity = (unsigned)limit.rlim_cur;
    closer->queue = calloc(closer->capacity, sizeof *closer->queue);
    pthread_mutex_init(&closer->lock, NULL);
    pthread_cond_init(&closer->work, NULL);
    pthread_cond_init(&closer->done, NULL);
    pthread_mutex_lock(&closer->lock);
    error = closer->queue ? start_thread(closer) : -ENOMEM;
    pthread_mutex_unlock(&closer->lock);
    if (error < 0) {
        free(closer->queue);
        free(closer);
        return error;
    }
    *result = closer;
    return 0;
}

static void add(struct closer *closer, struct doomed doomed) {
    pthread_mutex_lock(&closer->lock);
    closer->queue[(closer->first + closer->count++) % closer->capacity] = doomed;
    if (closer->busy == closer->threads && closer->threads < CLOSER_THREADS_MAX)
        start_thread(closer); /* without it the others only take longer */
    pthread_cond_signal(&closer->work);
    pthread_mutex_unlock(&closer->lock);
}

void closer_add(struct closer *closer, int fd) {
    if (fd >= 0)
        add(closer, (struct doomed){.fd = fd});
}

void closer_add_socket(struct closer *closer, int fd) {
    shutdown(fd, SHUT_RDWR);
    add(closer, (struct doomed){.fd = fd, .is_socket = true});
}

unsigned closer_pending(struct closer *closer) {
    unsigned pending;

    pthread_mutex_lock(&closer->lock);
    pending = closer->count + closer->busy;
    pthread_mutex_unlock(&closer->lock);
    return pending;
}

void closer_destroy(struct closer *closer, int milliseconds) {
    struct timespec until;
    bool stuck;

    if (!closer)
        return;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&closer->lock);
    closer->ending = true;
    pthread_cond_broadcast(&closer->work);
    while (closer->threads && pthread_cond_timedwait(&closer->done, &closer->lock, &until) == 0)
        continue;
    stuck = closer->threads > 0;
    pthread_mutex_unlock(&closer->lock);
    if (stuck)
        return;
    pthread_cond_destroy(&closer->work);
    pthread_cond_destroy(&closer->done);
    pthread_mutex_destroy(&closer->lock);
    free(closer->queue);
    free(closer);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Two queues of descriptors, one of clients' sockets and one of what clients passed, each with
 * detached threads that close them: one thread as long as nothing blocks, and more, up to a limit,
 * when more descriptors wait than threads are idle. Sockets are emptied first, so that closing them
 * does not block; having a queue of their own, they never wait for what clients passed.
 */
#include "daemon/loop/closer.h"
#include "daemon/base/clock.h"
#include "ipc/channel.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSER_THREADS_MAX 16u

struct doomed {
    int fd;
    _Atomic unsigned *account;
};

struct queue {
    struct closer *closer;
    void (*close)(struct closer *closer, const struct doomed *doomed);
    pthread_cond_t work;
    struct doomed *places;
    unsigned first, count;
    unsigned busy, threads;
};

struct closer {
    pthread_mutex_t lock;
    pthread_cond_t done;
    struct queue sockets, passed;
    unsigned capacity; /* of each queue */
    bool ending;
};

/* A TCP socket is closed without waiting for what it still has to send. */
static void close_passed(struct closer *closer, const struct doomed *doomed) {
    struct linger linger = {0};
    (void)closer;
    setsockopt(doomed->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(doomed->fd);
}

static void pass_on(struct closer *closer, struct msghdr *header, _Atomic unsigned *account) {
    int fds[CHANNEL_FDS_MAX];
    unsigned count = channel_descriptors(header, fds);
    if (account)
        *account += count;
    for (unsigned i = 0; i < count; i++)
        closer_add(closer, fds[i], account);
}

/* The socket is shut down, so nothing more can come in. Unread messages are received here, because
 * closing the socket with them would reset the peer's side and close the descriptors in them. With
 * SO_PASSCRED an empty message can be told from the end: it has control data. */
static void close_socket(struct closer *closer, const struct doomed *doomed) {
    char byte;
    _Alignas(struct cmsghdr) char
        control[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    setsockopt(doomed->fd, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int));
    for (;;) {
        struct msghdr header = {.msg_iov = &part,
                                .msg_iovlen = 1,
                                .msg_control = control,
                                .msg_controllen = sizeof control};
        if (recvmsg(doomed->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0 ||
            header.msg_controllen == 0)
            break;
        pass_on(closer, &header, doomed->account);
    }
    close(doomed->fd);
}

/* Called with the lock held, which it releases while it closes. */
static void close_next(struct queue *queue) {
    struct closer *closer = queue->closer;
    struct doomed doomed = queue->places[queue->first];
    queue->first = (queue->first + 1) % closer->capacity;
    queue->count--;
    queue->busy++;
    pthread_mutex_unlock(&closer->lock);
    queue->close(closer, &doomed);
    pthread_mutex_lock(&closer->lock);
    queue->busy--;
    if (doomed.account && !closer->ending) /* when ending, the account may be gone */
        --*doomed.account;
}

static void *queue_main(void *argument) {
    struct queue *queue = argument;
    struct closer *closer = queue->closer;
    pthread_mutex_lock(&closer->lock);
    while (!closer->ending || queue->count > 0) {
        if (queue->count > 0)
            close_next(queue);
        else
            pthread_cond_wait(&queue->work, &closer->lock);
    }
    queue->threads--;
    pthread_cond_signal(&closer->done);
    pthread_mutex_unlock(&closer->lock);
    return NULL;
}

static int start_thread(struct queue *queue) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    pthread_t thread;
    int result = pthread_create(&thread, &attributes, queue_main, queue);
    pthread_attr_destroy(&attributes);
    if (result == 0) {
        queue->threads++;
        pthread_setname_np(thread, "esm1nvd-close");
    }
    return -result;
}

static int queue_init(struct queue *queue, struct closer *closer,
                      void (*close)(struct closer *closer, const struct doomed *doomed)) {
    queue->closer = closer;
    queue->close = close;
    pthread_cond_init(&queue->work, NULL);
    queue->places = calloc(closer->capacity, sizeof *queue->places);
    return queue->places ? start_thread(queue) : -ENOMEM;
}

/* Frees what no thread uses. */
static void closer_free(struct closer *closer) {
    pthread_cond_destroy(&closer->sockets.work);
    pthread_cond_destroy(&closer->passed.work);
    pthread_cond_destroy(&closer->done);
    pthread_mutex_destroy(&closer->lock);
    free(closer->sockets.places);
    free(closer->passed.places);
    free(closer);
}

int closer_create(struct closer **out) {
    *out = NULL;
    struct closer *closer = calloc(1, sizeof *closer);
    struct rlimit limit;
    if (!closer || getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        free(closer);
        return -ENOMEM;
    }
    closer->capacity = (unsigned)limit.rlim_cur;
    pthread_mutex_init(&closer->lock, NULL);
    pthread_cond_init(&closer->done, NULL);
    pthread_mutex_lock(&closer->lock);
    int result = queue_init(&closer->sockets, closer, close_socket);
    if (result == 0)
        result = queue_init(&closer->passed, closer, close_passed);
    pthread_mutex_unlock(&closer->lock);
    if (result < 0)
        closer_destroy(closer, 1000);
    else
        *out = closer;
    return result;
}

static void queue_add(struct closer *closer, struct queue *queue, struct doomed doomed) {
    pthread_mutex_lock(&closer->lock);
    queue->places[(queue->first + queue->count++) % closer->capacity] = doomed;
    if (queue->count > queue->threads - queue->busy && queue->threads < CLOSER_THREADS_MAX)
        start_thread(queue); /* if it cannot be started, the others only take longer */
    pthread_cond_signal(&queue->work);
    pthread_mutex_unlock(&closer->lock);
}

void closer_add(struct closer *closer, int fd, _Atomic unsigned *account) {
    if (fd >= 0)
        queue_add(closer, &closer->passed, (struct doomed){.fd = fd, .account = account});
}

void closer_add_socket(struct closer *closer, int fd, _Atomic unsigned *account) {
    shutdown(fd, SHUT_RDWR);
    queue_add(closer, &closer->sockets, (struct doomed){.fd = fd, .account = account});
}

bool closer_destroy(struct closer *closer, int milliseconds) {
    if (!closer)
        return true;
    struct timespec until = clock_deadline(milliseconds);
    pthread_mutex_lock(&closer->lock);
    closer->ending = true;
    pthread_cond_broadcast(&closer->sockets.work);
    pthread_cond_broadcast(&closer->passed.work);
    while (closer->sockets.threads + closer->passed.threads > 0 &&
           pthread_cond_timedwait(&closer->done, &closer->lock, &until) == 0)
        continue;
    bool stuck = closer->sockets.threads + closer->passed.threads > 0;
    pthread_mutex_unlock(&closer->lock);
    if (!stuck)
        closer_free(closer);
    return !stuck;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Each turn of the loop handles the events that came (connections, messages, bells, finished
 * batches, signals), admits records of sessions that are ready, feeds the engine, and frees dropped
 * sessions. The loop sleeps when no session is ready and no engine waits for a batch; timers exist
 * only for the watchdog, for leaving, and for pauses.
 */
#include "daemon/server.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/serve/admission.h"
#include "daemon/serve/batch.h"
#include "daemon/serve/generations.h"
#include "daemon/serve/protocol.h"
#include "daemon/serve/refusal.h"
#include "daemon/serve/session.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* When the process has no descriptors left, it accepts nothing for this long: connections wait in
 * the kernel's queue while the closer closes some. */
#define ACCEPT_PAUSE_MS 10

/* How many connections are turned away at a time when descriptors run out. */
#define SHED_MAX 64

/* How long a leaving daemon waits for clients that do not read, and for records that are not
 * computed yet. A service manager waits longer (TimeoutStopSec=), and clients submit what was not
 * computed to the next daemon. */
#define DRAIN_READ_MS 2000
#define DRAIN_COMPUTE_MS 10000

/* Turns of the loop after everything is removed, in which the kernel's operations end. */
#define LAST_TURNS 16

/* What wakes the loop beside clients and engines. */
enum source { SIGNALS, PAUSE_TIMER, IDLE_TIMER, DRAIN_TIMER, WATCHDOG_TIMER, SOURCES };

struct server {
    struct service service;
    struct generations *generations;
    struct listener *listener;
    struct loop_watch *listening[LISTENER_MAX];
    int sources[SOURCES]; /* descriptors */
    struct loop_watch *watches[SOURCES];
    int spare;     /* a descriptor to give up for shedding a client when there are no others */
    bool shedding; /* clients are being turned away, and that was logged */
    unsigned idle_exit;
    bool idle;              /* the idle timer runs */
    unsigned drain_expired; /* 1: clients that do not read are given up; 2: so are all records */
};

static sigset_t server_signals(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    return signals;
}

void server_block_signals(void) {
    sigset_t signals = server_signals();
    sigprocmask(SIG_BLOCK, &signals, NULL);
}

static void timer_set(struct server *server, enum source timer, uint64_t microseconds,
                      bool repeat) {
    struct timespec time = {.tv_sec = (time_t)(microseconds / 1000000),
                            .tv_nsec = (long)(microseconds % 1000000) * 1000};
    struct itimerspec setting = {.it_value = time,
                                 .it_interval = repeat ? time : (struct timespec){0}};
    timerfd_settime(server->sources[timer], 0, &setting, NULL);
}

static bool timer_read(struct server *server, enum source timer) {
    uint64_t expirations;
    return read(server->sources[timer], &expirations, sizeof expirations) == sizeof expirations;
}

static void start_draining(struct server *server, const char *why) {
    struct service *service = &server->service;
    if (service->draining)
        return;
    log_info("%s: finishing what was taken, then leaving", why);
    sd_notify(0, "STOPPING=1");
    sd_notifyf(0, "STATUS=Leaving (%s)", why);
    service->draining = true;
    for (unsigned i = 0; i < server->listener->count; i++) {
        loop_remove(server->listening[i], false);
        server->listening[i] = NULL;
    }
    timer_set(server, DRAIN_TIMER, DRAIN_READ_MS * 1000, false);
}

static void on_signals(void *context) {
    struct server *server = context;
    struct signalfd_siginfo signal;
    while (read(server->sources[SIGNALS], &signal, sizeof signal) == sizeof signal) {
        if (signal.ssi_signo == SIGHUP)
            generations_reload(server->generations);
        else
            start_draining(server, strsignal((int)signal.ssi_signo));
    }
}

/* Whether a client is connected or in the kernel's queue, so that one which comes at the last
 * moment is served. */
static bool somebody_is_there(const struct server *server) {
    for (unsigned i = 0; i < server->listener->count; i++) {
        struct pollfd listening = {.fd = server->listener->fds[i], .events = POLLIN};
        if (poll(&listening, 1, 0) > 0)
            return true;
    }
    return server->service.connections.held > 0;
}

/* update_idle_timer() starts the timer again if the daemon does not leave. */
static void on_idle_timer(void *context) {
    struct server *server = context;
    if (!timer_read(server, IDLE_TIMER))
        return;
    server->idle = false;
    if (!somebody_is_there(server))
        start_draining(server, "no clients");
}

static void on_drain_timer(void *context) {
    struct server *server = context;
    if (!timer_read(server, DRAIN_TIMER))
        return;
    if (server->drain_expired++ == 0)
        timer_set(server, DRAIN_TIMER, (DRAIN_COMPUTE_MS - DRAIN_READ_MS) * 1000, false);
    else
        log_warning("leaving in time, and before all that was taken is finished");
}

static void on_watchdog_timer(void *context) {
    struct server *server = context;
    if (timer_read(server, WATCHDOG_TIMER))
        sd_notify(0, "WATCHDOG=1");
}

static void on_pause_timer(void *context) {
    struct server *server = context;
    if (!timer_read(server, PAUSE_TIMER) || server->service.draining)
        return;
    for (unsigned i = 0; i < server->listener->count; i++)
        loop_pause(server->listening[i], false);
}

static void pause_accepting(struct server *server) {
    for (unsigned i = 0; i < server->listener->count; i++)
        loop_pause(server->listening[i], true);
    timer_set(server, PAUSE_TIMER, ACCEPT_PAUSE_MS * 1000, false);
}

static int open_spare(void) {
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void turn_away(struct server *server, int fd) {
    refusal_send(fd, WIRE_REFUSED_BUSY, true, "busy: out of file descriptors");
    closer_add_socket(server->service.closer, fd, NULL);
}

/* Out of descriptors: uses the spare one to refuse some clients, then lets the others wait. */
static void shed(struct server *server) {
    for (unsigned i = 0; i < server->listener->count; i++) {
        for (unsigned count = 0; count < SHED_MAX && server->spare >= 0; count++) {
            close(server->spare);
            server->spare = -1;
            int fd = accept4(server->listener->fds[i], NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0)
                turn_away(server, fd);
            server->spare = open_spare();
            if (fd < 0)
                break;
        }
    }
    if (!server->shedding)
        log_warning("out of file descriptors: turning clients away; raise the limit on open files");
    server->shedding = true;
    pause_accepting(server);
}

static void on_accepted(void *context, int fd) {
    struct server *server = context;
    if (server->spare < 0)
        server->spare = open_spare();
    if (fd >= 0 && server->spare < 0) {
        turn_away(server, fd); /* it has the last descriptor, which must be the spare one */
        pause_accepting(server);
    } else if (fd >= 0) {
        server->shedding = false;
        session_accept(&server->service, fd, &protocol_callbacks);
    } else if (fd == -EMFILE || fd == -ENFILE) {
        shed(server);
    } else if (fd != -ECONNABORTED) {
        log_debug("accept: %s", strerror(-fd));
        pause_accepting(server);
    }
}

static int watch_source(struct server *server, enum source source, struct error *error) {
    static void (*const readable[SOURCES])(void *) = {
        [SIGNALS] = on_signals,
        [PAUSE_TIMER] = on_pause_timer,
        [IDLE_TIMER] = on_idle_timer,
        [DRAIN_TIMER] = on_drain_timer,
        [WATCHDOG_TIMER] = on_watchdog_timer,
    };
    struct loop_callbacks callbacks = {.readable = readable[source]};
    sigset_t signals = server_signals();
    int fd = source == SIGNALS ? signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)
                               : timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    server->sources[source] = fd;
    if (fd >= 0)
        server->watches[source] = loop_add(server->service.loop, fd, &callbacks, server);
    if (server->watches[source])
        return 0;
    return error_set(error, EX_SOFTWARE, "cannot wait for events: %s", strerror(errno));
}

static int watch_all(struct server *server, struct error *error) {
    struct loop_callbacks callbacks = {.accepted = on_accepted};
    for (unsigned i = 0; i < SOURCES; i++)
        if (watch_source(server, (enum source)i, error) < 0)
            return -1;
    for (unsigned i = 0; i < server->listener->count; i++) {
        server->listening[i] =
            loop_add(server->service.loop, server->listener->fds[i], &callbacks, server);
        if (!server->listening[i])
            return error_set(error, EX_SOFTWARE, "socket %s: cannot wait for connections: %s",
                             server->listener->path, strerror(errno));
    }
    return 0;
}

static void service_init(struct service *service, const struct limits *limits) {
    service->limits = *limits;
    service->started = clock_seconds();
    service->connections.limit = limits->clients + LIMITS_SPARE_CONNECTIONS;
    service->clients.limit = limits->clients;
    service->pinned.limit = ACCOUNT_UNLIMITED;
    sched_init(&service->sched);
    LIST_INIT(&service->users);
    TAILQ_INIT(&service->sessions);
    TAILQ_INIT(&service->dropped);
    TAILQ_INIT(&service->ready);
    TAILQ_INIT(&service->finished);
}

/* All sessions are freed, and have given back what they were charged. */
static void service_finish(struct service *service) {
    user_free_all(&service->users, &service->sched);
    assert(service->connections.held == 0 && service->clients.held == 0);
    assert(service->pinned.held == 0 && service->batches_in_flight == 0);
    assert(service->sched.waiting_clients == 0 && service->sched.waiting_residues == 0);
    assert(TAILQ_EMPTY(&service->sched.users) && TAILQ_EMPTY(&service->sched.newcomers));
    assert(TAILQ_EMPTY(&service->sessions) && TAILQ_EMPTY(&service->dropped));
    assert(TAILQ_EMPTY(&service->ready) && TAILQ_EMPTY(&service->finished));
}

static int create_parts(struct server *server, struct error *error) {
    struct service *service = &server->service;
    const char *variable = getenv("ESM1NV_LOOP");
    const char *asked_for = variable && variable[0] ? variable : NULL;
    int result = closer_create(&service->closer);
    if (result == 0)
        result = loop_create(&service->loop, asked_for, service->closer);
    if (result < 0 && asked_for)
        return error_set(error, EX_CONFIG,
                         "ESM1NV_LOOP=%s: %s; use io_uring or epoll, or do not set it", asked_for,
                         strerror(-result));
    if (result < 0)
        return error_set(error, EX_SOFTWARE, "cannot start: %s", strerror(-result));
    return watch_all(server, error);
}

static void server_announce(const struct server *server) {
    char text[256];
    generation_describe(server->service.generation, text, sizeof text);
    log_info("serving %s on %s (%s)", text, server->listener->path,
             loop_name(server->service.loop));
    generations_announce(server->generations);
}

int server_create(struct server **out, struct listener *listener, struct generation *generation,
                  const struct options *options, struct error *error) {
    *out = NULL;
    struct server *server = calloc(1, sizeof *server);
    if (!server) {
        generation_close(generation);
        return error_set(error, EX_SOFTWARE, "out of memory");
    }
    server->listener = listener;
    server->idle_exit = options->idle_exit;
    for (unsigned i = 0; i < SOURCES; i++)
        server->sources[i] = -1;
    server->spare = open_spare();
    service_init(&server->service, &options->limits);
    int result = create_parts(server, error);
    if (result < 0)
        generation_close(generation);
    else
        result = generations_create(&server->generations, &server->service, generation,
                                    &options->load, error);
    if (result < 0)
        server_destroy(server);
    else
        *out = server;
    return result;
}

static void update_idle_timer(struct server *server) {
    bool idle = server->idle_exit > 0 && server->service.clients.held == 0;
    if (idle != server->idle)
        timer_set(server, IDLE_TIMER, idle ? server->idle_exit * UINT64_C(1000000) : 0, false);
    server->idle = idle;
}

/* Whether replies wait because sockets are full. */
static bool replies_wait(const struct service *service) {
    const struct session *session;
    TAILQ_FOREACH (session, &service->sessions, link)
        if (!STAILQ_EMPTY(&session->replies))
            return true;
    return false;
}

static bool is_done(const struct server *server) {
    const struct service *service = &server->service;
    if (!service->draining || server->drain_expired >= 2)
        return service->draining;
    return service->sched.waiting_clients == 0 && service->batches_in_flight == 0 &&
           (server->drain_expired > 0 || !replies_wait(service));
}

/* Whether records wait though nothing computes, as after an engine that ran its batches at once:
 * nothing would wake the loop. */
static bool engine_waits(const struct service *service) {
    return service->batches_in_flight == 0 && service->sched.waiting_clients > 0;
}

static int server_turn(struct server *server) {
    struct service *service = &server->service;
    bool wait = TAILQ_EMPTY(&service->ready) && !engine_waits(service);
    int result = loop_turn(service->loop, wait);
    admission_take_ready(service);
    batches_feed(service);
    session_free_dropped(service);
    generations_tend(server->generations);
    if (service->stop)
        start_draining(server, "asked to stop");
    if (generations_failure(server->generations))
        start_draining(server, "no engine is left");
    update_idle_timer(server);
    return result;
}

int server_run(struct server *server, struct error *error) {
    server_announce(server);
    uint64_t watchdog = 0; /* microseconds */
    if (sd_watchdog_enabled(0, &watchdog) > 0)
        timer_set(server, WATCHDOG_TIMER, watchdog / 2, true);
    update_idle_timer(server);
    int result = 0;
    while (!is_done(server) && result == 0)
        result = server_turn(server);
    const struct error *failure = generations_failure(server->generations);
    if (result < 0)
        return error_set(error, EX_SOFTWARE, "%s: %s", loop_name(server->service.loop),
                         strerror(-result));
    if (failure)
        *error = *failure;
    return failure ? -1 : 0;
}

/* Hangs up on all clients by way of the closer, so that they read what was sent to them last. */
static void drop_all(struct server *server) {
    struct service *service = &server->service;
    session_drop_all(service, NULL, "the daemon leaves");
    session_free_dropped(service);
    for (unsigned i = 0; i < SOURCES; i++)
        loop_remove(server->watches[i], false);
    for (unsigned i = 0; i < LISTENER_MAX; i++)
        loop_remove(server->listening[i], false);
    for (unsigned i = 0; i < LAST_TURNS; i++)
        loop_turn(service->loop, false);
}

bool server_destroy(struct server *server) {
    if (!server)
        return true;
    if (server->service.loop)
        drop_all(server);
    if (!TAILQ_EMPTY(&server->service.dropped)) { /* an engine still writes to their memory */
        closer_destroy(server->service.closer, 1000);
        return false;
    }
    bool ended = generations_destroy(server->generations);
    loop_destroy(server->service.loop);
    ended = closer_destroy(server->service.closer, 1000) && ended;
    service_finish(&server->service);
    for (unsigned i = 0; i < SOURCES; i++)
        if (server->sources[i] >= 0)
            close(server->sources[i]);
    if (server->spare >= 0)
        close(server->spare);
    free(server);
    return ended;
}

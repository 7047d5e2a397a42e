/* SPDX-License-Identifier: Apache-2.0
 *
 * What all sessions share: the model of those to come, the limits, the scheduler, the users, the
 * counters. Owned by the server; used by everything that serves.
 */
#ifndef ESM1NV_SERVICE_H
#define ESM1NV_SERVICE_H

#include "daemon/loop/closer.h"
#include "daemon/loop/loop.h"
#include "daemon/serve/charge.h"
#include "daemon/serve/limits.h"
#include "daemon/serve/sched.h"
#include "daemon/serve/user.h"

#include <stdbool.h>
#include <stdint.h>

struct generation;

struct service_counters {
    uint64_t clients, records, records_failed, residues, batches;
};

struct service {
    struct generation *generation; /* what sessions are welcomed with now */
    char note[1024];               /* what people should know about it; empty when nothing */
    struct limits limits;
    struct loop *loop;
    struct closer *closer;
    struct sched sched;
    struct user_list users;
    struct session_list sessions; /* connected */
    struct session_list dropped;  /* to be freed when no batch refers to them */
    struct session_list ready;    /* have something to take, or may again */
    struct session_list finished; /* have results that are not published yet */
    struct account connections;   /* sockets open */
    struct account clients;       /* welcomed sessions */
    struct account pinned;        /* bytes of rings */
    unsigned batches_in_flight;   /* of all engines */
    bool draining;                /* no new work is taken */
    bool stop;                    /* a client asked for the end */
    double started;               /* clock_seconds() */
    struct service_counters total;
};

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What all sessions share: the current generation, the limits, the scheduler, the users, the
 * counters. The server owns it, and everything in this folder uses it.
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
    struct generation *generation; /* the current one, which sessions are welcomed with */
    char note[1024];               /* what users should know about it, for STATUS; may be empty */
    struct limits limits;
    struct loop *loop;
    struct closer *closer;
    struct sched sched;
    struct user_list users;
    struct session_list sessions; /* connected */
    struct session_list dropped;  /* to be freed when no batch refers to them */
    struct session_list ready;    /* may have submitted more, which can be admitted now */
    struct session_list finished; /* have results that are not published yet */
    struct account connections;   /* sockets open */
    struct account clients;       /* welcomed sessions */
    struct account pinned;        /* bytes of rings */
    unsigned batches_in_flight;   /* of all engines */
    bool draining;                /* no new work is taken */
    bool stop;                    /* a client sent STOP */
    double started;               /* clock_seconds() */
    struct service_counters total;
};

#endif

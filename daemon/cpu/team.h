/* SPDX-License-Identifier: Apache-2.0
 *
 * A fixed team of threads that run one job together: the caller of team_run is member 0. Within a
 * job, members meet at barriers and share out work by an atomic counter that every barrier resets.
 * Waiting for a job spins for some microseconds, at a barrier within one for tenths of a
 * millisecond, then sleeps in the kernel: an idle team costs nothing.
 */
#ifndef ESM1NV_CPU_TEAM_H
#define ESM1NV_CPU_TEAM_H

#include "daemon/base/error.h"

#include <stdint.h>

struct team;

typedef void (*team_job)(void *user, unsigned member);

/* Starts members - 1 threads. Returns 0, or -1 with *team NULL (EX_SOFTWARE). */
int team_create(struct team **team, unsigned members, struct error *error);

/* Runs job(user, m) for every member m and returns when all are done. One caller at a time. */
void team_run(struct team *team, team_job job, void *user);

/* From within a job: waits until every member is here. */
void team_barrier(struct team *team);

/* From within a job: the next number since the last barrier (or the start), from 0. */
uint32_t team_take(struct team *team);

unsigned team_members(const struct team *team);

/* Ends the threads. Safe on NULL. */
void team_destroy(struct team *team);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * A fixed team of threads that run one job together. The caller of team_run() is member 0. Within a
 * job, members meet at barriers, and share work by an atomic counter that every barrier resets. A
 * member that waits first spins, for some tens of microseconds for a job and for tenths of a
 * millisecond at a barrier within one, and then sleeps in the kernel, so that an idle team costs
 * nothing.
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

/* Within a job: waits until every member has come to this barrier. */
void team_barrier(struct team *team);

/* Within a job: returns the next number, counted from 0 since the last barrier or the start. */
uint32_t team_take(struct team *team);

/* Ends the threads. Safe on NULL. */
void team_destroy(struct team *team);

#endif

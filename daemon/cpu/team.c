/* SPDX-License-Identifier: Apache-2.0
 *
 * One barrier does everything: members wait at it for a job, for each other within a job, and for
 * the end of a job. The last member to arrive resets the work counter and raises the generation
 * (release); the others spin on the generation for a bounded time, then sleep on it as a futex. A
 * sleeper counts itself before it looks at the generation again, and the last member looks at the
 * count after it has raised the generation; both are sequentially consistent, so that no wake-up is
 * lost. Within a job, members spin for longer than any other should be late, because a wake-up
 * costs a virtual machine more time than the product of a panel. A member that spins yields its
 * core now and then, because a late member may be waiting for that core.
 */
#include "daemon/cpu/team.h"

#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

#define SPINS 1000    /* some tens of microseconds, after which the core is yielded once */
#define JOB_YIELDS 20 /* before a member sleeps within a job: some tenths of a millisecond */
#define IDLE_YIELDS 1 /* before it sleeps between jobs */

struct member {
    struct team *team;
    unsigned number;
    pthread_t thread;
};

struct team {
    unsigned size;
    unsigned started; /* threads to join, member 1 onwards */
    team_job job;     /* NULL tells the threads to end */
    void *user;
    struct member *members;
    alignas(64) atomic_uint arrived;
    alignas(64) atomic_uint generation;
    atomic_uint sleepers;
    alignas(64) atomic_uint taken;
};

static void generation_sleep(struct team *team, unsigned generation) {
    atomic_fetch_add(&team->sleepers, 1);
    while (atomic_load(&team->generation) == generation)
        syscall(SYS_futex, &team->generation, FUTEX_WAIT_PRIVATE, generation, NULL, NULL, 0);
    atomic_fetch_sub(&team->sleepers, 1);
}

/* Arrives `count` times at once. Returns true when the last member has arrived, and opens the
 * barrier then. */
static bool barrier_arrive(struct team *team, unsigned generation, unsigned count) {
    unsigned before = atomic_fetch_add_explicit(&team->arrived, count, memory_order_acq_rel);
    if (before + count < team->size)
        return false;
    atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&team->taken, 0, memory_order_relaxed);
    atomic_store(&team->generation, generation + 1);
    if (atomic_load(&team->sleepers) > 0)
        syscall(SYS_futex, &team->generation, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    return true;
}

static void barrier_pass(struct team *team, int yields) {
    unsigned generation = atomic_load_explicit(&team->generation, memory_order_relaxed);
    if (barrier_arrive(team, generation, 1))
        return;
    for (; yields > 0; yields--, sched_yield())
        for (int i = 0; i < SPINS; i++) {
            if (atomic_load_explicit(&team->generation, memory_order_acquire) != generation)
                return;
            _mm_pause();
        }
    generation_sleep(team, generation);
}

void team_barrier(struct team *team) {
    barrier_pass(team, JOB_YIELDS);
}

uint32_t team_take(struct team *team) {
    return atomic_fetch_add_explicit(&team->taken, 1, memory_order_relaxed);
}

void team_run(struct team *team, team_job job, void *user) {
    team->job = job;
    team->user = user;
    barrier_pass(team, IDLE_YIELDS);
    job(user, 0);
    team_barrier(team);
}

static void *member_main(void *argument) {
    struct member *member = argument;
    struct team *team = member->team;
    char name[16];
    snprintf(name, sizeof name, "cpu-engine-%u", member->number % 1000);
    pthread_setname_np(pthread_self(), name);
    for (;;) {
        barrier_pass(team, IDLE_YIELDS);
        if (!team->job)
            return NULL;
        team->job(team->user, member->number);
        team_barrier(team);
    }
}

int team_create(struct team **out, unsigned members, struct error *error) {
    struct team *team = aligned_alloc(alignof(struct team), sizeof(struct team));
    *out = NULL;
    if (!team)
        return error_set(error, EX_SOFTWARE, "out of memory for the engine's threads");
    memset(team, 0, sizeof *team);
    team->size = members;
    team->members = calloc(members, sizeof *team->members);
    int result = team->members ? 0 : -1;
    for (unsigned i = 1; i < members && result == 0; i++) {
        team->members[i] = (struct member){.team = team, .number = i};
        result = pthread_create(&team->members[i].thread, NULL, member_main, &team->members[i]);
        team->started += result == 0;
    }
    if (result == 0) {
        *out = team;
        return 0;
    }
    error_set(error, EX_SOFTWARE, "cannot start thread %u of %u: %s; ask for fewer with --threads",
              team->started + 1, members, result > 0 ? strerror(result) : "out of memory");
    team_destroy(team);
    return -1;
}

void team_destroy(struct team *team) {
    if (!team)
        return;
    team->job = NULL;
    /* Arrives for the caller and for the members that never started. */
    barrier_arrive(team, atomic_load(&team->generation), team->size - team->started);
    for (unsigned i = 1; i <= team->started; i++)
        pthread_join(team->members[i].thread, NULL);
    free(team->members);
    free(team);
}

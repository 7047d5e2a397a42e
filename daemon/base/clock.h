/* SPDX-License-Identifier: Apache-2.0
 *
 * The time: of the clock that only goes forward, and a point of the calendar's for waits on a
 * condition variable.
 */
#ifndef ESM1NV_CLOCK_H
#define ESM1NV_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_microseconds(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* For measuring how long something takes. */
static inline double clock_seconds(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* For pthread_cond_timedwait(). */
static inline struct timespec clock_deadline(int milliseconds) {
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    return until;
}

#endif

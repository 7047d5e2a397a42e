/* SPDX-License-Identifier: Apache-2.0
 *
 * Durations by the clock that only goes forward, and deadlines for waits on condition variables.
 */
#ifndef ESM1NV_CLOCK_H
#define ESM1NV_CLOCK_H

#include <time.h>

/* The time since some point in the past. */
static inline double clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The time so many milliseconds from now, for pthread_cond_timedwait(). */
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

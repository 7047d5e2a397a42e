/* SPDX-License-Identifier: Apache-2.0
 *
 * A point in time for pthread_cond_timedwait().
 */
#ifndef ESM1NV_DEADLINE_H
#define ESM1NV_DEADLINE_H

#include <time.h>

static inline struct timespec deadline_after(int milliseconds) {
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    return until;
}

#endif

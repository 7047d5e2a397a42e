/* SPDX-License-Identifier: Apache-2.0
 *
 * Seconds on a clock that only goes forward, for measuring how long something takes.
 */
#ifndef ESM1NV_CLOCK_H
#define ESM1NV_CLOCK_H

#include <time.h>

static inline double clock_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

#endif

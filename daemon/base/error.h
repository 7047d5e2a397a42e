/* SPDX-License-Identifier: Apache-2.0
 *
 * How a fatal error travels up inside the daemon: functions return -1 and leave an exit status
 * (sysexits.h) and one line for people, naming what failed, on what, and what to do.
 */
#ifndef ESM1NV_ERROR_H
#define ESM1NV_ERROR_H

struct error {
    int status; /* EX_CONFIG for a bad model or option, EX_SOFTWARE for what should not fail, ... */
    char text[1024];
};

/* Always returns -1, so that `return error_set(...)` reads well. */
__attribute__((format(printf, 3, 4))) int error_set(struct error *error, int status,
                                                    const char *format, ...);

/* Puts "context: " before the text that is there. Always returns -1. */
__attribute__((format(printf, 2, 3))) int error_prefix(struct error *error, const char *format,
                                                       ...);

#endif

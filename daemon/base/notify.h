/* SPDX-License-Identifier: Apache-2.0
 *
 * What systemd, or whoever set $NOTIFY_SOCKET, is told. All do nothing without it.
 */
#ifndef ESM1NV_NOTIFY_H
#define ESM1NV_NOTIFY_H

#include <stdint.h>

/* A line of state for people (STATUS=). */
__attribute__((format(printf, 1, 2))) void notify_status(const char *format, ...);

void notify_ready(void);
void notify_reloading(void); /* until notify_ready() again */
void notify_stopping(void);
void notify_watchdog(void);

/* How often, in microseconds, notify_watchdog() must be called; 0: not at all. */
uint64_t notify_watchdog_interval(void);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * sd_notify, with a failure to notify being nobody's failure.
 */
#include "daemon/base/notify.h"
#include "daemon/base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

void notify_status(const char *format, ...) {
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sd_notifyf(0, "STATUS=%s", text);
}

void notify_ready(void) {
    sd_notify(0, "READY=1");
}

void notify_reloading(void) {
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_microseconds());
}

void notify_stopping(void) {
    sd_notify(0, "STOPPING=1");
}

void notify_watchdog(void) {
    sd_notify(0, "WATCHDOG=1");
}

uint64_t notify_watchdog_interval(void) {
    uint64_t microseconds = 0;

    /* Twice as often as asked for. */
    return sd_watchdog_enabled(0, &microseconds) > 0 ? microseconds / 2 : 0;
}

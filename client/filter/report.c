/* SPDX-License-Identifier: Apache-2.0
 *
 * A message is put together first and written by one call, so that the lines of several filters on
 * one terminal do not mix.
 */
#include "client/filter/report.h"

#include "client/esm1nv.h"
#include "ipc/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* Ends the line and writes it. */
static void tell(char *line, size_t size) {
    line[size] = '\n';
    progress_clear();
    if (write(STDERR_FILENO, line, size + 1) < 0)
        return; /* there is nobody left to tell */
}

void report(const char *format, ...) {
    char line[2048] = "esm1nv: ";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + 8, sizeof line - 9, format, arguments);
    va_end(arguments);
    size_t size = strlen(line);
    text_make_printable(line, size);
    tell(line, size);
}

void report_text(const char *text) {
    char line[256] = "esm1nv: ";
    strncat(line, text, sizeof line - 10);
    tell(line, strlen(line));
}

int report_daemon_error(int reason, const char *text) {
    switch (reason) {
    case ESM1NV_ERROR_CONNECT:
        report("%s (esm1nvd --model FILE.nemo, or --socket PATH)", text);
        return EX_UNAVAILABLE;
    case ESM1NV_ERROR_BUSY:
        report("%s; try again later", text);
        return EX_TEMPFAIL;
    case ESM1NV_ERROR_LOST:
        report("%s; run again for what did not come out", text);
        return EX_TEMPFAIL;
    case ESM1NV_ERROR_MODEL:
    case ESM1NV_ERROR_REFUSED:
        report("%s; 'esm1nv --status' shows what the daemon serves", text);
        return EX_CONFIG;
    case ESM1NV_ERROR_DENIED:
        report("%s", text);
        return EX_NOPERM;
    default:
        report("%s", text);
        return EX_SOFTWARE;
    }
}

void exit_out_of_memory(void) {
    report("out of memory");
    exit(EX_SOFTWARE);
}

void *allocate(void *old, size_t size) {
    void *memory = realloc(old, size > 0 ? size : 1);
    if (!memory)
        exit_out_of_memory();
    return memory;
}

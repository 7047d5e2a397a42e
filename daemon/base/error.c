/* SPDX-License-Identifier: Apache-2.0
 *
 * Formats the text of a fatal error. Names from model files and from clients appear in it, so
 * control characters become '?': the text stays one line, and no file can control a terminal.
 */
#include "daemon/base/error.h"

#include "ipc/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *error, int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    text_make_printable(error->text, strlen(error->text));
    error->status = status;
    return -1;
}

int error_prefix(struct error *error, const char *format, ...) {
    char text[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t used = strlen(text);
    if (snprintf(text + used, sizeof text - used, ": %s", error->text) < 0)
        text[used] = '\0';
    text_make_printable(text, strlen(text));
    memcpy(error->text, text, sizeof text);
    return -1;
}

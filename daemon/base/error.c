/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of a fatal error. Names out of model files and from clients end up in it, so control
 * characters become '?': it stays one line, and a terminal cannot be made to obey a file.
 */
#include "daemon/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void make_printable(char *text) {
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
}

int error_set(struct error *error, int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    make_printable(error->text);
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
    make_printable(text);
    memcpy(error->text, text, sizeof text);
    return -1;
}

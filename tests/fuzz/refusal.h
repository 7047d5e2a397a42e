/* SPDX-License-Identifier: Apache-2.0
 *
 * What the model's readers promise when they refuse a file: a status, and one line for people.
 */
#ifndef ESM1NV_FUZZ_REFUSAL_H
#define ESM1NV_FUZZ_REFUSAL_H

#include "daemon/base/error.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sysexits.h>

/* A reader ends with EX_SOFTWARE when memory is wanting, which replay.c brings about. */
static inline void check_refusal(const struct error *error, const uint8_t *data, size_t size) {
    REQUIRE(error->status == EX_CONFIG || error->status == EX_SOFTWARE, "status %d: %s",
            error->status, error->text);
    REQUIRE(error->text[0] && !strchr(error->text, '\n'), "not a line: %s", error->text);
    REQUIRE(!strstr(error->text, "(null)") || memmem(data, size, "(null)", 6), "%s", error->text);
}

/* Tells whether the piece lies inside of data. */
static inline bool is_inside(const uint8_t *piece, size_t length, const uint8_t *data,
                             size_t size) {
    return length == 0 || (piece >= data && length <= size && piece <= data + size - length);
}

#endif

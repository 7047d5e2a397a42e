/* SPDX-License-Identifier: Apache-2.0
 *
 * One NumPy array of little-endian values. Its header has a fixed size and is zeros until the
 * number of rows is known, so a file that was not completed cannot be taken for a whole one.
 */
#include "client/filter/output/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HEADER_SIZE 128u

static int npy_begin(struct output *output) {
    static const char zeros[HEADER_SIZE];
    return target_write(&output->target, zeros, sizeof zeros);
}

static int npy_rows(struct output *output, const struct record *record,
                    const struct esm1nv_result *answer) {
    (void)record;
    return target_refer(&output->target, answer->rows, answer->bytes);
}

/* NumPy's format 1.0: magic, version, the length of what follows, a Python dictionary. */
static int npy_end(struct output *output) {
    char header[HEADER_SIZE + 1];
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    int size =
        snprintf(header + 10, sizeof header - 10,
                 "{'descr': '<f%c', 'fortran_order': False, 'shape': (%" PRIu64 ", %" PRIu32 "), }",
                 output->dtype == ESM1NV_F16 ? '2' : '4', output->rows, output->hidden);
    memset(header + 10 + size, ' ', HEADER_SIZE - 11 - (size_t)size);
    header[HEADER_SIZE - 1] = '\n';
    return target_patch(&output->target, header, HEADER_SIZE, 0);
}

const struct output_format output_npy = {.name = "npy",
                                         .binary = true,
                                         .patches = true,
                                         .bytes_at_start = HEADER_SIZE,
                                         .begin = npy_begin,
                                         .rows = npy_rows,
                                         .end = npy_end};

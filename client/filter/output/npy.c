/* SPDX-License-Identifier: Apache-2.0
 *
 * One NumPy array of little-endian values. Its header has a fixed size and holds zeros until the
 * number of rows is known, so nobody can mistake an incomplete file for a whole one.
 */
#include "client/filter/output/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HEADER_SIZE 128u

static void npy_begin(struct output *output) {
    static const char zeros[HEADER_SIZE];
    target_write(&output->target, zeros, sizeof zeros);
}

/* Writes the header of NumPy's format 1.0: the magic bytes, the version, the length of what
 * follows, and a Python dictionary. */
static void npy_end(struct output *output) {
    char header[HEADER_SIZE + 1];
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    int size =
        snprintf(header + 10, sizeof header - 10,
                 "{'descr': '<f%c', 'fortran_order': False, 'shape': (%" PRIu64 ", %" PRIu32 "), }",
                 output->dtype == ESM1NV_F16 ? '2' : '4', output->rows, output->hidden);
    memset(header + 10 + size, ' ', HEADER_SIZE - 11 - (size_t)size);
    header[HEADER_SIZE - 1] = '\n';
    target_patch(&output->target, header, HEADER_SIZE, 0);
}

const struct output_format output_npy = {.name = "npy",
                                         .binary = true,
                                         .patches = true,
                                         .bytes_at_start = HEADER_SIZE,
                                         .begin = npy_begin,
                                         .rows = output_values,
                                         .end = npy_end};

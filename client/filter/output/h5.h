/* SPDX-License-Identifier: Apache-2.0
 *
 * The door between the filter and the module that is linked with libhdf5, which is loaded only for
 * --format h5. The module exports one table of this form, named by H5_TABLE_SYMBOL.
 */
#ifndef ESM1NV_FILTER_H5_H
#define ESM1NV_FILTER_H5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H5_TABLE_VERSION 1
#define H5_TABLE_SYMBOL "esm1nv_h5"
#define H5_ERROR_MAX 256

struct h5_file;

/* What all datasets of a file have in common. */
struct h5_shape {
    uint32_t hidden;
    bool rows; /* (rows, hidden), else (hidden) */
    bool half; /* float16, else float32; little endian */
};

/* One record. Texts are UTF-8, not ended by NUL. */
struct h5_record {
    const char *id;
    size_t id_size;
    const char *header;
    size_t header_size;
    const void *values;
    uint32_t row_count;
};

/* Functions return 0, or -1 with a line for people in reason. */
struct h5_table {
    unsigned version;
    /* A new file in the place of one that exists. NULL on error. */
    struct h5_file *(*create)(const char *path, const struct h5_shape *shape,
                              char reason[H5_ERROR_MAX]);
    /* Adds a dataset named by the id, as the manual says. */
    int (*write)(struct h5_file *file, const struct h5_record *record, char reason[H5_ERROR_MAX]);
    /* Completes the file. The handle is gone, also after an error. Safe on NULL. */
    int (*close)(struct h5_file *file, char reason[H5_ERROR_MAX]);
};

#endif

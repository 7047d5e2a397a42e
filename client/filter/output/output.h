/* SPDX-License-Identifier: Apache-2.0
 *
 * One table of writers, a row per format. Records come in input order, each with its result or
 * with a failure.
 */
#ifndef ESM1NV_FILTER_OUTPUT_H
#define ESM1NV_FILTER_OUTPUT_H

#include "client/esm1nv.h"
#include "client/filter/input/record.h"
#include "client/filter/output/target.h"

struct h5_table;
struct h5_file;
struct output;

struct output_format {
    const char *name;
    bool binary;       /* takes --dtype; not for terminals */
    bool patches;      /* goes back in the file at the end, which must therefore be able to seek */
    bool keeps_header; /* wants more of a header than the id */
    bool needs_path;   /* writes by itself to the file of a name */
    /* All return 0, or a negative exit status after reporting; all but rows may be NULL. */
    int (*begin)(struct output *output);
    int (*rows)(struct output *output, const struct record *record,
                const struct esm1nv_result *result);
    int (*failed)(struct output *output, const struct record *record);
    int (*end)(struct output *output);
    void (*finish)(struct output *output); /* also when there was no end */
};

extern const struct output_format output_tsv, output_jsonl, output_raw, output_npy, output_msgpack,
    output_h5;
/* All of them, and their names in the same order; both ended by NULL. */
extern const struct output_format *const output_formats[];
extern const char *const output_format_names[];

struct output {
    const struct output_format *format;
    enum esm1nv_pooling pooling;
    enum esm1nv_dtype dtype;
    uint32_t hidden;
    uint64_t rows; /* written so far */
    struct target target;
    struct target index;
    bool has_index;
    const struct h5_table *h5;
    struct h5_file *h5_file;
};
#define OUTPUT_NULL ((struct output){.target = TARGET_NULL, .index = TARGET_NULL})

/* Opens the files: path NULL is stdout, index NULL none. Checks that the format can be written
 * there. format, pooling and dtype are set before. */
int output_open(struct output *output, const char *path, const char *index);
/* Once the model's hidden size is known. */
int output_begin(struct output *output, uint32_t hidden);
/* One record; result is not used when the record failed. */
int output_write(struct output *output, const struct record *record,
                 const struct esm1nv_result *result);
/* Whether rows of results that were written must still stay where they are. */
static inline bool output_refers(const struct output *output) {
    return output->target.referred > 0;
}
int output_flush(struct output *output);
/* Completes the files and gives them their names. */
int output_commit(struct output *output);
void output_finish(struct output *output);

int index_begin(struct target *target);
int index_write(struct target *target, const struct record *record, uint32_t rows, uint64_t offset);

/* Text for the writers: an id or reason in a TSV field (control characters become blanks), or in
 * JSON with its quotes; values with separator between them. */
int text_field(struct target *target, const char *text, size_t size);
int text_json(struct target *target, const char *text, size_t size);
int text_values(struct target *target, const float *values, uint32_t count, char separator);
int text_format(struct target *target, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

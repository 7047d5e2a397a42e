/* SPDX-License-Identifier: Apache-2.0
 *
 * Writers of records, one per format. Records come in input order, each with its rows or with a
 * failure. A new format is a file that defines a struct output_format, and a row in formats.c.
 */
#ifndef ESM1NV_FILTER_OUTPUT_H
#define ESM1NV_FILTER_OUTPUT_H

#include "client/esm1nv.h"
#include "client/filter/input/record.h"
#include "client/filter/output/target.h"

struct output;

struct output_format {
    const char *name;
    bool binary;       /* takes --dtype; not for terminals */
    bool patches;      /* goes back in the file at the end, which must therefore be able to seek */
    bool keeps_header; /* wants more of a header than the id */
    bool needs_path;   /* writes by itself to the file of a name */

    /* For --dry-run: the bytes before the first record, and about those of a record beside its
     * values (rows 0: of one that failed). NULL: it has no others, and a binary format's bytes are
     * then known exactly. */
    uint64_t bytes_at_start;
    uint64_t (*bytes_beside)(const struct record *record, uint64_t rows);

    /* All return 0, or a negative exit status after reporting; all but rows may be NULL. */
    int (*begin)(struct output *output);
    int (*rows)(struct output *output, const struct record *record,
                const struct esm1nv_result *answer);
    int (*failed)(struct output *output, const struct record *record);
    int (*end)(struct output *output);
    void (*finish)(struct output *output); /* also when begin failed, or there was no end */
};

/* All formats, and their names in the same order; both ended by NULL. The first is the default. */
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
    void *state; /* the format's own: allocate()d in its begin, freed after its finish */
};
#define OUTPUT_NULL ((struct output){.target = TARGET_NULL, .index = TARGET_NULL})

/* Opens the files: path NULL is stdout, index NULL none. Checks that the format can be written
 * there. format, pooling and dtype are set before. */
int output_open(struct output *output, const char *path, const char *index);
/* Once the model's hidden size is known. */
int output_begin(struct output *output, uint32_t hidden);
/* One record, and what the daemon answered, which is not used when the record failed. */
int output_write(struct output *output, const struct record *record,
                 const struct esm1nv_result *answer);
/* Whether rows of answers that were written must still stay where they are. */
static inline bool output_refers(const struct output *output) {
    return output->target.referred > 0;
}
int output_flush(struct output *output);
/* Completes the files and gives them their names. */
int output_commit(struct output *output);
void output_finish(struct output *output);

#endif

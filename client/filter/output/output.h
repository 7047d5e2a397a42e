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
    bool binary;       /* takes --dtype, and is never written to a terminal */
    bool patches;      /* seeks back in the file at the end, so the file must be able to */
    bool keeps_header; /* needs the whole header, not only the id */
    bool needs_path;   /* opens the file itself, by its name */

    /* For --dry-run: how many bytes stand before the first record, and an estimate of how many a
     * record has beside its values (rows is 0 for a record that failed). NULL: it has none, so the
     * size of a binary format is known exactly. */
    uint64_t bytes_at_start;
    uint64_t (*bytes_beside)(const struct record *record, uint64_t rows);

    /* All but rows may be NULL. What fails is reported, and leaves output->target.result a negative
     * exit status. finish is called in any case, after a failed begin too and without an end. */
    void (*begin)(struct output *output);
    void (*rows)(struct output *output, const struct record *record,
                 const struct esm1nv_result *answer);
    void (*failed)(struct output *output, const struct record *record);
    void (*end)(struct output *output);
    void (*finish)(struct output *output);
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

/* A format's rows(): the answer's values as they are, and nothing else. */
void output_values(struct output *output, const struct record *record,
                   const struct esm1nv_result *answer);

/* Functions return 0, or a negative exit status after reporting. */

/* Opens the files: path NULL means stdout, index NULL means none. Checks that the format can be
 * written there. The caller has set format, pooling and dtype. */
int output_open(struct output *output, const char *path, const char *index);
/* Writes what stands before the first record; called once the model's hidden size is known. */
int output_begin(struct output *output, uint32_t hidden);
/* Writes one record with the daemon's answer, which is not used if the record failed. */
int output_write(struct output *output, const struct record *record,
                 const struct esm1nv_result *answer);
/* Whether rows of earlier answers must still stay where they are, since they wait to be written. */
static inline bool output_refers(const struct output *output) {
    return output->target.referred > 0;
}
int output_flush(struct output *output);
/* Completes the files and gives them their names. */
int output_commit(struct output *output);
void output_finish(struct output *output);

#endif

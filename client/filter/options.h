/* SPDX-License-Identifier: Apache-2.0
 *
 * The filter's command line.
 */
#ifndef ESM1NV_FILTER_OPTIONS_H
#define ESM1NV_FILTER_OPTIONS_H

#include "client/esm1nv.h"
#include "client/filter/input/reader.h"
#include "client/filter/output/output.h"
#include "client/filter/report.h"

struct verb;

struct options {
    const struct verb *verb;
    enum input_kind input;
    enum id_rule id;
    enum invalid_rule invalid;
    enum long_rule too_long;
    enum esm1nv_pooling pooling;
    const struct output_format *format;
    enum esm1nv_dtype dtype;
    bool dtype_given;
    const char *output; /* NULL: stdout */
    const char *index;
    bool verbose;
    enum progress_mode progress;
    const char *socket; /* NULL: the usual places */
    const char *model;  /* what a private daemon loads; NULL: there can be none */
    bool model_named;   /* by --model, so no other daemon may serve */
    bool no_autostart;
    unsigned idle_exit; /* seconds */
    unsigned wait;      /* seconds */
    char *expect;       /* lower-case hex digits */
    bool status_json;
    char **files;
    size_t file_count;
};

/* Returns 0, or a negative exit status after reporting. */
int filter_options_parse(struct options *options, int argc, char **argv);
/* Sets the rules by which records are read for a model. */
void options_set_rules(const struct options *options, struct record_rules *rules,
                       const uint8_t alphabet[32], uint32_t positions, uint32_t hidden);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * --dry-run: reads and cleans the input as a real run would, and says what would come out. No
 * daemon is asked, so the model is taken to be ESM-1nv.
 */
#include "client/filter/verbs.h"
#include "client/filter/warnings.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum { POSITIONS = 512, HIDDEN = 768 };
static const char letters[] = "LAGVSERTIDPKQNFYMHWCXBUZO";

/* The average size of one value in text with its separator, in tenths of a byte, over rows of such
 * models. */
#define TEXT_VALUE_TENTHS 116u

struct counts {
    uint64_t records, residues, over_long, invalid, empty, failed, rows;
    uint64_t bytes; /* of the output, values not included */
};

static void set_rules(struct record_rules *rules, const struct options *options) {
    uint8_t alphabet[32] = {0};
    for (const char *letter = letters; *letter; letter++)
        alphabet[*letter / 8] |= (uint8_t)(1u << (*letter % 8));
    options_set_rules(options, rules, alphabet, POSITIONS, HIDDEN);
}

static uint64_t rows_of(const struct options *options, const struct record *record) {
    if (record_failed(record))
        return 0;
    if (options->pooling == ESM1NV_POOL_BOS)
        return record->residue_count < POSITIONS;
    return options->pooling == ESM1NV_POOL_NONE ? record->residue_count : 1;
}

static void count(struct counts *counts, const struct options *options,
                  const struct record *record) {
    uint64_t rows = rows_of(options, record);
    counts->records++;
    counts->residues += record->length;
    counts->over_long += record->length > POSITIONS;
    counts->invalid += record->has_unknown || record->has_dropped;
    counts->empty += record->length == 0;
    counts->failed += rows == 0;
    counts->rows += rows;
    if (options->format->bytes_beside)
        counts->bytes += options->format->bytes_beside(record, rows);
}

static uint64_t output_bytes(const struct counts *counts, const struct options *options) {
    uint64_t values = counts->rows * HIDDEN, value_bytes = options->dtype == ESM1NV_F16 ? 2 : 4;
    return options->format->bytes_at_start + counts->bytes +
           (options->format->binary ? values * value_bytes : values * TEXT_VALUE_TENTHS / 10);
}

static int wait_and_read(struct input *input) {
    struct pollfd ready = {.fd = input_fd(input), .events = POLLIN};
    if (ready.fd >= 0 && poll(&ready, 1, -1) < 0)
        return errno == EINTR ? 0 : -EX_SOFTWARE;
    return input_read(input);
}

static int count_all(struct counts *counts, const struct options *options, struct input *input,
                     struct warnings *warnings) {
    struct record_rules rules;
    struct reader reader;
    struct record record = RECORD_NULL;
    set_rules(&rules, options);
    reader_init(&reader, input, &rules, options->input);
    int result = 0;
    while (result >= 0 && result != READER_END) {
        result = reader_next(&reader, &record);
        if (result == READER_WAIT) {
            result = wait_and_read(input);
        } else if (result == READER_RECORD) {
            count(counts, options, &record);
            warnings_look(warnings, &record);
            if (options->verbose)
                warnings_add(warnings, &record);
        }
    }
    record_finish(&record);
    return result < 0 ? result : 0;
}

static void print_counts(const struct counts *counts, const struct options *options) {
    bool exact = options->format->binary && !options->format->bytes_beside;
    printf("records            %" PRIu64 "\n", counts->records);
    printf("residues           %" PRIu64 "\n", counts->residues);
    printf("over-long records  %" PRIu64 "\n", counts->over_long);
    printf("invalid records    %" PRIu64 "\n", counts->invalid);
    printf("empty records      %" PRIu64 "\n", counts->empty);
    printf("failing records    %" PRIu64 "\n", counts->failed);
    printf("output rows        %" PRIu64 "\n", counts->rows);
    printf("output bytes       %s%" PRIu64 "\n", exact ? "" : "about ",
           output_bytes(counts, options));
}

static int dry_run(const struct options *options) {
    struct counts counts = {0};
    struct warnings warnings = {.verbose = true, .positions = POSITIONS};
    struct input input = INPUT_NULL;
    int result = input_open(&input, options->files, options->file_count);
    if (result == 0)
        result = count_all(&counts, options, &input, &warnings);
    input_finish(&input);
    if (result == 0)
        print_counts(&counts, options);
    return -result;
}

const struct verb verb_dry_run = {.run = dry_run};

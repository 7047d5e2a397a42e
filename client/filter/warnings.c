/* SPDX-License-Identifier: Apache-2.0
 *
 * The first few failures are reported one by one as they come; everything else is counted.
 */
#include "client/filter/warnings.h"

#include "client/filter/report.h"

#include <inttypes.h>
#include <stdio.h>

#define FAILURES_SHOWN 10u
#define ID_SHOWN 60

static void tell_record(const struct record *record, const char *what) {
    int size = record->id_size < ID_SHOWN ? (int)record->id_size : ID_SHOWN;
    report("%s:%" PRIu64 ": record %" PRIu64 " \"%.*s%s\": %s", record->file, record->line,
           record->ordinal, size, record->id, record->id_size > ID_SHOWN ? "..." : "", what);
}

/* What is reported of one record, and, after their number, of all. */
static const struct {
    const char *one, *all;
} texts[WARNING_KINDS] = {
    [WARNING_TRUNCATED] = {"longer than the model takes; its end was cut", NULL},
    [WARNING_UNKNOWN] = {"letters outside the alphabet became <unk>",
                         "with letters outside the model's alphabet, embedded as <unk>"},
    [WARNING_DROPPED] = {"letters outside the alphabet were left out",
                         "with letters outside the model's alphabet, which were left out"},
    [WARNING_ID] = {"its id is not UTF-8; U+FFFD stands for each bad byte",
                    "whose id is not UTF-8: U+FFFD stands for each bad byte"},
};

static void warnings_count(struct warnings *warnings, const struct record *record,
                           enum warning kind) {
    warnings->count[kind]++;
    if (warnings->verbose)
        tell_record(record, texts[kind].one);
}

void warnings_look(struct warnings *warnings, const struct record *record) {
    if (record->look == LOOK_PLAIN || warnings->looks & 1u << record->look)
        return;
    warnings->looks |= 1u << record->look;
    report("%s:%" PRIu64 ": looks like %s", record->file, record->line,
           look_text((enum look)record->look));
}

void warnings_add(struct warnings *warnings, const struct record *record) {
    warnings->records++;
    warnings_look(warnings, record);
    if (record->id_repaired)
        warnings_count(warnings, record, WARNING_ID);
    if (record_failed(record)) {
        if (warnings->failed++ < FAILURES_SHOWN || warnings->verbose)
            tell_record(record, record->failure);
        return;
    }
    if (record->truncated)
        warnings_count(warnings, record, WARNING_TRUNCATED);
    if (record->has_unknown)
        warnings_count(warnings, record, WARNING_UNKNOWN);
    if (record->has_dropped)
        warnings_count(warnings, record, WARNING_DROPPED);
}

/* Writes "1 record" or "2 records". */
static void count_records(uint64_t count, char text[40]) {
    snprintf(text, 40, "%" PRIu64 " record%s", count, count == 1 ? "" : "s");
}

static void tell_kind(const struct warnings *warnings, enum warning kind) {
    char count[40];
    count_records(warnings->count[kind], count);
    if (kind == WARNING_TRUNCATED)
        report("%s longer than %" PRIu32 " residues: only the first %" PRIu32
               " of each were embedded",
               count, warnings->positions, warnings->positions);
    else
        report("%s %s", count, texts[kind].all);
}

void warnings_tell(const struct warnings *warnings) {
    for (int kind = 0; kind < WARNING_KINDS; kind++)
        if (warnings->count[kind] > 0)
            tell_kind(warnings, (enum warning)kind);
    if (warnings->failed == 0)
        return;
    char count[40];
    count_records(warnings->records, count);
    bool hidden = warnings->failed > FAILURES_SHOWN && !warnings->verbose;
    report("%" PRIu64 " of %s failed%s", warnings->failed, count,
           hidden ? "; --verbose or --index FILE names them all" : "");
}

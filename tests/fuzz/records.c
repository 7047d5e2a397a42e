/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz targets: records out of FASTA and of lines, plain or gzip. The input is read once whole and
 * once in small pieces; how the bytes are cut may not change a record or a message. What a record
 * promises to the writers is checked on each.
 *
 *     flags (1 byte), then files, apart by the byte 0xFE
 *     flags: bit 0: whole ids; bits 1 to 2: --invalid; bit 3: windows, and the header is kept;
 *            bit 4: the kind is told from the input; bit 5: --long error; bits 6 to 7: bytes of a
 *            piece, less one
 *
 * report() and allocate() stand here in place of the filter's: messages are compared too.
 */
#include "client/filter/input/reader.h"
#include "client/filter/report.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define SIZE_MOST 16384 /* fits a pipe */
#define FILES_MAX 4
#define FILE_MARK 0xFE
#define POSITIONS 12
#define RESIDUES_MAX 40 /* with windows */

static const char *const names[FILES_MAX] = {"one", "two", "three", "four"};

/* One reading of the input, and all that came of it as text. */
struct reading {
    struct input input;
    struct tape left[FILES_MAX]; /* of each file, not yet written into its pipe */
    int pipes[FILES_MAX];        /* the ends written to; -1: closed */
    size_t piece;
    char *text;
    size_t text_size;
};

static FILE *told; /* the text of the reading at hand */

void report(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(told, format, arguments);
    va_end(arguments);
    fputc('\n', told);
}

/* This uses the one call that replay.c does not let fail, because the filter would end here. */
void *allocate(void *old, size_t size) {
    void *memory = reallocarray(old, size ? size : 1, 1);
    REQUIRE(memory, "%zu bytes", size);
    return memory;
}

static struct record_rules rules_of(uint8_t flags) {
    uint8_t alphabet[32] = {0};
    for (const char *letter = "LAGVSERTIDPKQNFYMHWCXBUZO"; *letter; letter++)
        alphabet[*letter / 8] |= (uint8_t)(1u << (*letter % 8));
    struct record_rules rules = {.id = flags & 1 ? ID_FULL : ID_FIRST,
                                 .invalid = (enum invalid_rule)((flags >> 1 & 3) % 3),
                                 .too_long = flags & 8    ? LONG_WINDOW
                                             : flags & 32 ? LONG_ERROR
                                                          : LONG_TRUNCATE,
                                 .residues_max = flags & 8 ? RESIDUES_MAX : POSITIONS,
                                 .keep_header = flags & 8};
    record_rules_set(&rules, alphabet, POSITIONS);
    return rules;
}

static bool is_utf8(const char *text, size_t size) {
    uint32_t code_point;
    while (size > 0) {
        int length = utf8_decode(text, size, &code_point);
        if (length <= 0)
            return false;
        text += length;
        size -= (size_t)length;
    }
    return true;
}

static void check_record(const struct record *record, const struct record_rules *rules) {
    uint32_t unknown = 0;
    REQUIRE(record->id_size > 0 && is_utf8(record->id, record->id_size), "the id");
    REQUIRE(!memchr(record->id, '\n', record->id_size) &&
                !memchr(record->id, '\r', record->id_size),
            "a line end in the id");
    REQUIRE(record->residue_count <= rules->residues_max && record->residue_count <= record->length,
            "%u residues of %llu", record->residue_count, (unsigned long long)record->length);
    for (uint32_t i = 0; i < record->residue_count; i++) {
        const uint8_t residue = record->residues[i];
        REQUIRE(residue == 0 || (rules->alphabet[residue / 8] >> (residue % 8) & 1), "residue %u",
                residue);
        unknown += residue == 0;
    }
    REQUIRE(record->unknown_count == (rules->invalid == INVALID_UNK ? unknown : 0),
            "%u unknown ones, not %u", record->unknown_count, unknown);
    REQUIRE(unknown == 0 || rules->invalid == INVALID_UNK || record_failed(record), "unknown ones");
    REQUIRE(record->length > 0 || record_failed(record), "an empty record is sound");
    REQUIRE(record->look < LOOK_KINDS && (record->look == LOOK_PLAIN || look_text(record->look)),
            "look %u", record->look);
    REQUIRE(record->reading.boundary_position == 0 || record_failed(record), "a lost boundary");
}

static void tell_record(const struct record *record) {
    fprintf(told, "%llu %s:%llu ", (unsigned long long)record->ordinal, record->file,
            (unsigned long long)record->line);
    fwrite(record->id, 1, record->id_size, told);
    fputc('\t', told);
    if (record->residue_count)
        fwrite(record->residues, 1, record->residue_count, told);
    for (uint32_t i = 0; i < record->unknown_count; i++)
        fprintf(told, " %x", record->unknown[i]);
    fprintf(told, " %llu %d%d%d%d%u %s\n", (unsigned long long)record->length, record->id_repaired,
            record->has_unknown, record->has_dropped, record->truncated, record->look,
            record->failure);
}

/* Cuts the tape into files. Returns how many there are. */
static size_t split(struct reading *reading, struct tape tape) {
    size_t count = 0;
    for (;;) {
        const uint8_t *mark = count + 1 < FILES_MAX ? memchr(tape.at, FILE_MARK, tape.left) : NULL;
        const size_t size = mark ? (size_t)(mark - tape.at) : tape.left;
        reading->left[count++] = (struct tape){tape.at, size};
        if (!mark)
            return count;
        tape.at += size + 1;
        tape.left -= size + 1;
    }
}

/* Makes a pipe of each file, and an input that reads them. */
static void begin_reading(struct reading *reading, struct tape tape) {
    char paths[FILES_MAX][32], *list[FILES_MAX];
    int read_ends[FILES_MAX];
    const size_t count = split(reading, tape);
    for (size_t i = 0; i < count; i++) {
        int ends[2];
        REQUIRE(pipe2(ends, O_CLOEXEC) == 0, "no pipe");
        read_ends[i] = ends[0];
        reading->pipes[i] = ends[1];
        snprintf(paths[i], sizeof paths[i], "/dev/fd/%d", ends[0]);
        list[i] = paths[i];
    }
    REQUIRE(input_open(&reading->input, list, count) == 0, "%s", paths[0]);
    for (size_t i = 0; i < count; i++) {
        reading->input.files[i].name = reading->input.files[i].path = names[i];
        close(read_ends[i]);
    }
}

/* Writes a piece of the file at hand, or ends it, and lets it be read. */
static int feed(struct reading *reading) {
    struct tape *left = &reading->left[reading->input.current];
    int *end = &reading->pipes[reading->input.current];
    const size_t size = left->left < reading->piece ? left->left : reading->piece;
    REQUIRE(*end >= 0, "asks for more behind the end");
    if (size > 0) {
        REQUIRE(write(*end, left->at, size) == (ssize_t)size, "the pipe is full");
        left->at += size;
        left->left -= size;
    } else {
        close(*end);
        *end = -1;
    }
    return input_read(&reading->input);
}

static int read_records(struct reading *reading, const struct record_rules *rules,
                        enum input_kind kind) {
    struct reader reader;
    struct record record = RECORD_NULL;
    uint64_t ordinal = 0;
    int result = 0;
    reader_init(&reader, &reading->input, rules, kind);
    while (result >= 0 && result != READER_END) {
        result = reader_next(&reader, &record);
        if (result == READER_WAIT) {
            result = feed(reading);
        } else if (result == READER_RECORD) {
            REQUIRE(record.ordinal == ++ordinal, "%llu", (unsigned long long)record.ordinal);
            check_record(&record, rules);
            tell_record(&record);
        }
    }
    record_finish(&record);
    return result;
}

static int read_all(struct reading *reading, uint8_t flags, struct tape tape, size_t piece) {
    const struct record_rules rules = rules_of(flags);
    *reading = (struct reading){.piece = piece};
    told = open_memstream(&reading->text, &reading->text_size);
    REQUIRE(told, "no memory");
    begin_reading(reading, tape);
    int result = read_records(reading, &rules, flags & 16 ? KIND_AUTO : FUZZ_KIND);
    REQUIRE(result == READER_END || result == -EX_NOINPUT || result == -EX_SOFTWARE, "%d", result);
    fprintf(told, "%d\n", result);
    for (size_t i = 0; i < reading->input.file_count; i++)
        if (reading->pipes[i] >= 0)
            close(reading->pipes[i]);
    input_finish(&reading->input);
    fclose(told);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > SIZE_MOST)
        return 0;
    struct reading whole, pieces;
    const struct tape tape = {data + 1, size - 1};
    int first = read_all(&whole, data[0], tape, SIZE_MOST);
    int second = read_all(&pieces, data[0], tape, 1 + (data[0] >> 6));
    /* When replay.c lets one of the two readings run out of memory, they need not agree. */
    if (first != -EX_SOFTWARE && second != -EX_SOFTWARE)
        REQUIRE(whole.text_size == pieces.text_size &&
                    memcmp(whole.text, pieces.text, whole.text_size) == 0,
                "whole:\n%s\nin pieces:\n%s", whole.text, pieces.text);
    free(whole.text);
    free(pieces.text);
    return 0;
}

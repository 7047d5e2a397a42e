/* SPDX-License-Identifier: Apache-2.0
 *
 * Cleans sequences. A table made from the model's alphabet says what each byte is: a letter, given
 * in upper case, or one of the classes below. UTF-8 is put together across chunks, so that one code
 * point is one letter. A `*` is held back until something follows it, since the last one is
 * dropped.
 */
#include "client/filter/input/record.h"

#include "client/filter/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Classes of bytes that are not letters of the alphabet. They are all below ' ', where no letter
 * is. */
enum { BYTE_OUTSIDE = 0, BYTE_SKIPPED = 1, BYTE_STAR = 2, BYTE_HIGH = 3, BYTE_CLASSES = 4 };

/* A record that took more memory than this gives it back when it is done. */
#define CAPACITY_KEPT 8192u

#define BYTE_ORDER_MARK 0xFEFFu

static bool in_alphabet(const struct record_rules *rules, uint32_t byte) {
    return byte > ' ' && byte < 0x7F && (rules->alphabet[byte / 8] >> (byte % 8) & 1);
}

static uint32_t upper_case(uint32_t letter) {
    return letter >= 'a' && letter <= 'z' ? letter - 'a' + 'A' : letter;
}

void record_rules_set(struct record_rules *rules, const uint8_t alphabet[32], uint32_t positions) {
    rules->positions = positions;
    memcpy(rules->alphabet, alphabet, sizeof rules->alphabet);
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t upper = upper_case(byte);
        /* No alphabet has the letter that begins a record. */
        bool letter = in_alphabet(rules, upper) && upper != '>';
        uint8_t class = letter ? (uint8_t)upper : BYTE_OUTSIDE;
        if ((byte >= '0' && byte <= '9') || byte == ' ' || byte == '\t' || byte == '\v' ||
            byte == '\f')
            class = BYTE_SKIPPED;
        else if (byte == '*')
            class = BYTE_STAR;
        else if (byte >= 0x80)
            class = BYTE_HIGH;
        rules->letter[byte] = class;
    }
}

void record_begin(struct record *record, uint64_t ordinal, const char *file, uint64_t line) {
    record->ordinal = ordinal;
    record->file = file;
    record->line = line;
    record->header_size = 0;
    record->id_repaired = record->truncated = false;
    record->look = 0;
    record->failure[0] = 0;
    record_drop_id(record);
    record_drop_sequence(record);
}

static void append_id(struct record *record, const char *bytes, size_t size) {
    if (size > RECORD_ID_MAX - record->id_size)
        size = RECORD_ID_MAX - record->id_size;
    if (record->id_size + size > record->id_capacity) {
        record->id_capacity = (record->id_size + size) * 2;
        record->id = allocate(record->id, record->id_capacity);
    }
    if (size > 0)
        memcpy(record->id + record->id_size, bytes, size);
    record->id_size += size;
}

static size_t first_word(const char *text, size_t size) {
    size_t end = 0;
    while (end < size && text[end] != ' ' && text[end] != '\t')
        end++;
    return end;
}

void record_add_id(struct record *record, const struct record_rules *rules, const char *bytes,
                   size_t size) {
    const char *end = bytes + size;
    if (record->id_size == 0)
        while (bytes < end && (*bytes == ' ' || *bytes == '\t'))
            bytes++;
    if (record->reading.id_ended || bytes == end)
        return;
    size = (size_t)(end - bytes);
    if (rules->id == ID_FIRST && !rules->keep_header)
        size = first_word(bytes, size);
    record->reading.id_ended = bytes + size < end;
    append_id(record, bytes, size);
}

static void keep_unknown(struct record *record, uint32_t letter) {
    if (record->unknown_count == record->unknown_capacity) {
        record->unknown_capacity = record->unknown_capacity * 2 + 16;
        record->unknown =
            allocate(record->unknown, record->unknown_capacity * sizeof *record->unknown);
    }
    record->unknown[record->unknown_count++] = letter & RECORD_BAD_BYTE ? UTF8_REPLACEMENT : letter;
}

/* Makes room for `more` residues, or for as many as will still be kept. Returns for how many. */
static size_t reserve_residues(struct record *record, const struct record_rules *rules,
                               size_t more) {
    size_t left = rules->residues_max - record->residue_count;
    if (more > left)
        more = left;
    if (record->residue_count + more > record->residue_capacity) {
        size_t capacity = (record->residue_count + more) * 2;
        record->residue_capacity =
            capacity < rules->residues_max ? (uint32_t)capacity : rules->residues_max;
        record->residues = allocate(record->residues, record->residue_capacity);
    }
    return more;
}

/* Adds a letter of the alphabet, or 0. All residues are counted, the first ones are kept. */
static void add_residue(struct record *record, const struct record_rules *rules, uint8_t residue) {
    record->length++;
    if (reserve_residues(record, rules, 1) > 0)
        record->residues[record->residue_count++] = residue;
}

/* Notes what more a letter says than that it is not in the alphabet. */
static void note_outside(struct record *record, uint32_t letter) {
    record->hints |= record->reading.hint;
    if (letter == '-')
        record->hints |= RECORD_DASH;
    if (letter == ',')
        record->hints |= RECORD_COMMA;
    if ((letter == '>' || letter == BYTE_ORDER_MARK) && record->reading.boundary_position == 0) {
        record->reading.boundary_position = record->length + 1;
        record->reading.boundary_is_mark = letter == BYTE_ORDER_MARK;
    }
}

/* Adds a letter that is not in the alphabet: a code point, or RECORD_BAD_BYTE + byte. */
static void add_outside(struct record *record, const struct record_rules *rules, uint32_t letter) {
    note_outside(record, letter);
    if (rules->invalid == INVALID_DROP) {
        record->has_dropped = true;
        return;
    }
    record->has_unknown = true;
    if (record->residue_count < rules->residues_max && rules->invalid == INVALID_UNK)
        keep_unknown(record, letter);
    add_residue(record, rules, 0);
    if (record->reading.bad_position == 0) {
        record->reading.bad_position = record->length;
        record->reading.bad_letter = letter;
    }
}

static void settle_star(struct record *record, const struct record_rules *rules) {
    record->reading.star = false;
    if (in_alphabet(rules, '*'))
        add_residue(record, rules, '*');
    else
        add_outside(record, rules, '*');
}

/* Takes the code points that are complete from the pending bytes; with final, all bytes. */
static void settle_partial(struct record *record, const struct record_rules *rules, bool final) {
    uint8_t *partial = record->reading.partial;
    while (record->reading.partial_size > 0) {
        uint32_t letter;
        int length = utf8_decode(partial, record->reading.partial_size, &letter);
        if (length == 0 && !final)
            return;
        if (length <= 0) {
            letter = RECORD_BAD_BYTE + partial[0];
            length = 1;
        }
        record->reading.partial_size -= (uint8_t)length;
        memmove(partial, partial + length, record->reading.partial_size);
        add_outside(record, rules, letter);
    }
}

static void add_special(struct record *record, const struct record_rules *rules, uint8_t byte) {
    uint8_t class = rules->letter[byte];
    if (class != BYTE_HIGH && record->reading.partial_size > 0)
        settle_partial(record, rules, true);
    if (class == BYTE_SKIPPED) {
        if (record->length > 0 && (byte == ' ' || byte == '\t'))
            record->reading.hint |= byte == ' ' ? RECORD_BLANK : RECORD_TAB;
        return;
    }
    if (record->reading.star)
        settle_star(record, rules);
    if (class == BYTE_STAR) {
        record->reading.star = true;
    } else if (class == BYTE_HIGH) {
        record->reading.partial[record->reading.partial_size++] = byte;
        settle_partial(record, rules, false);
    } else {
        add_outside(record, rules, upper_case(byte));
    }
}

/* Notes whether letters were in upper or in lower case. Nearly always one comparison tells. */
static void note_case(struct record *record, const uint8_t *residues, const char *bytes,
                      size_t count) {
    size_t lower = 0;
    while (lower < count && residues[lower] != (uint8_t)bytes[lower])
        lower++;
    if (lower < count)
        record->hints |= RECORD_UPPER;
    if (lower > 0 || memcmp(residues, bytes, count) != 0)
        record->hints |= RECORD_LOWER;
}

/* Adds the letters of the alphabet that come first, which are nearly always all there is. Returns
 * how many they are; the caller knows that the first byte is one. */
static size_t add_letters(struct record *record, const struct record_rules *rules,
                          const char *bytes, size_t size) {
    if (record->reading.partial_size > 0)
        settle_partial(record, rules, true);
    if (record->reading.star)
        settle_star(record, rules);
    size_t room = reserve_residues(record, rules, size), count = 0;
    uint8_t *residues = record->residues + record->residue_count, letter;
    while (count < room && (letter = rules->letter[(uint8_t)bytes[count]]) >= BYTE_CLASSES)
        residues[count++] = letter;
    record->residue_count += (uint32_t)count;
    record->hints |= record->reading.hint;
    note_case(record, residues, bytes, count);
    if (count == room) /* the others are only counted */
        while (count < size && rules->letter[(uint8_t)bytes[count]] >= BYTE_CLASSES)
            count++;
    record->length += count;
    return count;
}

void record_add_sequence(struct record *record, const struct record_rules *rules, const char *bytes,
                         size_t size) {
    for (size_t i = 0; i < size;) {
        if (rules->letter[(uint8_t)bytes[i]] < BYTE_CLASSES)
            add_special(record, rules, (uint8_t)bytes[i++]);
        else
            i += add_letters(record, rules, bytes + i, size - i);
    }
}

void record_end_line(struct record *record, const struct record_rules *rules) {
    if (record->reading.partial_size > 0)
        settle_partial(record, rules, true);
}

void record_drop_sequence(struct record *record) {
    record->residue_count = record->unknown_count = 0;
    record->length = 0;
    record->has_unknown = record->has_dropped = false;
    record->reading.star = false;
    record->reading.partial_size = 0;
    record->reading.bad_position = record->reading.boundary_position = 0;
    record->hints = record->reading.hint = 0;
}

void record_drop_id(struct record *record) {
    record->id_size = 0;
    record->reading.id_ended = false;
}

/* Replaces each byte that is not UTF-8. */
static void repair_id(struct record *record) {
    char *old = record->id;
    size_t size = record->id_size;
    record->id_capacity = size * 3;
    record->id = allocate(NULL, record->id_capacity);
    record->id_size = 0;
    for (size_t i = 0; i < size;) {
        uint32_t code_point;
        int length = utf8_decode(old + i, size - i, &code_point);
        i += length > 0 ? (size_t)length : 1;
        if (length <= 0)
            code_point = UTF8_REPLACEMENT;
        record->id_size += utf8_encode(code_point, record->id + record->id_size);
    }
    record->id_repaired = true;
    free(old);
}

static bool id_is_utf8(const struct record *record) {
    uint32_t code_point;
    for (size_t i = 0; i < record->id_size;) {
        int length = utf8_decode(record->id + i, record->id_size - i, &code_point);
        if (length <= 0)
            return false;
        i += (size_t)length;
    }
    return true;
}

static void end_id(struct record *record, const struct record_rules *rules) {
    if (record->id_size == 0) {
        char ordinal[24];
        append_id(record, ordinal, (size_t)sprintf(ordinal, "%" PRIu64, record->ordinal));
    } else if (!id_is_utf8(record)) {
        repair_id(record);
    }
    record->header_size = record->id_size;
    if (rules->id == ID_FIRST)
        record->id_size = first_word(record->id, record->id_size);
}

static void describe_letter(uint32_t letter, char text[24]) {
    if (letter & RECORD_BAD_BYTE)
        sprintf(text, "the byte 0x%02X", (unsigned)(letter & 0xFF));
    else if (letter > ' ' && letter < 0x7F)
        sprintf(text, "'%c'", (char)letter);
    else
        sprintf(text, "U+%04X", (unsigned)letter);
}

void record_end(struct record *record, const struct record_rules *rules) {
    record_end_line(record, rules);
    end_id(record, rules);
    record->truncated = record->length > rules->residues_max;
    if (record->reading.boundary_position > 0) {
        record_fail(record,
                    "%s at position %" PRIu64 " is a lost record boundary; put a line end before "
                    "it, or name joined files one by one",
                    record->reading.boundary_is_mark ? "a byte order mark" : "'>'",
                    record->reading.boundary_position);
    } else if (record->length == 0) {
        record_fail(record, "the sequence is empty");
    } else if (record->reading.bad_position > 0 && rules->invalid == INVALID_ERROR) {
        char letter[24];
        describe_letter(record->reading.bad_letter, letter);
        record_fail(record,
                    "%s at position %" PRIu64 " is not a letter of the model's alphabet "
                    "(--invalid unk embeds it as <unk>, --invalid drop leaves it out)",
                    letter, record->reading.bad_position);
    } else if (record->truncated && rules->too_long == LONG_ERROR) {
        record_fail(record,
                    "%" PRIu64 " residues are more than the model's %" PRIu32 " (see --long)",
                    record->length, rules->positions);
    } else if (record->truncated && rules->too_long == LONG_WINDOW) {
        record_fail(record,
                    "%" PRIu64 " residues are more than the %" PRIu32
                    " whose rows can be held together",
                    record->length, rules->residues_max);
    }
}

void record_fail(struct record *record, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(record->failure, sizeof record->failure, format, arguments);
    va_end(arguments);
}

size_t record_size(const struct record *record) {
    return record->header_size + record->residue_count +
           record->unknown_count * sizeof *record->unknown;
}

void record_trim(struct record *record) {
    if (record->id_capacity > CAPACITY_KEPT || record->residue_capacity > CAPACITY_KEPT ||
        record->unknown_capacity > CAPACITY_KEPT)
        record_finish(record);
}

void record_finish(struct record *record) {
    free(record->id);
    free(record->residues);
    free(record->unknown);
    *record = RECORD_NULL;
}

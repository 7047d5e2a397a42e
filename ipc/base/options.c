/* SPDX-License-Identifier: Apache-2.0
 *
 * getopt_long() finds the options in tables that are made from the rows; what is done with one
 * depends on the row's kind. Defaults are read by the same functions as given values, so a bad
 * default is found at the first start.
 */
#include "ipc/base/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONG_ONLY 256 /* getopt_long()'s values for long names begin here, above all letters */
#define HELP_WIDTH 80
#define HELP_COLUMN 36

/* What a function here fills: the program's structure, the action, and the message. */
struct option_reader {
    char *into;
    const struct option_row **action;
    char *error;
};

__attribute__((format(printf, 2, 3))) static int option_fail(const struct option_reader *reader,
                                                             const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reader->error, OPTION_TEXT_MAX, format, arguments);
    va_end(arguments);
    return -1;
}

/* --- Values ----------------------------------------------------------------------------------- */

static void option_store(const struct option_reader *reader, const struct option_row *row,
                         uint64_t value) {
    char *place = reader->into + row->offset;
    if (row->size == sizeof(uint64_t))
        memcpy(place, &value, sizeof value);
    else if (row->size == sizeof(uint32_t))
        memcpy(place, &(uint32_t){(uint32_t)value}, sizeof(uint32_t));
    else if (row->size == sizeof(bool))
        memcpy(place, &(bool){value != 0}, sizeof(bool));
}

void option_names_list(const char *const *names, const char *last, char list[OPTION_TEXT_MAX]) {
    size_t size = 0;
    list[0] = '\0';
    for (size_t i = 0; names[i] && size < OPTION_TEXT_MAX; i++) {
        const char *before = i == 0 ? "" : names[i + 1] ? ", " : last;
        size += (size_t)snprintf(list + size, OPTION_TEXT_MAX - size, "%s%s", before, names[i]);
    }
}

static int option_set_choice(const struct option_reader *reader, const struct option_row *row,
                             const char *value) {
    char list[OPTION_TEXT_MAX];
    for (size_t i = 0; row->names[i]; i++) {
        if (strcmp(value, row->names[i]) != 0)
            continue;
        if (row->kind == OPTION_CHOICE && row->means)
            memcpy(reader->into + row->offset, (const char *)row->means + i * sizeof(void *),
                   sizeof(void *));
        else
            option_store(reader, row, i);
        return 0;
    }
    option_names_list(row->names, ", ", list);
    return option_fail(reader, "--%s: '%s' is not one of %s", row->name, value, list);
}

/* Reads digits and, if allowed, a suffix. Returns false for anything else, or if it is too large.
 */
static bool option_read_number(const char *text, bool suffixes, uint64_t *number) {
    static const char units[] = "KMG";
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    const char *unit = suffixes && *end ? strchr(units, *end) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if (unit)
        end += end[1] == 'i' ? 2 : 1;
    *number = (uint64_t)value << shift;
    return errno == 0 && *end == '\0' && *number >> shift == value;
}

static int option_set_number(const struct option_reader *reader, const struct option_row *row,
                             const char *value) {
    bool seconds = row->kind == OPTION_SECONDS;
    uint64_t number;
    if (!option_read_number(value, !seconds, &number) || number < row->least || number > row->most)
        return option_fail(reader, "--%s: '%s' is not a number %sfrom %" PRIu64 " to %" PRIu64,
                           row->name, value, seconds ? "of seconds " : "", row->least, row->most);
    option_store(reader, row, number);
    return 0;
}

static int option_set_text(const struct option_reader *reader, const struct option_row *row,
                           const char *value) {
    if (row->accepts && !row->accepts(value))
        return option_fail(reader, "--%s: '%s' is not %s", row->name, value, row->wanted);
    memcpy(reader->into + row->offset, &value, sizeof value);
    return 0;
}

/* A second action is refused, since it would silently replace the first. */
static int option_set_action(const struct option_reader *reader, const struct option_row *row,
                             const char *value) {
    const struct option_row *before = *reader->action;
    if (before && before != row && row->kind == OPTION_ACTION)
        return option_fail(reader, "--%s and --%s cannot be used together", before->name,
                           row->name);
    *reader->action = row;
    if (row->names)
        return option_set_choice(reader, row, value ? value : row->names[0]);
    return 0;
}

static int option_set(const struct option_reader *reader, const struct option_row *row,
                      const char *value) {
    switch ((enum option_kind)row->kind) {
    case OPTION_FLAG:
        option_store(reader, row, true);
        return 0;
    case OPTION_CHOICE:
        return option_set_choice(reader, row, value);
    case OPTION_NUMBER:
    case OPTION_SECONDS:
        return option_set_number(reader, row, value);
    case OPTION_TEXT:
        return option_set_text(reader, row, value);
    case OPTION_ACTION:
    case OPTION_ACTION_LAST:
        break;
    }
    return option_set_action(reader, row, value);
}

/* --- The command line ------------------------------------------------------------------------- */

static int option_argument(const struct option_row *row) {
    if (row->kind >= OPTION_ACTION)
        return row->names ? optional_argument : no_argument;
    return row->kind == OPTION_FLAG ? no_argument : required_argument;
}

/* Makes getopt_long()'s tables from the rows. */
static void option_table_convert(const struct option_table *table,
                                 struct option longs[OPTION_ROWS_MAX + 1],
                                 char letters[2 * OPTION_ROWS_MAX + 2]) {
    assert(table->count <= OPTION_ROWS_MAX);
    *letters++ = ':'; /* so that a missing value is not reported as an unknown option */
    for (size_t i = 0; i < table->count; i++) {
        const struct option_row *row = &table->rows[i];
        int argument = option_argument(row);
        longs[i] = (struct option){row->name, argument, NULL, LONG_ONLY + (int)i};
        if (row->letter)
            *letters++ = row->letter;
        if (row->letter && argument == required_argument)
            *letters++ = ':';
    }
    longs[table->count] = (struct option){0};
    *letters = '\0';
}

/* Puts getopt_long()'s ':' and '?' into words. */
static int option_bad(const struct option_reader *reader, int found, const char *given,
                      const char *program) {
    if (found == ':')
        return option_fail(reader, "%s needs a value; see %s --help", given, program);
    if (optopt > 0 && optopt < LONG_ONLY)
        return option_fail(reader, "unknown option -%c; see %s --help", optopt, program);
    return option_fail(reader, "unknown, ambiguous or wrongly used option %s; see %s --help", given,
                       program);
}

int option_table_read(const struct option_table *table, void *into,
                      const struct option_row **action, int argc, char **argv,
                      char error[OPTION_TEXT_MAX]) {
    const struct option_reader reader = {into, action, error};
    struct option longs[OPTION_ROWS_MAX + 1];
    char letters[2 * OPTION_ROWS_MAX + 2];
    option_table_convert(table, longs, letters);
    *action = NULL;
    int found, result = 0;
    for (const struct option_row *row = table->rows; row < table->rows + table->count; row++)
        if (row->standard && option_set(&reader, row, row->standard) < 0)
            return -1;
    opterr = 0;
    while (result == 0 && (found = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        size_t i = found < LONG_ONLY ? 0 : (size_t)(found - LONG_ONLY);
        while (found < LONG_ONLY && i < table->count && table->rows[i].letter != found)
            i++;
        if (i == table->count)
            return option_bad(&reader, found, argv[optind - 1], table->program);
        const struct option_row *row = &table->rows[i];
        result = option_set(&reader, row, optarg);
        if (row->given)
            memcpy((char *)into + row->given, &(bool){true}, sizeof(bool));
        if (result == 0 && row->kind == OPTION_ACTION_LAST)
            return argc;
    }
    return result < 0 ? -1 : optind < argc ? optind : argc;
}

/* --- Help ------------------------------------------------------------------------------------- */

/* Prints "  -f, --format tsv|npy" and returns its length. */
static int option_print_head(const struct option_row *row) {
    int size = row->letter ? printf("  -%c, --%s", row->letter, row->name)
                           : printf("      --%s", row->name);
    if (row->value)
        return size +
               printf("%s%s", option_argument(row) == optional_argument ? "" : " ", row->value);
    for (size_t i = 0; row->names && row->names[i]; i++)
        size += printf("%c%s", i == 0 ? ' ' : '|', row->names[i]);
    return size;
}

/* Prints words from a column on, and breaks lines at the width. Returns the column at the end. */
static int option_print_words(const char *words, int at) {
    while (*words) {
        int size = (int)strcspn(words, " ");
        if (at + 1 + size > HELP_WIDTH)
            at = printf("\n%*s", HELP_COLUMN, "") - 1;
        else if (at > HELP_COLUMN)
            at += printf(" ");
        at += printf("%.*s", size, words);
        words += size + (words[size] == ' ');
    }
    return at;
}

static void option_print(const struct option_row *row) {
    char standard[64] = "";
    if (row->group)
        printf("%s\n", row->group);
    int at = option_print_head(row);
    if (row->standard)
        snprintf(standard, sizeof standard, "(%s)", row->standard);
    if (at >= HELP_COLUMN)
        at = printf("\n") - 1;
    at += printf("%*s", HELP_COLUMN - at, "");
    option_print_words(standard, option_print_words(row->help, at));
    printf("\n");
}

void option_table_help(const struct option_table *table) {
    fputs(table->usage, stdout);
    for (size_t i = 0; i < table->count; i++)
        option_print(&table->rows[i]);
    fputs(table->ending, stdout);
}

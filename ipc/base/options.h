/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of a program as a table. Each option is one row, from which parsing, defaults,
 * --help and error messages follow. The manual page describes the same rows in the same order; a
 * test compares the two. OPTION_INTO() in a row names the member that option_table_read() sets:
 *
 *     {"wait", .kind = OPTION_SECONDS, OPTION_INTO(struct options, wait), .most = 60,
 *      .value = "SECONDS", .standard = "30", .help = "how long to wait for a busy daemon"},
 */
#ifndef ESM1NV_BASE_OPTIONS_H
#define ESM1NV_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,    /* bool: true when it is given */
    OPTION_CHOICE,  /* int or bool: the index in `names`; with `means`, a pointer of that */
    OPTION_NUMBER,  /* unsigned or uint64_t, from `least` to `most`; takes K, M, G, Ki, Mi, Gi */
    OPTION_SECONDS, /* the same without suffixes */
    OPTION_TEXT,    /* const char *: the argument itself, if `accepts` allows it */
    OPTION_ACTION,  /* asks the program to do something else; two actions exclude each other. With
                     * `names` it takes an optional value, which is stored as that of a choice. */
    OPTION_ACTION_LAST, /* the same, but it overrides another action and all that follows it */
};

struct option_row {
    const char *name;         /* without the dashes */
    char letter;              /* '\0': none */
    uint8_t kind;             /* enum option_kind */
    uint16_t offset, size;    /* of the destination; size 0: none */
    uint16_t given;           /* offset of a bool that is set when it is given; 0: none */
    const char *const *names; /* ended by NULL */
    const void *means;        /* for a choice: an array of pointers, one per name, of which one is
                               * stored; for an action: anything that the program needs */
    const char *value;        /* what --help calls the value; NULL: it lists `names`, if any */
    const char *standard;     /* the default as it would be given; NULL: the destination stays 0 */
    uint64_t least, most;
    bool (*accepts)(const char *text); /* NULL: everything */
    const char *wanted;                /* what it accepts, for "is not ..." */
    const char *group;                 /* heading above this row in the help; NULL: none */
    const char *help;                  /* --help adds the default to it */
};
#define OPTION_INTO(type, member)                                                                  \
    .offset = offsetof(type, member), .size = sizeof((type *)0)->member

struct option_table {
    const char *program;
    const struct option_row *rows;
    size_t count;       /* at most OPTION_ROWS_MAX */
    const char *usage;  /* the help before the rows */
    const char *ending; /* the help after them */
};
#define OPTION_ROWS_MAX 64
#define OPTION_TEXT_MAX 1024

/* Fills `into` from the rows' defaults and the command line; members that neither sets stay as they
 * are. *action becomes the row of the action that is asked for, or NULL. Long names may be
 * shortened. Arguments that are no options may stand among the options and are moved to the end of
 * argv. Texts point into argv. Returns the index of the first argument that is no option, or -1
 * with a message that names the option and the value. */
int option_table_read(const struct option_table *table, void *into,
                      const struct option_row **action, int argc, char **argv,
                      char error[OPTION_TEXT_MAX]);

/* Prints the help on standard output, at most 80 columns wide. */
void option_table_help(const struct option_table *table);

/* Writes "a, b, c", or "a, b or c" if `last` is " or ". */
void option_names_list(const char *const *names, const char *last, char list[OPTION_TEXT_MAX]);

#endif

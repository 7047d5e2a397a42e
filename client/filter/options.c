/* SPDX-License-Identifier: Apache-2.0
 *
 * Options by getopt_long(). Values are looked up in lists of names, and what cannot go together is
 * refused with both options named.
 */
#include "client/filter/options.h"

#include "client/filter/report.h"
#include "client/filter/verbs.h"
#include "client/filter/window.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define SECONDS_MAX 1000000000u
#define FORMATS_LISTED 32
#define LIST_SIZE 1024 /* of names, for people */

enum {
    OPTION_ID = 256,
    OPTION_INVALID,
    OPTION_LONG,
    OPTION_DTYPE,
    OPTION_INDEX,
    OPTION_PROGRESS,
    OPTION_EXPECT_MODEL,
    OPTION_NO_AUTOSTART,
    OPTION_IDLE_EXIT,
    OPTION_WAIT,
    OPTION_STATUS,
    OPTION_METRICS,
    OPTION_STOP,
    OPTION_DRY_RUN,
    OPTION_VERSION,
};

static const struct option long_options[] = {
    {"input", required_argument, NULL, 'i'},
    {"id", required_argument, NULL, OPTION_ID},
    {"invalid", required_argument, NULL, OPTION_INVALID},
    {"long", required_argument, NULL, OPTION_LONG},
    {"pool", required_argument, NULL, 'p'},
    {"format", required_argument, NULL, 'f'},
    {"dtype", required_argument, NULL, OPTION_DTYPE},
    {"index", required_argument, NULL, OPTION_INDEX},
    {"output", required_argument, NULL, 'o'},
    {"verbose", no_argument, NULL, 'v'},
    {"progress", required_argument, NULL, OPTION_PROGRESS},
    {"socket", required_argument, NULL, 's'},
    {"model", required_argument, NULL, 'm'},
    {"no-autostart", no_argument, NULL, OPTION_NO_AUTOSTART},
    {"idle-exit", required_argument, NULL, OPTION_IDLE_EXIT},
    {"wait", required_argument, NULL, OPTION_WAIT},
    {"expect-model", required_argument, NULL, OPTION_EXPECT_MODEL},
    {"status", optional_argument, NULL, OPTION_STATUS},
    {"metrics", no_argument, NULL, OPTION_METRICS},
    {"stop", no_argument, NULL, OPTION_STOP},
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help[] =
    "Usage: esm1nv [OPTION]... [FILE]...\n"
    "Embed protein sequences with ESM-1nv, served by a local esm1nvd. Reads stdin when no\n"
    "FILE is given or FILE is -, FASTA or one sequence per line, gzip or not.\n"
    "\n"
    "Input\n"
    "  -i, --input auto|fasta|lines      lines: SEQ or ID<TAB>SEQ (default auto, per FILE)\n"
    "      --id first|full               id: first word of the header, or all (first)\n"
    "      --invalid error|unk|drop      letters outside the alphabet fail the record, get\n"
    "                                    the <unk> token, or are left out (error)\n"
    "      --long truncate|error|window  sequences longer than the model takes: cut, failed, or\n"
    "                                    embedded in windows (truncate)\n"
    "Output\n"
    "  -p, --pool mean|max|bos|none      one vector per record, or one per residue (mean)\n"
    "  -f, --format %s\n"
    "                                    (%s)\n"
    "      --dtype f32|f16               values of the binary formats (f32)\n"
    "      --index FILE                  a line per record: id length rows offset status\n"
    "  -o, --output FILE                 appears when complete (stdout)\n"
    "  -v, --verbose                     a line for every record that is worth one\n"
    "      --progress auto|always|never  on stderr (auto: a terminal and a long run)\n"
    "Daemon\n"
    "  -s, --socket PATH                 else $ESM1NV_SOCKET, $XDG_RUNTIME_DIR/esm1nv/socket,\n"
    "                                    /run/esm1nv/socket\n"
    "  -m, --model FILE.nemo|synthetic   use a private daemon with this model, started when\n"
    "                                    there is none ($ESM1NV_MODEL: when no other answers)\n"
    "      --no-autostart                start none\n"
    "      --idle-exit SECONDS           a private daemon leaves without clients (600)\n"
    "      --wait SECONDS                for a daemon that went away or is busy (30)\n"
    "      --expect-model DIGEST         refuse another model; DIGEST may be a prefix\n"
    "Other\n"
    "      --dry-run                     count records, residues and bytes; no daemon needed\n"
    "      --status[=json]               what the daemon says about itself\n"
    "      --metrics                     the same as OpenMetrics text, for monitoring\n"
    "      --stop                        ask the daemon to finish and leave\n"
    "      --version\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0 all embedded, 64 usage, 65 some records failed, 66 input unreadable,\n"
    "69 no daemon, 70 internal error, 73/74 output, 75 daemon lost or busy, 78 bad model.\n";

static const char *const input_names[] = {"auto", "fasta", "lines", NULL};
static const char *const id_names[] = {"first", "full", NULL};
static const char *const invalid_names[] = {"error", "unk", "drop", NULL};
static const char *const long_names[] = {"truncate", "error", "window", NULL};
static const char *const pool_names[] = {"none", "mean", "max", "bos", NULL};
static const char *const dtype_names[] = {"f32", "f16", NULL};
static const char *const progress_names[] = {"auto", "always", "never", NULL};
static const char *const status_names[] = {"table", "json", NULL};

/* "a, b or c" out of names, with the separators given. */
static void list_names(char *list, size_t size, const char *const *names, const char *separator,
                       const char *last) {
    size_t used = 0;
    list[0] = 0;
    for (size_t i = 0; names[i] && used < size; i++) {
        const char *before = i == 0 ? "" : names[i + 1] ? separator : last;
        used += (size_t)snprintf(list + used, size - used, "%s%s", before, names[i]);
    }
}

/* Index of value among names, or -1 after reporting. */
static int choose(const char *option, const char *value, const char *const *names) {
    for (int i = 0; names[i]; i++)
        if (strcmp(value, names[i]) == 0)
            return i;
    char list[LIST_SIZE];
    list_names(list, sizeof list, names, ", ", ", ");
    report("--%s %s: not one of %s", option, value, list);
    return -1;
}

/* Hex digits, lowered in place. */
static bool choose_digest(struct options *options, char *value) {
    size_t size = strlen(value);
    for (size_t i = 0; i < size; i++) {
        if (!isxdigit((unsigned char)value[i]))
            size = 0;
        value[i] = (char)tolower((unsigned char)value[i]);
    }
    if (size < 1 || size > 64) {
        report("--expect-model %s: a model digest is 64 hex digits, or the first few of them",
               value);
        return false;
    }
    options->expect = value;
    return true;
}

static bool choose_seconds(const char *option, const char *value, unsigned least,
                           unsigned *seconds) {
    char *end;
    unsigned long parsed = strtoul(value, &end, 10);
    if (!isdigit((unsigned char)value[0]) || *end || parsed < least || parsed > SECONDS_MAX) {
        report("--%s %s: not a number of seconds from %u to %u", option, value, least, SECONDS_MAX);
        return false;
    }
    *seconds = (unsigned)parsed;
    return true;
}

static int print_version(const struct options *options) {
    (void)options;
    puts("esm1nv " ESM1NV_VERSION);
    return EX_OK;
}

static int print_help(const struct options *options) {
    (void)options;
    char formats[LIST_SIZE];
    list_names(formats, sizeof formats, output_format_names, "|", "|");
    printf(help, formats, output_format_names[0]);
    return EX_OK;
}

static const struct verb verb_version = {.run = print_version}, verb_help = {.run = print_help};
extern const struct verb verb_dry_run, verb_metrics, verb_status, verb_stop;

/* Options that ask for something else than embedding. */
static const struct request {
    int option;
    const char *name;
    const struct verb *verb;
} requests[] = {
    {OPTION_STATUS, "status", &verb_status},    {OPTION_METRICS, "metrics", &verb_metrics},
    {OPTION_STOP, "stop", &verb_stop},          {OPTION_DRY_RUN, "dry-run", &verb_dry_run},
    {OPTION_VERSION, "version", &verb_version}, {'h', "help", &verb_help},
};

static const struct verb *find_verb(int option) {
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        if (requests[i].option == option)
            return requests[i].verb;
    return NULL;
}

static const char *verb_name(const struct verb *verb) {
    size_t i = 0;
    while (requests[i].verb != verb)
        i++;
    return requests[i].name;
}

/* The last of a few verbs would win silently. */
static bool choose_verb(struct options *options, const struct verb *verb) {
    if (options->verb != &verb_embed && options->verb != verb) {
        report("--%s and --%s cannot be used together", verb_name(options->verb), verb_name(verb));
        return false;
    }
    options->verb = verb;
    return true;
}

/* Options whose value is one of a few names. */
static const struct choice {
    int option;
    const char *name;
    const char *const *values;
} choices[] = {
    {'i', "input", input_names},
    {'p', "pool", pool_names},
    {OPTION_ID, "id", id_names},
    {OPTION_INVALID, "invalid", invalid_names},
    {OPTION_LONG, "long", long_names},
    {OPTION_DTYPE, "dtype", dtype_names},
    {OPTION_PROGRESS, "progress", progress_names},
};

static const struct choice *find_choice(int option) {
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        if (choices[i].option == option)
            return &choices[i];
    return NULL;
}

/* The value's place among the names is its value in the enum. */
static void set_choice(struct options *options, int option, int value) {
    switch (option) {
    case 'i':
        options->input = (enum input_kind)value;
        break;
    case 'p':
        options->pooling = (enum esm1nv_pooling)value;
        break;
    case OPTION_ID:
        options->id = (enum id_rule)value;
        break;
    case OPTION_INVALID:
        options->invalid = (enum invalid_rule)value;
        break;
    case OPTION_LONG:
        options->too_long = (enum long_rule)value;
        break;
    case OPTION_DTYPE:
        options->dtype = (enum esm1nv_dtype)value;
        break;
    default:
        options->progress = (enum progress_mode)value;
        break;
    }
}

static bool set_status(struct options *options, const char *value) {
    int choice = value ? choose("status", value, status_names) : 0;
    options->status_json = choice == 1;
    return choice >= 0 && choose_verb(options, &verb_status);
}

static bool set_format(struct options *options, const char *value) {
    int choice = choose("format", value, output_format_names);
    if (choice >= 0)
        options->format = output_formats[choice];
    return choice >= 0;
}

static bool set_option(struct options *options, int option, char *value) {
    const struct choice *choice = find_choice(option);
    if (choice) {
        int place = choose(choice->name, value, choice->values);
        set_choice(options, option, place);
        return place >= 0;
    }
    switch (option) {
    case 'f':
        return set_format(options, value);
    case 'o':
        options->output = strcmp(value, "-") == 0 ? NULL : value;
        return true;
    case 's':
        options->socket = value;
        return true;
    case 'm':
        options->model = value;
        return options->model_named = true;
    case OPTION_NO_AUTOSTART:
        return options->no_autostart = true;
    case OPTION_IDLE_EXIT:
        return choose_seconds("idle-exit", value, 1, &options->idle_exit);
    case OPTION_WAIT:
        return choose_seconds("wait", value, 0, &options->wait);
    case 'v':
        return options->verbose = true;
    case OPTION_INDEX:
        options->index = value;
        return true;
    case OPTION_EXPECT_MODEL:
        return choose_digest(options, value);
    case OPTION_STATUS:
        return set_status(options, value);
    default:
        if (find_verb(option))
            return choose_verb(options, find_verb(option));
        /* getopt_long() has said what is wrong. */
        report("try 'esm1nv --help'");
        return false;
    }
}

static bool refuse_dtype(const struct options *options) {
    const char *binary[FORMATS_LISTED + 1] = {NULL};
    for (size_t i = 0, count = 0; output_formats[i] && count < FORMATS_LISTED; i++)
        if (output_formats[i]->binary)
            binary[count++] = output_formats[i]->name;
    char list[LIST_SIZE];
    list_names(list, sizeof list, binary, ", ", " or ");
    report("--dtype %s is for binary formats, not for --format %s; use %s",
           dtype_names[options->dtype], options->format->name, list);
    return false;
}

static bool check(const struct options *options, bool dtype_given) {
    if (options->verb->refuses_files && options->file_count > 0) {
        report("--%s takes no FILE, but '%s' was given", verb_name(options->verb),
               options->files[0]);
        return false;
    }
    if (options->model_named && options->socket) {
        report("--model is for a private daemon, --socket %s names another; give one of them",
               options->socket);
        return false;
    }
    return !dtype_given || options->format->binary || refuse_dtype(options);
}

/* The environment counts where no option does; where a socket is named, nothing is started. */
static void settle_daemon(struct options *options) {
    const char *socket = getenv("ESM1NV_SOCKET"), *model = getenv("ESM1NV_MODEL");
    if (options->model_named)
        return;
    if (!options->socket && socket && *socket)
        options->socket = socket;
    if (!options->socket && model && *model)
        options->model = model;
}

int options_parse(struct options *options, int argc, char **argv) {
    static char program[] = "esm1nv";
    *options = (struct options){.verb = &verb_embed,
                                .pooling = ESM1NV_POOL_MEAN,
                                .format = output_formats[0],
                                .idle_exit = 600,
                                .wait = 30};
    if (argc > 0)
        argv[0] = program; /* for getopt_long()'s messages */
    bool dtype_given = false;
    int option;
    while ((option = getopt_long(argc, argv, "i:p:f:o:vs:m:h", long_options, NULL)) != -1) {
        dtype_given |= option == OPTION_DTYPE;
        if (!set_option(options, option, optarg))
            return -EX_USAGE;
    }
    options->files = argv + optind;
    options->file_count = (size_t)(argc - optind);
    if (!check(options, dtype_given))
        return -EX_USAGE;
    settle_daemon(options);
    return 0;
}

void options_set_rules(const struct options *options, struct record_rules *rules,
                       const uint8_t alphabet[32], uint32_t positions, uint32_t hidden) {
    rules->id = options->id;
    rules->invalid = options->invalid;
    rules->too_long = options->too_long;
    if (options->pooling == ESM1NV_POOL_BOS && options->too_long == LONG_WINDOW)
        rules->too_long = LONG_TRUNCATE; /* so long a record has no start token: it fails */
    rules->keep_header = options->format->keeps_header;
    rules->residues_max = positions;
    if (rules->too_long == LONG_WINDOW)
        rules->residues_max = stitch_residues_max(options->pooling, options->dtype, hidden);
    record_rules_set(rules, alphabet, positions);
}

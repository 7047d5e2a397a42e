/* SPDX-License-Identifier: Apache-2.0
 *
 * The options as rows, and what cannot go together, refused with both options named.
 */
#include "client/filter/options.h"

#include "client/filter/report.h"
#include "client/filter/verbs.h"
#include "client/filter/window.h"
#include "ipc/base/options.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define SECONDS_MAX 1000000000u
#define FORMATS_LISTED 32

static const char *const input_names[] = {"auto", "fasta", "lines", NULL};
static const char *const id_names[] = {"first", "full", NULL};
static const char *const invalid_names[] = {"error", "unk", "drop", NULL};
static const char *const long_names[] = {"truncate", "error", "window", NULL};
static const char *const pool_names[] = {"none", "mean", "max", "bos", NULL};
static const char *const dtype_names[] = {"f32", "f16", NULL};
static const char *const progress_names[] = {"auto", "always", "never", NULL};
static const char *const status_names[] = {"table", "json", NULL};

static bool is_digest(const char *text) {
    size_t size = strlen(text);
    return size >= 1 && size <= 64 && strspn(text, "0123456789abcdefABCDEF") == size;
}

static int print_version(const struct options *options) {
    (void)options;
    puts("esm1nv " ESM1NV_VERSION);
    return EX_OK;
}

static int print_help(const struct options *options);

static const struct verb verb_version = {.run = print_version}, verb_help = {.run = print_help};
extern const struct verb verb_dry_run, verb_metrics, verb_status, verb_stop;

#define INTO(member) OPTION_INTO(struct options, member)
#define GIVEN(member) .given = offsetof(struct options, member)

/* clang-format off: a row is two or three lines, the names first. */
static const struct option_row rows[] = {
    {"input", 'i', OPTION_CHOICE, INTO(input), .names = input_names, .standard = "auto",
     .group = "Input", .help = "auto recognises the form of each file"},
    {"id", 0, OPTION_CHOICE, INTO(id), .names = id_names, .standard = "first",
     .help = "how much of the header is the id"},
    {"invalid", 0, OPTION_CHOICE, INTO(invalid), .names = invalid_names, .standard = "error",
     .help = "unknown letters fail the record, become <unk>, or are left out"},
    {"long", 0, OPTION_CHOICE, INTO(too_long), .names = long_names, .standard = "truncate",
     .help = "too long sequences are cut, fail, or are embedded in windows"},
    {"pool", 'p', OPTION_CHOICE, INTO(pooling), .names = pool_names, .standard = "mean",
     .group = "Output", .help = "one vector per record, or none: one per residue"},
    {"format", 'f', OPTION_CHOICE, INTO(format), .names = output_format_names,
     .means = output_formats, .standard = "tsv", .help = "output format"},
    {"dtype", 0, OPTION_CHOICE, INTO(dtype), GIVEN(dtype_given), .names = dtype_names,
     .standard = "f32", .help = "type of values in binary formats"},
    {"index", 0, OPTION_TEXT, INTO(index), .value = "FILE",
     .help = "also write a table of all records to FILE"},
    {"output", 'o', OPTION_TEXT, INTO(output), .value = "FILE",
     .help = "write to FILE, which appears when it is complete (stdout)"},
    {"verbose", 'v', OPTION_FLAG, INTO(verbose),
     .help = "report every record that fails or is changed"},
    {"progress", 0, OPTION_CHOICE, INTO(progress), .names = progress_names, .standard = "auto",
     .help = "show progress on stderr; auto: in a long run on a terminal"},
    {"socket", 's', OPTION_TEXT, INTO(socket), .value = "PATH", .group = "Daemon",
     .help = "connect to this socket (default: $ESM1NV_SOCKET; if that is not set, "
             "$XDG_RUNTIME_DIR/esm1nv/socket, then /run/esm1nv/socket)"},
    {"model", 'm', OPTION_TEXT, INTO(model), GIVEN(model_named),
     .value = "FILE.nemo|synthetic[:SEED]",
     .help = "use a private daemon with this model, started if it does not run; $ESM1NV_MODEL: "
             "the same, but only if no other daemon answers"},
    {"no-autostart", 0, OPTION_FLAG, INTO(no_autostart), .help = "never start a daemon"},
    {"idle-exit", 0, OPTION_SECONDS, INTO(idle_exit), .value = "SECONDS", .standard = "600",
     .least = 1, .most = SECONDS_MAX,
     .help = "time without clients after which a private daemon exits"},
    {"wait", 0, OPTION_SECONDS, INTO(wait), .value = "SECONDS", .standard = "30",
     .most = SECONDS_MAX, .help = "time to wait for a busy or lost daemon"},
    {"expect-model", 0, OPTION_TEXT, INTO(expect), .value = "DIGEST", .accepts = is_digest,
     .wanted = "a model digest: 64 hex digits, or the first few of them",
     .help = "required beginning of the model's digest"},
    {"dry-run", 0, OPTION_ACTION, .means = &verb_dry_run, .group = "Other actions",
     .help = "count records and output, without a daemon"},
    {"status", 0, OPTION_ACTION, INTO(status_json), .means = &verb_status, .names = status_names,
     .value = "[=json]", .help = "show the state of the daemon"},
    {"metrics", 0, OPTION_ACTION, .means = &verb_metrics,
     .help = "show it as OpenMetrics text, for monitoring"},
    {"stop", 0, OPTION_ACTION, .means = &verb_stop,
     .help = "ask the daemon to finish its work and exit"},
    {"version", 0, OPTION_ACTION, .means = &verb_version, .help = "print the version"},
    {"help", 'h', OPTION_ACTION, .means = &verb_help, .help = "print this help"},
};
/* clang-format on */

static const struct option_table table = {
    .program = "esm1nv",
    .rows = rows,
    .count = sizeof rows / sizeof *rows,
    .usage = "Usage: esm1nv [OPTION]... [FILE]...\n"
             "Embed protein sequences with ESM-1nv, served by a local esm1nvd. The input is\n"
             "FASTA, or lines of SEQUENCE or ID<TAB>SEQUENCE, and may be compressed with gzip.\n"
             "It is read from stdin if there is no FILE, or where FILE is -. Defaults are in\n"
             "parentheses.\n\n",
    .ending = "\nExit status: 0 all records embedded; 64 wrong usage; 65 some records failed;\n"
              "66 input cannot be read; 69 no daemon; 70 internal error; 73 or 74 output cannot\n"
              "be written; 75 daemon busy or lost; 77 not permitted; 78 wrong model. See\n"
              "esm1nv(1).\n",
};

static int print_help(const struct options *options) {
    (void)options;
    option_table_help(&table);
    return EX_OK;
}

static bool refuse_dtype(const struct options *options) {
    const char *binary[FORMATS_LISTED + 1] = {NULL};
    for (size_t i = 0, count = 0; output_formats[i] && count < FORMATS_LISTED; i++)
        if (output_formats[i]->binary)
            binary[count++] = output_formats[i]->name;
    char list[OPTION_TEXT_MAX];
    option_names_list(binary, " or ", list);
    report("--dtype %s is for binary formats, not for --format %s; use %s",
           dtype_names[options->dtype], options->format->name, list);
    return false;
}

/* What each option allows, but not together. */
static bool options_agree(const struct options *options, const struct option_row *action) {
    if (options->verb->refuses_files && options->file_count > 0) {
        report("--%s takes no FILE, but '%s' was given", action->name, options->files[0]);
        return false;
    }
    if (options->model_named && options->socket) {
        report("--model is for a private daemon, --socket %s names another; give one of them",
               options->socket);
        return false;
    }
    bool to_stdout = !options->output || strcmp(options->output, "-") == 0;
    if (to_stdout && options->index && strcmp(options->index, "-") == 0) {
        report("--index - and the vectors would both go to standard output; add --output FILE, or "
               "give --index a file");
        return false;
    }
    return !options->dtype_given || options->format->binary || refuse_dtype(options);
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

int filter_options_parse(struct options *options, int argc, char **argv) {
    const struct option_row *action;
    char error[OPTION_TEXT_MAX];
    *options = (struct options){0};
    int first = option_table_read(&table, options, &action, argc, argv, error);
    if (first < 0) {
        report("%s", error);
        return -EX_USAGE;
    }
    options->verb = action ? action->means : &verb_embed;
    options->files = argv + first;
    options->file_count = (size_t)(argc - first);
    if (!options_agree(options, action))
        return -EX_USAGE;
    if (options->output && strcmp(options->output, "-") == 0)
        options->output = NULL;
    if (options->index && strcmp(options->index, "-") == 0)
        options->index = "/dev/stdout";
    for (char *digit = options->expect; digit && *digit; digit++)
        *digit = (char)tolower((unsigned char)*digit);
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

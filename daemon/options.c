/* SPDX-License-Identifier: Apache-2.0
 *
 * The options as rows of a table, from which ipc/base/options.c parses them and prints the help.
 */
#include "daemon/options.h"

#include "daemon/engine/chooser.h"
#include "ipc/base/options.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define KIB UINT64_C(1024)
#define GIB (KIB * KIB * KIB)

static bool is_name(const char *text) {
    return text[0] != '\0';
}

/* Checks the syntax only, since the CUDA backend knows which GPUs there are. */
static bool is_device_list(const char *text) {
    bool number_before = false, readable = true;
    for (const char *c = text; *c && readable; c++) {
        readable = (*c >= '0' && *c <= '9') || (*c == ',' && number_before);
        number_before = *c != ',';
    }
    return strcmp(text, "all") == 0 || (readable && number_before);
}

#define INTO(member) OPTION_INTO(struct options, member)
#define NAME(called) .value = called, .accepts = is_name, .wanted = "a name"

/* clang-format off: it would give each field a line. */
static const struct option_row rows[] = {
    {"model", 'm', OPTION_TEXT, INTO(load.model), NAME("FILE.nemo|synthetic[:SEED]"),
     .group = "Model and engine", .help = "the model to serve ($ESM1NV_MODEL)"},
    {"backend", 'b', OPTION_CHOICE, INTO(load.backend), .names = engine_backends,
     .means = engine_backends, .standard = "auto", .help = "engine that computes"},
    {"precision", 'p', OPTION_CHOICE, INTO(load.precision), .names = engine_precisions,
     .standard = "auto", .help = "number type to compute with"},
    {"threads", 't', OPTION_NUMBER, INTO(load.threads), .value = "N", .least = 1, .most = 4096,
     .help = "threads that compute (usable cores)"},
    {"device", 0, OPTION_TEXT, INTO(load.devices), .value = "all|N[,N]...",
     .accepts = is_device_list, .wanted = "all, or numbers of GPUs such as 0 or 0,1",
     .help = "GPUs that the cuda backend uses (0)"},
    {"max-batch-residues", 0, OPTION_NUMBER, INTO(load.max_batch_residues), .value = "N",
     .least = 3, .most = KIB * KIB, .help = "most residues in a batch (set by backend)"},
    {"check", 0, OPTION_ACTION, .least = OPTIONS_CHECK,
     .help = "load the model, describe it, and exit"},
    {"socket", 's', OPTION_TEXT, INTO(socket), NAME("PATH"), .group = "Clients",
     .help = "where to listen ($XDG_RUNTIME_DIR/esm1nv/socket; as root /run/esm1nv/socket)"},
    {"group", 0, OPTION_TEXT, INTO(group), NAME("NAME"),
     .help = "group whose members may connect too"},
    {"max-clients", 0, OPTION_NUMBER, INTO(limits.clients), .value = "N", .standard = "256",
     .least = 1, .most = 65536, .help = "most clients at a time"},
    {"max-clients-per-user", 0, OPTION_NUMBER, INTO(limits.clients_per_user), .value = "N",
     .standard = "64", .least = 1, .most = 65536, .help = "most clients of one user"},
    {"max-pinned-per-user", 0, OPTION_NUMBER, INTO(limits.pinned_per_user), .value = "BYTES",
     .standard = "256Mi", .least = 1, .most = UINT64_C(1) << 50,
     .help = "most shared memory of one user"},
    {"max-queued-per-user", 0, OPTION_NUMBER, INTO(limits.queued_per_user), .value = "RESIDUES",
     .standard = "1Mi", .least = 1, .most = UINT64_C(1) << 50,
     .help = "most waiting residues of one user"},
    {"ring-size", 0, OPTION_NUMBER, INTO(limits.ring_size), .value = "BYTES", .standard = "64Mi",
     .least = 128 * KIB, .most = 4 * GIB, .help = "largest shared memory of one client"},
    {"idle-exit", 0, OPTION_NUMBER, INTO(idle_exit), .value = "SECONDS", .least = 1,
     .most = 1000000000, .help = "exit after this time without clients (never)"},
    {"log-level", 0, OPTION_CHOICE, INTO(log_level), .names = log_level_names, .standard = "info",
     .group = "Other", .help = "log messages up to this level"},
    {"version", 0, OPTION_ACTION_LAST, .least = OPTIONS_VERSION, .help = "print the version"},
    {"help", 0, OPTION_ACTION_LAST, .least = OPTIONS_HELP, .help = "print this help"},
};
/* clang-format on */

static const struct option_table table = {
    .program = "esm1nvd",
    .rows = rows,
    .count = sizeof rows / sizeof *rows,
    .usage = "Usage: esm1nvd [OPTION]...\n"
             "Keep the protein language model ESM-1nv in memory and serve embeddings to\n"
             "esm1nv. Defaults are in parentheses.\n\n",
    .ending = "\nSizes, counts and seconds take the suffixes K, M, G (or Ki, Mi, Gi), which\n"
              "are powers of 1024. See esm1nvd(8).\n",
};

void daemon_options_help(void) {
    option_table_help(&table);
}

int daemon_options_parse(struct options *options, int argc, char **argv, struct error *error) {
    const char *model = getenv("ESM1NV_MODEL");
    *options = (struct options){.load.model = model && model[0] ? model : NULL};
    const struct option_row *action;
    char text[OPTION_TEXT_MAX];
    int first = option_table_read(&table, options, &action, argc, argv, text);
    if (first < 0)
        return error_set(error, EX_USAGE, "%s", text);
    options->action = action ? action->least : OPTIONS_RUN;
    if (first < argc)
        return error_set(error, EX_USAGE,
                         "'%s': no arguments are taken; a model is named with --model",
                         argv[first]);
    return 0;
}

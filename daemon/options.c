/* SPDX-License-Identifier: Apache-2.0
 *
 * Option parsing: one table for the names, one row per number with its limits and its place.
 */
#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

const char options_help[] =
    "Usage: esm1nvd [OPTION]...\n"
    "Keep the protein language model ESM-1nv in memory and serve embeddings to esm1nv.\n"
    "\n"
    "  -m, --model FILE.nemo|synthetic[:SEED]  what to serve (default: $ESM1NV_MODEL)\n"
    "  -s, --socket PATH            where to listen (default: $XDG_RUNTIME_DIR/esm1nv/socket;\n"
    "                               for root: /run/esm1nv/socket)\n"
    "      --group NAME             group that may connect too\n"
    "  -b, --backend auto|cpu|cuda|null  what computes (default: auto)\n"
    "  -p, --precision auto|f32|bf16|f16 (default: auto)\n"
    "  -t, --threads N              (default: usable cores)\n"
    "      --device all|N[,N]...    GPUs of the cuda backend (default: 0)\n"
    "      --max-clients N          (default: 256)\n"
    "      --max-clients-per-user N (default: 64)\n"
    "      --max-pinned-per-user BYTES     shared memory a user may hold (default: 256Mi)\n"
    "      --max-queued-per-user RESIDUES  that may wait for the engine (default: 1Mi)\n"
    "      --ring-size BYTES        largest ring accepted from a client (default: 64Mi)\n"
    "      --max-batch-residues N   largest batch (default: what suits the backend)\n"
    "      --idle-exit SECONDS      leave after this long without clients (default: never)\n"
    "      --check                  load the model, print what was loaded, and exit\n"
    "      --log-level error|warning|info|debug  (default: info)\n"
    "      --version, --help\n"
    "\n"
    "Sizes and counts take the suffixes K, M, G (or Ki, Mi, Gi), powers of 1024.\n"
    "See esm1nvd(8).\n";

enum {
    OPTION_GROUP = 256,
    OPTION_DEVICE,
    OPTION_MAX_CLIENTS,
    OPTION_MAX_CLIENTS_PER_USER,
    OPTION_MAX_PINNED_PER_USER,
    OPTION_MAX_QUEUED_PER_USER,
    OPTION_RING_SIZE,
    OPTION_MAX_BATCH_RESIDUES,
    OPTION_IDLE_EXIT,
    OPTION_CHECK,
    OPTION_LOG_LEVEL,
    OPTION_VERSION,
    OPTION_HELP,
};

static const struct option names[] = {
    {"model", required_argument, NULL, 'm'},
    {"socket", required_argument, NULL, 's'},
    {"group", required_argument, NULL, OPTION_GROUP},
    {"backend", required_argument, NULL, 'b'},
    {"precision", required_argument, NULL, 'p'},
    {"threads", required_argument, NULL, 't'},
    {"device", required_argument, NULL, OPTION_DEVICE},
    {"max-clients", required_argument, NULL, OPTION_MAX_CLIENTS},
    {"max-clients-per-user", required_argument, NULL, OPTION_MAX_CLIENTS_PER_USER},
    {"max-pinned-per-user", required_argument, NULL, OPTION_MAX_PINNED_PER_USER},
    {"max-queued-per-user", required_argument, NULL, OPTION_MAX_QUEUED_PER_USER},
    {"ring-size", required_argument, NULL, OPTION_RING_SIZE},
    {"max-batch-residues", required_argument, NULL, OPTION_MAX_BATCH_RESIDUES},
    {"idle-exit", required_argument, NULL, OPTION_IDLE_EXIT},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {0},
};

static const struct number {
    int option;
    uint64_t least, most;
    size_t offset; /* in struct options */
    size_t size;
} numbers[] = {
#define NUMBER(option, least, most, member)                                                        \
    { option, least, most, offsetof(struct options, member), sizeof((struct options *)0)->member }
    NUMBER('t', 1, 4096, load.threads),
    NUMBER(OPTION_MAX_CLIENTS, 1, 65536, limits.clients),
    NUMBER(OPTION_MAX_CLIENTS_PER_USER, 1, 65536, limits.clients_per_user),
    NUMBER(OPTION_MAX_PINNED_PER_USER, 1, UINT64_C(1) << 50, limits.pinned_per_user),
    NUMBER(OPTION_MAX_QUEUED_PER_USER, 1, UINT64_C(1) << 50, limits.queued_per_user),
    NUMBER(OPTION_RING_SIZE, 128 * KIB, 4 * GIB, limits.ring_size),
    NUMBER(OPTION_MAX_BATCH_RESIDUES, 3, MIB, load.max_batch_residues),
    NUMBER(OPTION_IDLE_EXIT, 1, 1000000000, idle_exit),
#undef NUMBER
};

static const char *option_name(int option) {
    for (const struct option *name = names; name->name; name++)
        if (name->val == option)
            return name->name;
    return "?";
}

static int bad_value(struct error *error, int option, const char *value, const char *wanted) {
    return error_set(error, EX_USAGE, "--%s: '%s' is not %s", option_name(option), value, wanted);
}

/* Reads a number with an optional suffix. Returns false for anything else, or when too large. */
static bool read_number(const char *text, uint64_t *number) {
    static const char *const suffixes[] = {"", "K", "M", "G"};
    unsigned long long value;
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno)
        return false;
    for (unsigned i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t length = strlen(suffixes[i]);
        bool matches = strncmp(end, suffixes[i], length) == 0 &&
                       (!end[length] || (length && !strcmp(end + length, "i")));

        if (matches) {
            *number = (uint64_t)value << (10 * i);
            return *number >> (10 * i) == value;
        }
    }
    return false;
}

static int set_number(struct options *options, const struct number *number, const char *value,
                      struct error *error) {
    char *place = (char *)options + number->offset;
    uint64_t parsed;

    if (!read_number(value, &parsed) || parsed < number->least || parsed > number->most)
        return error_set(error, EX_USAGE, "--%s: '%s' is not a number from %" PRIu64 " to %" PRIu64,
                         option_name(number->option), value, number->least, number->most);
    if (number->size == sizeof(uint64_t))
        memcpy(place, &parsed, sizeof parsed);
    else
        memcpy(place, &(uint32_t){(uint32_t)parsed}, sizeof(uint32_t));
    return 0;
}

static int set_precision(struct options *options, const char *value, struct error *error) {
    static const char *const precisions[] = {"auto", "f32", "bf16", "f16"};

    for (unsigned i = 0; i < sizeof precisions / sizeof *precisions; i++) {
        if (!strcmp(value, precisions[i])) {
            options->load.precision = (enum precision)i;
            return 0;
        }
    }
    return bad_value(error, 'p', value, "auto, f32, bf16 or f16");
}

static int set_backend(struct options *options, const char *value, struct error *error) {
    static const char *const backends[] = {"auto", "cpu", "cuda", "null"};

    for (unsigned i = 0; i < sizeof backends / sizeof *backends; i++) {
        if (!strcmp(value, backends[i])) {
            options->load.backend = value;
            return 0;
        }
    }
    return bad_value(error, 'b', value, "auto, cpu, cuda or null");
}

/* The CUDA backend knows which there are; here it is seen that it can be read. */
static int set_devices(struct options *options, const char *value, struct error *error) {
    bool number_before = false, readable = value[0] != '\0';

    for (const char *c = value; *c && readable; c++) {
        readable = (*c >= '0' && *c <= '9') || (*c == ',' && number_before);
        number_before = *c != ',';
    }
    if (strcmp(value, "all") != 0 && (!readable || !number_before))
        return bad_value(error, OPTION_DEVICE, value, "all, or numbers of GPUs such as 0 or 0,1");
    options->load.devices = value;
    return 0;
}

static int set_text(const char **text, int option, const char *value, struct error *error) {
    if (!value[0])
        return bad_value(error, option, value, "a name");
    *text = value;
    return 0;
}

static int set_option(struct options *options, int option, const char *value, struct error *error) {
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].option == option)
            return set_number(options, &numbers[i], value, error);
    switch (option) {
    case 'm':
        return set_text(&options->load.model, option, value, error);
    case 's':
        return set_text(&options->socket, option, value, error);
    case OPTION_GROUP:
        return set_text(&options->group, option, value, error);
    case 'b':
        return set_backend(options, value, error);
    case 'p':
        return set_precision(options, value, error);
    case OPTION_DEVICE:
        return set_devices(options, value, error);
    case OPTION_LOG_LEVEL:
        if (log_level_parse(value, &options->log_level))
            return 0;
        return bad_value(error, option, value, "error, warning, info or debug");
    case OPTION_CHECK:
        options->action = OPTIONS_CHECK;
        return 0;
    case OPTION_VERSION:
        options->action = OPTIONS_VERSION;
        return 0;
    default:
        options->action = OPTIONS_HELP;
        return 0;
    }
}

/* getopt's '?' and ':', told as one of our own lines. */
static int bad_option(int result, char **argv, struct error *error) {
    const char *given = argv[optind - 1];

    if (result == ':')
        return error_set(error, EX_USAGE, "%s needs a value; see esm1nvd --help", given);
    if (optopt > 0 && optopt < 256)
        return error_set(error, EX_USAGE, "unknown option -%c; see esm1nvd --help", optopt);
    return error_set(error, EX_USAGE,
                     "unknown, ambiguous or wrongly used option %s; see esm1nvd "
                     "--help",
                     given);
}

int options_parse(struct options *options, int argc, char **argv, struct error *error) {
    const char *model = getenv("ESM1NV_MODEL");
    int option;

    *options = (struct options){
        .load = {.model = model && model[0] ? model : NULL, .backend = "auto"},
        .log_level = LOG_LEVEL_INFO,
        .limits = {.clients = 256,
                   .clients_per_user = 64,
                   .pinned_per_user = 256 * MIB,
                   .queued_per_user = MIB,
                   .ring_size = 64 * MIB},
    };
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":m:s:b:p:t:", names, NULL)) != -1) {
        if (option == '?' || option == ':')
            return bad_option(option, argv, error);
        if (set_option(options, option, optarg, error) < 0)
            return -1;
        if (options->action == OPTIONS_HELP || options->action == OPTIONS_VERSION)
            return 0;
    }
    if (optind < argc)
        return error_set(error, EX_USAGE,
                         "'%s': no arguments are taken; a model is named with --model",
                         argv[optind]);
    return 0;
}

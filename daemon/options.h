/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's command line and environment.
 */
#ifndef ESM1NV_OPTIONS_H
#define ESM1NV_OPTIONS_H

#include "daemon/engine/engine.h"
#include "daemon/base/error.h"
#include "daemon/base/log.h"
#include "daemon/serve/service.h"

struct options {
    enum { OPTIONS_RUN, OPTIONS_CHECK, OPTIONS_HELP, OPTIONS_VERSION } action;
    const char *model;  /* NULL: none was named */
    const char *socket; /* NULL: the default */
    const char *group;
    const char *backend;
    enum precision precision;
    const char *devices;         /* of the CUDA backend; NULL: the first */
    unsigned threads;            /* 0: usable cores */
    uint32_t max_batch_residues; /* 0: what suits the engine */
    unsigned idle_exit;          /* seconds; 0: never */
    enum log_level log_level;
    struct limits limits;
};

/* Returns 0, or -1 with EX_USAGE and a line that names the option and the value. */
int daemon_options_parse(struct options *options, int argc, char **argv, struct error *error);

/* On standard output, whose errors the caller looks for. */
void daemon_options_help(void);

#endif

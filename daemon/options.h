/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's command line and environment.
 */
#ifndef ESM1NV_OPTIONS_H
#define ESM1NV_OPTIONS_H

#include "daemon/base/error.h"
#include "daemon/base/log.h"
#include "daemon/serve/generation.h"
#include "daemon/serve/limits.h"

struct options {
    enum { OPTIONS_RUN, OPTIONS_CHECK, OPTIONS_HELP, OPTIONS_VERSION } action;
    const char *socket; /* NULL: the default path */
    const char *group;
    struct generation_request load; /* its model is NULL when none was named */
    unsigned idle_exit;             /* seconds; 0: never */
    enum log_level log_level;
    struct limits limits;
};

/* Returns 0, or -1 with EX_USAGE and a text that names the option and the value. */
int daemon_options_parse(struct options *options, int argc, char **argv, struct error *error);

/* Prints the help on standard output, whose errors the caller checks. */
void daemon_options_help(void);

#endif

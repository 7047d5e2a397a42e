/* SPDX-License-Identifier: Apache-2.0
 *
 * What the filter can be asked to do. A new verb is a file that defines a struct verb, and a row
 * for its option in options.c.
 */
#ifndef ESM1NV_FILTER_VERBS_H
#define ESM1NV_FILTER_VERBS_H

#include "client/filter/options.h"

struct verb {
    /* Returns an exit status, after reporting an error. */
    int (*run)(const struct options *options);
    bool refuses_files; /* a FILE beside its option is an error */
};

/* What is done when no option asks for another verb: embed the input. */
extern const struct verb verb_embed;

/* Asks the daemon for all facts about itself, and calls visit() for each as esm1nv_status() does;
 * or, with visit NULL, asks it to stop. Returns an exit status, after reporting an error. */
typedef void fact_visitor(void *context, const char *name, const char *text, uint64_t number);
int status_ask(const struct options *options, fact_visitor *visit, void *context);

#endif

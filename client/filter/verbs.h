/* SPDX-License-Identifier: Apache-2.0
 *
 * What the filter can be asked to do. A new verb is a file that defines a struct verb, and the row
 * of its option in options.c.
 */
#ifndef ESM1NV_FILTER_VERBS_H
#define ESM1NV_FILTER_VERBS_H

#include "client/filter/options.h"

struct verb {
    /* Returns an exit status, after reporting what it says. */
    int (*run)(const struct options *options);
    bool refuses_files; /* a FILE beside its option is an error */
};

/* What is done when no option asks for another: embed the input. */
extern const struct verb verb_embed;

#endif

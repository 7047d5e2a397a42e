/* SPDX-License-Identifier: Apache-2.0
 *
 * What the daemon says about itself, for all verbs that show it.
 */
#ifndef ESM1NV_FILTER_STATUS_H
#define ESM1NV_FILTER_STATUS_H

#include "client/filter/options.h"

/* Told a fact of the daemon's, as esm1nv_status() tells it. */
typedef void fact_visitor(void *context, const char *name, const char *text, uint64_t number);

/* Asks the daemon for all of them, where options say that it is. Returns an exit status, after
 * reporting an error. */
int status_visit(const struct options *options, fact_visitor *visit, void *context);

#endif

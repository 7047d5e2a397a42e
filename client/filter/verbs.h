/* SPDX-License-Identifier: Apache-2.0
 *
 * What the filter can be asked to do. Each returns an exit status, and has reported what it says.
 */
#ifndef ESM1NV_FILTER_VERBS_H
#define ESM1NV_FILTER_VERBS_H

#include "client/filter/options.h"

/* embed.c: embed the input. */
int stream_run(const struct options *options);
/* dry_run.c: count only. */
int dry_run(const struct options *options);
/* status.c */
int status_show(const struct options *options);
int status_stop(const struct options *options);
/* metrics.c: the status for a monitoring system. */
int metrics_show(const struct options *options);

/* Told a fact of the daemon's, as esm1nv_status() tells it. */
typedef void fact_visitor(void *context, const char *name, const char *text, uint64_t number);
/* status.c: asks the daemon for all of them. */
int status_visit(const struct options *options, fact_visitor *visit, void *context);

/* Reports a library error and what to do about it; returns the exit status. */
int daemon_error(int code, const char *text);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The filter's connection: finds a daemon or has one started, waits for one that is busy or went
 * away, and makes sure that model, precision and backend stay the same to the end.
 */
#ifndef ESM1NV_FILTER_CONNECTION_H
#define ESM1NV_FILTER_CONNECTION_H

#include "client/filter/autostart.h"
#include "client/filter/options.h"

struct connection {
    const struct options *options;
    esm1nv_session *session;
    esm1nv_session *windows; /* embeds windows of long records; may be the same session */

    bool shared;                   /* a daemon that somebody else runs may serve this filter */
    bool private;                  /* a private daemon may serve it */
    struct private_daemon *daemon; /* NULL: there can be no private daemon */
    int begun;                     /* what esm1nv_connect_begin() returned for `session` */

    /* The daemon that served first, and how it computes; digest is empty before that. */
    char socket[PRIVATE_PATH_MAX];
    char digest[65], backend[16], precision[16];

    char error[512]; /* why the last attempt failed, or why the connection was lost */
    bool answered;   /* a daemon has answered, if only that it is busy */
    uint64_t done;   /* records that were done when the connection was lost last */
    int64_t waited;  /* milliseconds of sleep since a record was answered */
    int pause;       /* milliseconds to sleep next */
};
#define CONNECTION_NULL ((struct connection){.session = NULL})

/* Asks the shared daemon for a session, if there is one, and does not wait for the answer, so that
 * files can be opened meanwhile. The options must outlive the connection. */
void connection_begin(struct connection *connection, const struct options *options);
/* Waits until a daemon serves the filter. Returns 0, or a negative exit status after reporting. */
int connection_open(struct connection *connection);
/* Makes new sessions after one failed with `reason`, an ESM1NV_ERROR_*, when `done` records were
 * done. What was submitted to the old ones and is not done must be submitted again. Returns 0, or a
 * negative exit status after reporting. */
int connection_restore(struct connection *connection, const esm1nv_session *failed, int reason,
                       uint64_t done);
/* Safe on CONNECTION_NULL. */
void connection_finish(struct connection *connection);

#endif

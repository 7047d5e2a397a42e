/* SPDX-License-Identifier: Apache-2.0
 *
 * The stream's connection: finds a daemon or has one started, waits for one that is busy or went
 * away, and holds on to the same model, precision and backend to the end.
 */
#ifndef ESM1NV_FILTER_CONNECTION_H
#define ESM1NV_FILTER_CONNECTION_H

#include "client/filter/autostart.h"
#include "client/filter/options.h"

struct connection {
    const struct options *options;
    esm1nv_session *session;
    esm1nv_session *windows; /* residue rows of long records' windows; may be the same */

    bool shared;                   /* a daemon that others start may serve us */
    bool private;                  /* a private one may */
    struct private_daemon *daemon; /* NULL when there can be none */
    int begun;                     /* what esm1nv_connect_begin() said of session */

    /* What served first, to be insisted on. digest is empty before that. */
    char socket[PRIVATE_PATH_MAX];
    char digest[65], backend[16], precision[16];

    char error[512]; /* of the last attempt, or why the connection was lost */
    bool answered;   /* once, if only to say that it is busy */
    uint64_t done;   /* records, when the connection was lost last */
    int64_t waited;  /* milliseconds since a record was answered */
    int pause;
};
#define CONNECTION_NULL ((struct connection){.session = NULL})

/* Says hello to the first daemon that may serve us, if one is there, and does not wait: there are
 * files to be opened meanwhile. options live as long. */
void connection_begin(struct connection *connection, const struct options *options);
/* Both return 0, or a negative exit status after reporting. */
int connection_open(struct connection *connection);
/* After a session failed for `reason`, an ESM1NV_ERROR_*, with so many records done: new sessions.
 * What was submitted to the old ones and is not done must be submitted again. */
int connection_restore(struct connection *connection, const esm1nv_session *failed, int reason,
                       uint64_t done);
/* Safe on CONNECTION_NULL. */
void connection_finish(struct connection *connection);

#endif

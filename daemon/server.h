/* SPDX-License-Identifier: Apache-2.0
 *
 * The running daemon: one thread that accepts clients, moves records between them and the engine,
 * and leaves in order.
 */
#ifndef ESM1NV_SERVER_H
#define ESM1NV_SERVER_H

#include "daemon/engine.h"
#include "daemon/error.h"
#include "daemon/listener.h"
#include "daemon/service.h"

struct server;

struct server_options {
    struct limits limits;
    uint32_t batch_tokens; /* of the largest batch */
    unsigned idle_exit;    /* seconds; 0: never */
};

/* SIGTERM and SIGINT must be blocked in all threads. The listener, model and engine stay the
 * caller's and must live longer. Returns 0, or -1 with *server NULL. */
int server_create(struct server **server, struct listener *listener, const struct model *model,
                  const struct engine_table *table, struct engine *engine,
                  const struct server_options *options, struct error *error);

/* "io_uring", or "epoll" and why. */
const char *server_loop_name(const struct server *server);

/* Serves until a signal, a client's stop or idleness ends it, then finishes what was taken. Returns
 * 0, or -1 when the loop itself fails. */
int server_run(struct server *server, struct error *error);

/* Safe on NULL. */
void server_destroy(struct server *server);

#endif

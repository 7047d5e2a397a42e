/* SPDX-License-Identifier: Apache-2.0
 *
 * The running daemon: one thread that accepts clients, moves records between them and the engine,
 * and ends in order.
 */
#ifndef ESM1NV_SERVER_H
#define ESM1NV_SERVER_H

#include "daemon/base/error.h"
#include "daemon/serve/generation.h"
#include "daemon/serve/listener.h"
#include "daemon/options.h"

struct server;

/* Blocks the signals that a server reads from a descriptor, so that those which come before it runs
 * wait for it. To be called before there are other threads, which inherit the mask. */
void server_block_signals(void);

/* The signals must be blocked in all threads. The listener and the options stay the caller's and
 * must live longer; the generation is taken over. Returns 0, or -1 with *server NULL. */
int server_create(struct server **server, struct listener *listener, struct generation *generation,
                  const struct options *options, struct error *error);

/* Serves until a signal, a client's STOP or idleness ends it, then finishes the records that were
 * taken. Returns 0, or -1 when the loop itself fails or no engine is left. */
int server_run(struct server *server, struct error *error);

/* Returns false when some threads are stuck: the memory that they use is not freed then, and the
 * process must leave without waiting for them. Safe on NULL. */
bool server_destroy(struct server *server);

#endif

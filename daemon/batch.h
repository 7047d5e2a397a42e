/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps the engine fed: packs what the scheduler hands out into batches, as many as the engine
 * takes at a time, and gives the results back to the sessions.
 */
#ifndef ESM1NV_BATCH_H
#define ESM1NV_BATCH_H

#include "daemon/service.h"

struct batches;

/* For an open engine and a scheduler that never fills a batch beyond `tokens`. Returns 0 or
 * -ENOMEM. */
int batches_create(struct batches **batches, struct service *service,
                   const struct engine_table *table, struct engine *engine, uint32_t tokens);

/* Submits batches while the engine takes them and records wait. */
void batches_feed(struct batches *batches);

/* Hands back the records of all finished batches, and publishes their results. */
void batches_reap(struct batches *batches);

unsigned batches_in_flight(const struct batches *batches);

/* Frees the batches; none may be in flight. Safe on NULL. */
void batches_destroy(struct batches *batches);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps the engines fed: packs what the scheduler hands out into batches, as many as an engine
 * takes at a time, and gives the results back to the sessions. Of several engines one computes at a
 * time: each has as many threads as there are cores.
 */
#ifndef ESM1NV_BATCH_H
#define ESM1NV_BATCH_H

#include "daemon/serve/service.h"

struct batches;

/* For a generation's engine, whose batches never exceed its scheduler's budget. Returns 0 or
 * -ENOMEM. */
int batches_create(struct batches **batches, const struct generation *generation);

/* Submits batches while the engine whose turn it is takes them and records wait. Returns whether
 * there was one: an engine may be done with it already. */
bool batches_feed(struct service *service);

/* Hands back the records of all finished batches; their results are not published yet. */
void batches_reap(struct service *service, struct generation *generation);

/* For a broken engine: what it never gives back holds up neither another engine nor the end. */
void batches_abandon(struct service *service, struct generation *generation);

/* Frees the batches; none may be in flight. Safe on NULL. */
void batches_destroy(struct batches *batches);

#endif

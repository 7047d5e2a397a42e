/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps the engines fed: packs what the scheduler hands out into batches, as many as an engine
 * takes at a time, and publishes what comes of them. Of several engines one computes at a time:
 * each has as many threads as there are cores.
 */
#ifndef ESM1NV_BATCH_H
#define ESM1NV_BATCH_H

#include "daemon/serve/generation.h"
#include "daemon/serve/service.h"

/* Makes room for a generation's batches, and has the loop tell when its engine is done with one or
 * broke. Returns 0 or -ENOMEM. */
int batches_begin(struct service *service, struct generation *generation);

/* What the engine still computes is of no interest. Its room goes with the generation. */
void batches_end(struct generation *generation);

/* Submits batches while the engine whose turn it is takes them and records wait, and publishes what
 * it has done at once. */
void batches_feed(struct service *service);

#endif

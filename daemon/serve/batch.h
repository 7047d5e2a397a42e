/* SPDX-License-Identifier: Apache-2.0
 *
 * The way through the engine: packs records, in the scheduler's order, into batches, as many as the
 * engine takes at a time, and has the results published.
 */
#ifndef ESM1NV_BATCH_H
#define ESM1NV_BATCH_H

#include "daemon/serve/generation.h"
#include "daemon/serve/service.h"

/* Submits batches while records wait and the engine whose turn it is takes more. Publishes the
 * results of those that the engine ran at once. */
void batches_feed(struct service *service);

/* Reaps what a generation's engine has finished, and publishes it; ends the generation's sessions
 * if the engine broke. The loop's callback for the engine's completion descriptor. */
void batches_on_completion(void *generation);

#endif

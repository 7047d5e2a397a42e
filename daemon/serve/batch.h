/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps the engines fed: packs what the scheduler hands out into batches, as many as an engine
 * takes at a time, and publishes what comes of them.
 */
#ifndef ESM1NV_BATCH_H
#define ESM1NV_BATCH_H

#include "daemon/serve/generation.h"
#include "daemon/serve/service.h"

/* Submits batches while the engine whose turn it is takes them and records wait, and publishes what
 * it has done at once. */
void batches_feed(struct service *service);

/* Publishes what a generation's engine has done, or ends its sessions when the engine broke. The
 * loop's callback for the engine's completion descriptor. */
void batches_on_completion(void *generation);

#endif

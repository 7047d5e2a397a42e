/* SPDX-License-Identifier: Apache-2.0
 *
 * Owns all generations, and decides which of them is served: the first one, one that SIGHUP asks
 * for, or one on the engine of last resort after an engine broke. Runs in the loop's thread.
 */
#ifndef ESM1NV_GENERATIONS_H
#define ESM1NV_GENERATIONS_H

#include "daemon/serve/generation.h"
#include "daemon/serve/service.h"

struct generations;

/* Serves `first`, which it takes over, also when it fails. Later generations are loaded as the
 * request says, which must live as long. Returns 0, or -1 with *generations half built or NULL. */
int generations_create(struct generations **generations, struct service *service,
                       struct generation *first, const struct generation_request *request,
                       struct error *error);

/* Tells the service manager that the daemon is ready, and what it serves. */
void generations_announce(const struct generations *generations);

/* Has the model loaded again while the current generation is served. If a load is under way,
 * another one follows it. Begins with the next generations_tend(). */
void generations_reload(struct generations *generations);

/* To be called in each turn of the loop: closes old generations without sessions, and begins the
 * load that is due because of generations_reload() or an engine that broke. */
void generations_tend(struct generations *generations);

/* NULL, or why nothing can be served any more. */
const struct error *generations_failure(const struct generations *generations);

/* Closes all generations. Returns false when closing one of them, or a load, takes too long: see
 * background_destroy(). Safe on NULL. */
bool generations_destroy(struct generations *generations);

#endif

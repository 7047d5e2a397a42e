/* SPDX-License-Identifier: Apache-2.0
 *
 * All generations, and which of them is served: the first, those that SIGHUP asks for, and the one
 * on the CPU that takes over from an engine that broke. Owns them; runs in the loop's thread.
 */
#ifndef ESM1NV_GENERATIONS_H
#define ESM1NV_GENERATIONS_H

#include "daemon/serve/generation.h"
#include "daemon/serve/service.h"

struct generations;

/* Serves `first`, which it owns from now on, also when it fails; later ones are loaded as the
 * request says, which must live as long. Returns 0, or -1 with *generations half built or NULL. */
int generations_create(struct generations **generations, struct service *service,
                       struct generation *first, const struct generation_request *request,
                       struct error *error);

/* Tells the service manager what is served, and that it is ready. */
void generations_announce(const struct generations *generations);

/* Has the model loaded again, beside what is served; once more afterwards when that is under way.
 * Begins with the next generations_tend(). */
void generations_reload(struct generations *generations);

/* In each turn: has old generations closed that no session refers to any more, and begins the loads
 * that are due, because somebody asked or the engine that serves broke. */
void generations_tend(struct generations *generations);

/* NULL, or why nothing can be served any more. */
const struct error *generations_failure(const struct generations *generations);

/* Closes all generations. Returns false when one of them, or a load, is stuck: see
 * background_destroy(). Safe on NULL. */
bool generations_destroy(struct generations *generations);

#endif

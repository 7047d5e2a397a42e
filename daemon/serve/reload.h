/* SPDX-License-Identifier: Apache-2.0
 *
 * Which generation is served: the first, those that SIGHUP asks for, and the one on the CPU that
 * takes over from an engine that broke. Owns them all; runs in the loop's thread.
 */
#ifndef ESM1NV_RELOAD_H
#define ESM1NV_RELOAD_H

#include "daemon/serve/generation.h"
#include "daemon/serve/service.h"

struct reload;

/* Serves `first`, which it owns from now on, also when it fails. The options must live as long.
 * Returns 0, or -1 with *reload half built or NULL. */
int reload_create(struct reload **reload, struct service *service, struct generation *first,
                  const struct options *options, struct error *error);

/* Tells the service manager what is served, and that it is ready. */
void reload_announce(const struct reload *reload);

/* Loads the model again, beside what is served; once more afterwards when that is under way. */
void reload_request(struct reload *reload);

/* Publishes what the engines are done with. They say so themselves too, except of what they had
 * done when it was submitted. */
void reload_reap(struct reload *reload);

/* Has old generations closed that no session refers to any more. */
void reload_tend(struct reload *reload);

/* NULL, or why nothing can be served any more. */
const struct error *reload_failure(const struct reload *reload);

/* Closes all generations. Returns false when one of them, or a load, is stuck: see
 * background_destroy(). Safe on NULL. */
bool reload_destroy(struct reload *reload);

#endif

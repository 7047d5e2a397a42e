/* SPDX-License-Identifier: Apache-2.0
 *
 * What takes long, beside the loop: loading generations and closing them, each on a thread of its
 * own that ends with it. A daemon that never reloads has none.
 */
#ifndef ESM1NV_BACKGROUND_H
#define ESM1NV_BACKGROUND_H

#include "daemon/serve/generation.h"

struct background;

/* Returns 0 or -errno. */
int background_create(struct background **background);

/* Readable when a load has ended. */
int background_fd(const struct background *background);

/* Starts to load, one at a time; see generation_load(). The limits, and what the request points at,
 * must live as long as the background. Returns 0 or -errno. */
int background_load(struct background *background, const struct generation_request *request,
                    const struct limits *limits);

/* Takes what has been loaded. Returns 0, -1 with the error why nothing was, or 1 when no load has
 * ended. */
int background_take(struct background *background, struct generation **generation,
                    struct error *error);

/* Closes a generation; here and now where no thread can be started. */
void background_close(struct background *background, struct generation *generation);

/* Waits for what is under way, no longer than `milliseconds`. Returns false, and frees nothing,
 * when some of it is: the process must then leave without waiting for its threads. Safe on NULL. */
bool background_destroy(struct background *background, int milliseconds);

#endif

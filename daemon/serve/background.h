/* SPDX-License-Identifier: Apache-2.0
 *
 * What would block the loop for long, loading and closing generations, each time on a new thread. A
 * daemon that never reloads starts none.
 */
#ifndef ESM1NV_BACKGROUND_H
#define ESM1NV_BACKGROUND_H

#include "daemon/serve/generation.h"

struct background;

/* Returns 0 or -errno. */
int background_create(struct background **background);

/* An eventfd, readable when a load has ended. */
int background_fd(const struct background *background);

/* Starts a generation_load(); only one may be under way. The limits, and what the request points
 * at, must live as long as the background. Returns 0 or -errno. */
int background_load(struct background *background, const struct generation_request *request,
                    const struct limits *limits);

/* Takes the result of a load. Returns 0, -1 with the error of a load that failed, or 1 when no load
 * has ended. */
int background_take(struct background *background, struct generation **generation,
                    struct error *error);

/* Closes a generation; in the calling thread when no other can be started. */
void background_close(struct background *background, struct generation *generation);

/* Waits for the threads, no longer than `milliseconds`. Returns false, and frees nothing, when one
 * still runs: the process must then leave without waiting for it. Safe on NULL. */
bool background_destroy(struct background *background, int milliseconds);

#endif

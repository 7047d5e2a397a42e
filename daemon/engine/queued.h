/* SPDX-License-Identifier: Apache-2.0
 *
 * What engines with a queue have in common: the struct engine that the functions of their table are
 * given, and those of these functions that need only its info and its queue. An engine with further
 * state embeds struct engine in a struct of its own, and reaches that with container_of().
 */
#ifndef ESM1NV_ENGINE_QUEUED_H
#define ESM1NV_ENGINE_QUEUED_H

#include "daemon/base/container_of.h"
#include "daemon/engine/queue.h"

struct engine {
    struct engine_info info;
    struct engine_queue queue;
};

static inline const struct engine_info *queued_info(const struct engine *engine) {
    return &engine->info;
}

static inline void queued_submit(struct engine *engine, struct engine_batch *batch) {
    engine_queue_submit(&engine->queue, batch);
}

static inline int queued_completion_fd(const struct engine *engine) {
    return engine->queue.fd;
}

static inline struct engine_batch *queued_reap(struct engine *engine) {
    return engine_queue_reap(&engine->queue);
}

static inline const char *queued_broken(const struct engine *engine) {
    return engine->queue.broken;
}

#endif

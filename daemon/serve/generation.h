/* SPDX-License-Identifier: Apache-2.0
 *
 * A generation: one loaded model and the engine that runs it. The daemon starts with one; each
 * reload makes another beside it. A session keeps the generation that it was welcomed with, and
 * the last session of an old one takes it along.
 */
#ifndef ESM1NV_GENERATION_H
#define ESM1NV_GENERATION_H

#include "daemon/engine/chooser.h"
#include "daemon/options.h"
#include "daemon/serve/sched.h"

#include <stdbool.h>
#include <sys/queue.h>

struct batches;
struct loop_watch;
struct reload;

struct generation {
    struct sched_engine sched; /* first: the scheduler's engine is this generation */
    TAILQ_ENTRY(generation) link;
    unsigned number; /* counted from 1 */
    struct model *model;
    const struct engine_table *table;
    struct engine *engine;
    const struct engine_info *info;
    char note[ENGINE_NOTE_MAX]; /* why it is not a better engine; empty when there is nothing to say
                                 */

    /* While it serves: */
    struct batches *batches;
    struct reload *reload;
    struct loop_watch *watch;
    unsigned sessions; /* that refer to it */
    bool broken;       /* its engine can run nothing any more */
};

TAILQ_HEAD(generation_list, generation);

/* Loads what the options name, and opens the engine they ask for; with `on_cpu` the CPU's, whatever
 * they ask for. Touches nothing that the loop uses. Returns 0, or -1 with *generation NULL. */
int generation_load(struct generation **generation, const struct options *options, bool on_cpu,
                    struct error *error);

/* Logs what people should know about it. */
void generation_warn(const struct generation *generation);

/* "esm1nv.nemo (cpu f32, avx2, 2 threads)" */
void generation_describe(const struct generation *generation, char *text, size_t capacity);

/* Ends the engine, which may take a while, and frees everything. Its watch is gone, and no session
 * refers to it. Safe on NULL. */
void generation_close(struct generation *generation);

#endif

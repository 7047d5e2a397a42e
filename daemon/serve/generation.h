/* SPDX-License-Identifier: Apache-2.0
 *
 * A generation: one loaded model and the engine that runs it. The daemon starts with one; each
 * reload makes another beside it. A session keeps the generation that it was welcomed with, and an
 * old generation is closed when its last session has ended.
 */
#ifndef ESM1NV_GENERATION_H
#define ESM1NV_GENERATION_H

#include "daemon/base/error.h"
#include "daemon/engine/chooser.h"
#include "daemon/serve/limits.h"
#include "daemon/serve/sched.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct loop_watch;
struct service;

/* What is to be loaded, and on what it is to run. */
struct generation_request {
    const char *model;   /* FILE.nemo, or synthetic[:SEED] */
    const char *backend; /* see engine_open() */
    enum precision precision;
    const char *devices;         /* see engine_options */
    unsigned threads;            /* see engine_options */
    uint32_t max_batch_residues; /* of the largest batch; 0: what suits the engine */
};

/* Memory for one batch, the largest that the scheduler makes. */
struct slot {
    struct engine_batch batch;
    struct sched_record **records;
    struct engine_item *items;
    uint16_t *ids;
    bool in_flight;
};

struct generation {
    struct sched_engine sched;
    TAILQ_ENTRY(generation) link;
    unsigned number; /* counted from 1 */
    struct model *model;
    const struct engine_table *table;
    struct engine *engine;
    const struct engine_info *info;
    char note[ENGINE_NOTE_MAX]; /* why it is not a better engine, or empty */
    struct slot *slots;         /* one for each batch that the engine takes at a time */
    unsigned slot_count;
    unsigned slot_records; /* the most records that a slot holds */

    /* While it serves: */
    struct service *service;
    struct loop_watch *watch;   /* of the engine's completions */
    unsigned sessions;          /* that refer to it */
    const char *broken;         /* why its engine can run nothing any more, or NULL */
    unsigned batches_in_flight; /* 0 once the engine is broken: they are given up */
    uint32_t tokens_in_flight;
};

TAILQ_HEAD(generation_list, generation);

/* Loads a model and opens the engine. The longest sequence of the model must fit the limits. Uses
 * nothing that the loop's thread uses. Returns 0, or -1 with *generation NULL. */
int generation_load(struct generation **generation, const struct generation_request *request,
                    const struct limits *limits, struct error *error);

/* Logs what people should know about it. */
void generation_warn(const struct generation *generation);

/* "esm1nv.nemo (cpu f32, avx2, 2 threads)" */
void generation_describe(const struct generation *generation, char *text, size_t capacity);

/* Ends the engine, which may take a while, and frees everything. The watch must have been removed,
 * and no session may refer to the generation. Safe on NULL. */
void generation_close(struct generation *generation);

#endif

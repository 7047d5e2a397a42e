/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the CUDA engine share: small models made of random numbers, sequences of any
 * length, and bundles, batches that own all they point to.
 */
#ifndef ESM1NV_TESTS_CUDA_BUNDLE_H
#define ESM1NV_TESTS_CUDA_BUNDLE_H

#include "daemon/engine/engine.h"

#define MODEL_POSITIONS 512u
#define MODEL_VOCABULARY 32u
#define MODEL_HIDDEN 64u

extern const struct engine_table esm1nv_engine;

/* A model of one layer or more, with H 64 and FFN 64. Its tensors point into `floats`. */
struct small_model {
    struct model model;
    float *floats;
    size_t used;
};

void small_model_make(struct small_model *small, uint32_t layers, enum gelu gelu);
void small_model_free(struct small_model *small);

/* <s>, residues and </s>, as far as the model's positions leave room, as the daemon makes them. */
struct sequence {
    uint32_t tokens, first_residue, residues;
    uint16_t ids[MODEL_POSITIONS];
};

void sequence_make(struct sequence *sequence, uint32_t tokens, uint64_t seed);

struct bundle {
    struct engine_batch batch;
    uint16_t *ids;
    struct engine_item *items;
};

/* Makes a batch of sequences[order[i]], or of sequences[i] where order is NULL. */
void bundle_make(struct bundle *bundle, const struct sequence *sequences, const unsigned *order,
                 unsigned count, enum pooling pooling, enum dtype dtype);
void bundle_free(struct bundle *bundle);
size_t item_bytes(const struct engine_item *item);

/* Waits for the next batch, ten minutes at most; NULL if none comes. */
struct engine_batch *engine_next(struct engine *engine);

/* Submits the batch and waits for it. */
void bundle_run(struct engine *engine, struct bundle *bundle);

/* Makes a bundle and runs it. */
void bundle_compute(struct bundle *bundle, struct engine *engine, const struct sequence *sequences,
                    const unsigned *order, unsigned count, enum pooling pooling, enum dtype dtype);

/* Returns how many of its items have another status. */
unsigned bundle_others(const struct bundle *bundle, enum record_status status);

/* Opens an engine, or says why not and ends the program. */
struct engine *engine_make(const struct model *model, enum precision precision, const char *devices,
                           uint32_t max_tokens);

/* Returns what $ESM1NV_TEST_SCALE leaves of a volume, at least `least`. */
unsigned scaled(unsigned volume, unsigned least);

/* Makes a folder that $XDG_CACHE_HOME names until test_cache_remove. */
const char *test_cache_make(void);
void test_cache_remove(void);
/* Removes what was kept in it. */
void test_cache_clear(void);
/* Returns how many files are in it, and the path of one of them, if there are any. */
size_t test_cache_files(char path[512]);

#endif

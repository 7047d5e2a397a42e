/* SPDX-License-Identifier: Apache-2.0
 *
 * This runs the CUDA engine on small models. A record must have the same bytes alone and in any
 * company, in every bucket and at every bucket's edge, in whatever order threads run; pooled rows
 * must be made of the unpooled ones; and what cannot be embedded must fail alone.
 */
#include "tests/check.h"
#include "tests/cuda/engine/bundle.h"
#include "tests/cuda/emulation/emulation.h"
#include "tests/kernels/random.h"

#include <math.h>
#include <stdlib.h>

#define SEQUENCES 14

static const uint32_t lengths[SEQUENCES] = {1,  2,  3,   5,   17,  63,  64,
                                            65, 66, 127, 128, 130, 200, 512};
static struct sequence sequences[SEQUENCES];
static struct bundle alone; /* every sequence's rows, as computed alone */
static unsigned some;       /* sequences where any will do: without the long ones, or all */

static void sequences_make(void) {
    for (unsigned i = 0; i < SEQUENCES; i++)
        sequence_make(&sequences[i], lengths[i], 77 + i);
}

static void alone_make(struct engine *engine, unsigned count) {
    bundle_make(&alone, sequences, NULL, count, POOLING_NONE, DTYPE_F32);
    for (unsigned i = 0; i < count; i++) {
        struct bundle one;
        bundle_compute(&one, engine, sequences, &i, 1, POOLING_NONE, DTYPE_F32);
        CHECK(one.items[0].status == RECORD_OK, "%u tokens alone: status %d %s", lengths[i],
              (int)one.items[0].status, one.batch.failure);
        memcpy(alone.items[i].rows, one.items[0].rows, item_bytes(&one.items[0]));
        bundle_free(&one);
    }
}

/* `order` says which of the sequences are in the batch. */
static void company_check(struct engine *engine, const unsigned *order, unsigned count,
                          const char *what) {
    struct bundle bundle;
    bundle_compute(&bundle, engine, sequences, order, count, POOLING_NONE, DTYPE_F32);
    for (unsigned i = 0; i < count; i++) {
        const struct engine_item *item = &bundle.items[i];
        CHECK(item->status == RECORD_OK &&
                  memcmp(item->rows, alone.items[order[i]].rows, item_bytes(item)) == 0,
              "%s, %u tokens in all, record %u of %u tokens: status %d, %s", what,
              bundle.batch.tokens, i, item->tokens, (int)item->status, bundle.batch.failure);
    }
    bundle_free(&bundle);
}

/* Fills exactly `tokens` with sequences other than the longest. Returns how many they are. */
static unsigned edge_order(unsigned *order, uint32_t tokens, uint64_t seed) {
    unsigned count = 0;
    while (tokens > 0) {
        unsigned i = random_next(&seed) % (SEQUENCES - 1);
        while (lengths[i] > tokens)
            i--;
        order[count++] = i;
        tokens -= lengths[i];
    }
    return count;
}

static void edges_check(struct engine *engine, uint32_t largest) {
    static unsigned order[16384];
    for (uint32_t bucket = 256; bucket <= largest; bucket *= 2)
        for (uint32_t tokens = bucket - 1; tokens <= bucket + 1; tokens++)
            company_check(engine, order, edge_order(order, tokens, tokens), "edge");
}

static void mixed_check(struct engine *engine, unsigned count, const char *what) {
    unsigned order[SEQUENCES];
    for (unsigned i = 0; i < count; i++)
        order[i] = i % 2 ? i : (count - 1 - i) & ~1u; /* another order, all of them */
    company_check(engine, order, count, what);
}

/* Opens an engine on a card of this generation, with so much memory (0: plenty). */
static struct engine *engine_on(int sm, size_t memory, const struct model *model,
                                enum precision precision, uint32_t max_tokens) {
    emulation_reset();
    emulation_set_device(0, sm, memory, NULL);
    return engine_make(model, precision, NULL, max_tokens);
}

/* Checks one generation of cards and one number type in three orders of threads; with less volume,
 * in the last one only. */
static void invariance(const struct model *model, int sm, enum precision precision) {
    static const char *const names[] = {"forward", "backward", "rotated"};
    const unsigned count = SEQUENCES - 1;
    struct engine *engine = engine_on(sm, 0, model, precision, 1024);
    alone_make(engine, count);
    for (unsigned order = some < SEQUENCES ? 2 : 0; order < 3; order++) {
        emulation_set_order((enum emulation_order)order);
        mixed_check(engine, count, names[order]);
    }
    bundle_free(&alone);
    esm1nv_engine.close(engine);
}

static void test_invariance(const struct model *model) {
    test_case("sm_70, f16: same bytes alone and in company, in three orders");
    invariance(model, 70, PRECISION_AUTO);
    test_case("sm_80, f16: same bytes alone and in company, in three orders");
    invariance(model, 80, PRECISION_F16);
    test_case("sm_90, bf16: same bytes alone and in company, in three orders");
    invariance(model, 90, PRECISION_BF16);
}

static void test_edges(const struct model *model) {
    uint32_t largest = scaled(8192, 512) >= 4096 ? 8192 : 1024;
    test_case("every bucket's edge");
    struct engine *engine = engine_on(90, 0, model, PRECISION_AUTO, largest + 256);
    emulation_set_order(EMULATION_ROTATED);
    CHECK(esm1nv_engine.info(engine)->batch_tokens >= largest, "the largest bucket");
    alone_make(engine, SEQUENCES);
    edges_check(engine, largest);
    test_case("the longest sequence, among others and many times");
    company_check(engine, (const unsigned[]){13, 0, 13, 4}, 4, "longest");
    bundle_free(&alone);
    esm1nv_engine.close(engine);
}

/* With little memory, batches become two parts and more. */
static void test_split(const struct model *model) {
    unsigned order[64], count = 0;
    test_case("batches larger than the largest bucket");
    struct engine *engine = engine_on(90, (size_t)80 << 20, model, PRECISION_AUTO, 2000);
    CHECK(esm1nv_engine.info(engine)->batch_tokens == 512, "%u tokens",
          esm1nv_engine.info(engine)->batch_tokens);
    alone_make(engine, SEQUENCES);
    for (unsigned i = 0; i < SEQUENCES; i++)
        order[count++] = (i * 5) % SEQUENCES;
    company_check(engine, order, count, "parts");
    order[count++] = 13;
    company_check(engine, order, count, "parts");
    bundle_free(&alone);
    esm1nv_engine.close(engine);
}

static void row_pool(const struct engine_item *rows, enum pooling pooling, float *out) {
    const float *row = rows->rows;
    for (uint32_t i = 0; i < MODEL_HIDDEN; i++) {
        out[i] = row[i];
        for (uint32_t r = 1; r < rows->residues; r++) {
            float x = row[r * MODEL_HIDDEN + i];
            out[i] = pooling == POOLING_MEAN ? out[i] + x : fmaxf(out[i], x);
        }
        if (pooling == POOLING_MEAN)
            out[i] /= (float)rows->residues;
    }
}

static unsigned values_wrong(const struct engine_item *item, const float *want) {
    unsigned wrong = 0;
    for (size_t i = 0; i < item_bytes(item) / dtype_size(item->dtype); i++)
        wrong += item->dtype == DTYPE_F16
                     ? ((const uint16_t *)item->rows)[i] != f16_from_float(want[i])
                     : ((const float *)item->rows)[i] != want[i];
    return wrong;
}

static void pooled_check(struct engine *engine, enum pooling pooling, enum dtype dtype) {
    struct bundle bundle;
    float row[MODEL_HIDDEN];
    bundle_compute(&bundle, engine, sequences, NULL, some, pooling, dtype);
    for (unsigned i = 0; i < some; i++) {
        row_pool(&alone.items[i], pooling, row);
        unsigned wrong =
            values_wrong(&bundle.items[i], pooling == POOLING_NONE ? alone.items[i].rows : row);
        CHECK(bundle.items[i].status == RECORD_OK && wrong == 0,
              "%u tokens, pooling %d, dtype %d: status %d, %u values differ", lengths[i],
              (int)pooling, (int)dtype, (int)bundle.items[i].status, wrong);
    }
    bundle_free(&bundle);
}

/* <s> is the row that the same tokens give when the first of them is a residue. */
static void bos_check(struct engine *engine) {
    struct sequence whole[SEQUENCES];
    struct bundle bos, rows;
    memcpy(whole, sequences, sizeof whole);
    for (unsigned i = 0; i < some; i++) {
        whole[i].first_residue = 0;
        whole[i].residues = whole[i].tokens;
    }
    bundle_make(&bos, sequences, NULL, some, POOLING_BOS, DTYPE_F32);
    bundle_make(&rows, whole, NULL, some, POOLING_NONE, DTYPE_F32);
    bundle_run(engine, &bos);
    bundle_run(engine, &rows);
    CHECK(bos.items[0].status == RECORD_NO_BOS, "without <s>: status %d", (int)bos.items[0].status);
    for (unsigned i = 1; i < some; i++)
        CHECK(bos.items[i].status == RECORD_OK &&
                  memcmp(bos.items[i].rows, rows.items[i].rows, item_bytes(&bos.items[i])) == 0,
              "%u tokens: status %d", lengths[i], (int)bos.items[i].status);
    bundle_free(&bos);
    bundle_free(&rows);
}

static void test_pooling(const struct model *model) {
    struct engine *engine = engine_on(80, 0, model, PRECISION_AUTO, 2048);
    emulation_set_order(EMULATION_BACKWARD);
    test_case("mean and max are those of the rows, in f32 and f16");
    alone_make(engine, some);
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_F16; dtype++) {
        pooled_check(engine, POOLING_MEAN, dtype);
        pooled_check(engine, POOLING_MAX, dtype);
    }
    test_case("f16 rows are the nearest of f32 ones");
    pooled_check(engine, POOLING_NONE, DTYPE_F16);
    test_case("bos is the row of <s>, or fails");
    bos_check(engine);
    bundle_free(&alone);
    esm1nv_engine.close(engine);
}

/* Checks the statuses of all records in all forms. The record numbered `bad`, or every record when
 * there is none of that number, must have want[0] in f32 and want[1] in f16. */
static void statuses_check(struct engine *engine, const enum record_status want[2], unsigned bad) {
    for (enum pooling pooling = POOLING_NONE; pooling <= POOLING_MAX; pooling++)
        for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_F16; dtype++) {
            struct bundle bundle;
            bundle_compute(&bundle, engine, sequences, NULL, some - 1, pooling, dtype);
            for (unsigned i = 0; i < some - 1; i++) {
                enum record_status status = i == bad || bad >= some ? want[dtype] : RECORD_OK;
                CHECK(bundle.items[i].status == status, "pooling %d, dtype %d, record %u: %d",
                      (int)pooling, (int)dtype, i, (int)bundle.items[i].status);
            }
            bundle_free(&bundle);
        }
}

/* Checks the statuses while one value of the model is spoilt. */
static void spoilt_check(const struct model *model, float *value, float spoilt,
                         const enum record_status want[2], unsigned bad) {
    float kept = *value;
    *value = spoilt;
    struct engine *engine = engine_on(80, 0, model, PRECISION_AUTO, 1024);
    statuses_check(engine, want, bad);
    esm1nv_engine.close(engine);
    *value = kept;
}

static void test_statuses(struct small_model *small) {
    float *word = (float *)(void *)(uintptr_t)small->model.word_embeddings.data;
    float *bias = (float *)(void *)(uintptr_t)small->model.final_norm_bias.data;
    test_case("a record that is not finite fails alone");
    sequences[7].ids[9] = 31;
    spoilt_check(&small->model, &word[31 * MODEL_HIDDEN + 3], INFINITY,
                 (enum record_status[]){RECORD_NONFINITE, RECORD_NONFINITE}, 7);
    sequences_make();
    test_case("values beyond float16 fail float16 output only");
    spoilt_check(&small->model, &bias[17], 1e5f, (enum record_status[]){RECORD_OK, RECORD_OVERFLOW},
                 SEQUENCES);
}

/* A batch that breaks a promise of its submitter must fail as a whole, and the engine must go
 * on. */
static void test_faults(const struct model *model) {
    struct bundle bundles[6], nothing = {0}, works;
    test_case("a batch that breaks the rules fails, the next works");
    struct engine *engine = engine_on(80, 0, model, PRECISION_AUTO, 512);
    for (int i = 0; i < 6; i++)
        bundle_make(&bundles[i], sequences + 3, NULL, 2, POOLING_NONE, DTYPE_F32);
    bundles[0].items[1].first_token++;
    bundles[1].items[0].tokens = 0;
    bundles[2].items[0].residues = 5;
    bundles[3].ids[2] = MODEL_VOCABULARY;
    bundles[4].batch.tokens--;
    bundles[5].batch.tokens = 513;
    for (int i = 0; i < 6; i++) {
        bundle_run(engine, &bundles[i]);
        CHECK(bundles[i].batch.failure[0] && bundle_others(&bundles[i], RECORD_ENGINE) == 0,
              "batch %d: '%s'", i, bundles[i].batch.failure);
        bundle_free(&bundles[i]);
    }
    bundle_run(engine, &nothing);
    bundle_compute(&works, engine, sequences, NULL, 3, POOLING_MEAN, DTYPE_F32);
    CHECK(bundle_others(&works, RECORD_OK) == 0 && works.batch.seconds > 0 &&
              !works.batch.failure[0],
          "'%s'", works.batch.failure);
    bundle_free(&works);
    esm1nv_engine.close(engine);
}

int main(void) {
    struct small_model tanh_model, erf_model;
    test_cache_make();
    some = scaled(SEQUENCES, 9);
    sequences_make();
    small_model_make(&tanh_model, 2, GELU_TANH);
    small_model_make(&erf_model, 1, GELU_ERF);
    test_invariance(&tanh_model.model);
    test_edges(&erf_model.model);
    test_split(&tanh_model.model);
    test_pooling(&tanh_model.model);
    test_statuses(&tanh_model);
    test_faults(&tanh_model.model);
    test_case("nothing is left on any device");
    CHECK(emulation_live() == 0, "%zu things", emulation_live());
    small_model_free(&tanh_model);
    small_model_free(&erf_model);
    test_cache_remove();
    return test_done();
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * This holds attention against double precision, within what the rounding of its 16-bit numbers
 * allows, and checks that the bytes of a sequence depend on nothing else in the batch.
 */
#include "batch.h"
#include "numbers.h"
#include "runs.h"
#include "tests/check.h"
#include "tests/kernels/random.h"

#include <stdlib.h>
#include <string.h>

#define HEAD 64u

/* A batch with its qkv, and the context that came out; all until device_end(). */
struct example {
    struct batch batch;
    uint16_t *qkv;
    const uint16_t *context;
};

/* Room beyond the tokens in use holds NaN. */
static void example_init(struct example *e, const struct run *run, uint32_t heads,
                         const uint32_t *lengths, uint32_t count, float spread) {
    e->batch.shape = (struct gpu_shape){
        .type = run->type, .sm = run->sm, .hidden = heads * HEAD, .heads = heads};
    batch_init(&e->batch, lengths, count);
    size_t width = 3 * heads * HEAD;
    e->qkv = host_new(e->batch.shape.tokens * width * sizeof *e->qkv);
    uint64_t random = heads + count;
    for (size_t i = 0; i < e->batch.shape.tokens * width; i++) {
        double value = random_normal(&random) * (i / HEAD % 3 < 2 ? spread : 1);
        e->qkv[i] = i < e->batch.tokens * width ? number_encode(run->type, value) : 0xffff;
    }
}

static void example_run(struct example *e) {
    const struct gpu_shape *shape = &e->batch.shape;
    size_t row = shape->hidden * sizeof *e->qkv;
    struct gpu_plan plan = batch_upload(&e->batch);
    void *qkv = device_new(e->qkv, shape->tokens * 3 * row);
    void *context = device_new(NULL, shape->tokens * row);
    MUST(gpu_prepare(shape));
    MUST(gpu_attention(shape, &plan, qkv, context, device_stream()));
    e->context = device_read(context);
    rest_check(e->context, e->batch.tokens * row, shape->tokens * row);
}

/* Computes one query of a head in double precision. */
static void query_attend(double *out, const double *q, const double *k, const double *v,
                         uint32_t tokens, double *weights) {
    double top = -INFINITY, sum = 0;
    for (uint32_t j = 0; j < tokens; j++) {
        weights[j] = 0;
        for (int i = 0; i < 64; i++)
            weights[j] += q[i] * k[64 * j + i];
        top = fmax(top, weights[j]);
    }
    for (uint32_t j = 0; j < tokens; j++)
        sum += weights[j] = exp((weights[j] - top) / 8);
    for (int i = 0; i < 64; i++) {
        out[i] = 0;
        for (uint32_t j = 0; j < tokens; j++)
            out[i] += weights[j] / sum * v[64 * j + i];
    }
}

/* Computes one head of one sequence: out[t][64] = softmax(q k / 8) v, where q, k and v are
 * [tokens][64]. */
static void reference_attention(double *out, const double *q, const double *k, const double *v,
                                uint32_t tokens) {
    double *weights = malloc(tokens * sizeof *weights);
    for (uint32_t t = 0; t < tokens; t++)
        query_attend(out + 64 * t, q + 64 * t, k, v, tokens, weights);
    free(weights);
}

/* Every value may be off by its own rounding, by that of the weights, which is at most that of the
 * largest value, and by `slack` times that value for float32 sums, which tensor cores cut off
 * rather than round. */
static void head_check(const struct example *e, const struct plan_item *item, uint32_t tokens,
                       uint32_t head, double slack) {
    enum gpu_type type = e->batch.shape.type;
    uint32_t hidden = e->batch.shape.hidden;
    size_t size = (size_t)tokens * HEAD;
    double *values = malloc(4 * size * sizeof *values), *out = values + 3 * size, largest = 0;
    for (uint32_t i = 0; i < 3 * size; i++) {
        size_t token = item->first_token + i / HEAD % tokens, part = i / size;
        values[i] =
            number_decode(type, e->qkv[token * 3 * hidden + (3 * head + part) * HEAD + i % HEAD]);
        largest = part == 2 ? fmax(largest, fabs(values[i])) : 0;
    }
    reference_attention(out, values, values + size, values + 2 * size, tokens);
    for (uint32_t i = 0; i < size; i++) {
        size_t token = item->first_token + i / HEAD;
        double got = number_decode(type, e->context[token * hidden + head * HEAD + i % HEAD]);
        double allowed = number_unit(type) * (fabs(out[i]) + largest) + slack * largest;
        CHECK(fabs(got - out[i]) <= allowed, "%u tokens, head %u, query %u, %u: %g is not %g",
              tokens, head, i / HEAD, i % HEAD, got, out[i]);
    }
    free(values);
}

static void lengths_check(struct run *run, uint32_t heads, const uint32_t *lengths, uint32_t count,
                          float spread, double slack) {
    struct example e;
    example_init(&e, run, heads, lengths, count, spread);
    example_run(&e);
    run_add(run, e.context, (size_t)e.batch.tokens * heads * HEAD * sizeof *e.context);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t head = 0; head < heads; head++)
            head_check(&e, &e.batch.items[i], lengths[i], head, slack);
    device_end();
}

static void test_short(struct run *run) {
    uint32_t lengths[70], count = 0, step = runs_scale() < 1 ? 3 : 1;
    for (uint32_t length = 1; length <= 70; length++)
        if (length % step == 1 % step || (length + 1) % 16 < 3)
            lengths[count++] = length;
    lengths_check(run, 2, lengths, count, 1, 5e-5);
}

static void test_long(struct run *run) {
    uint32_t lengths[] = {127, 128, 129, 130, 255, 256, 257, 511, 512, 603};
    lengths_check(run, 1, lengths, runs_scale() < 0.1 ? 3 : runs_scale() < 1 ? 7 : 10, 1, 5e-5);
}

static void test_heads(struct run *run) {
    uint32_t lengths[] = {33, 65, 2};
    lengths_check(run, 12, lengths, 3, 1, 5e-5);
}

/* Scores are many thousands here, so float32 sums of them are off by thousandths. */
static void test_steep(struct run *run) {
    uint32_t lengths[] = {1, 5, 64, 65, 100, 129};
    lengths_check(run, 1, lengths, 6, 30, 1e-2);
    lengths_check(run, 1, lengths, 6, 0, 5e-5);
}

/* Returns where the context of a sequence begins. */
static const void *sequence_context(const struct example *e, uint32_t index) {
    return e->context + (size_t)e->batch.items[index].first_token * e->batch.shape.hidden;
}

static void test_alone(struct run *run) {
    uint32_t lengths[] = {130, 1, 64, 17, 65}, heads = 2;
    struct example all;
    example_init(&all, run, heads, lengths, 5, 2);
    example_run(&all);
    for (uint32_t i = 0; i < 5; i++) {
        struct example one;
        example_init(&one, run, heads, &lengths[i], 1, 2);
        size_t width = heads * HEAD, size = lengths[i] * width * sizeof *one.qkv;
        memcpy(one.qkv, all.qkv + all.batch.items[i].first_token * 3 * width, 3 * size);
        example_run(&one);
        CHECK(memcmp(one.context, sequence_context(&all, i), size) == 0,
              "%u tokens alone give other bytes than in a batch", lengths[i]);
    }
}

/* NaN and infinity must stay in their sequence, and show in all of it. */
static void test_spoilt(struct run *run) {
    uint32_t lengths[] = {20, 70, 66, 3}, spoilt = 1;
    for (int infinite = 0; infinite < 2; infinite++) {
        struct example e;
        example_init(&e, run, 1, lengths, 4, 1);
        uint16_t *rows = e.qkv + e.batch.items[spoilt].first_token * 3 * HEAD;
        for (uint32_t i = 0; i < lengths[spoilt]; i++)
            rows[i * 3 * HEAD + 2 * HEAD + i % HEAD] =
                number_encode(run->type, infinite ? INFINITY : NAN);
        example_run(&e);
        for (uint32_t i = 0; i < 4; i++)
            if (i != spoilt)
                head_check(&e, &e.batch.items[i], lengths[i], 0, 5e-5);
        const uint16_t *context = sequence_context(&e, spoilt);
        for (uint32_t t = 0; t < lengths[spoilt]; t++)
            CHECK(!isfinite(number_decode(run->type, context[t * HEAD])), "row %u is finite", t);
        device_end();
    }
}

static void tests(void) {
    runs_each("lengths up to 70", test_short);
    runs_each("lengths up to 603", test_long);
    runs_each("twelve heads", test_heads);
    runs_each("steep and flat scores", test_steep);
    runs_each("the same alone", test_alone);
    runs_each("values that are not finite", test_spoilt);
}

int main(void) {
    return runs_main(tests);
}

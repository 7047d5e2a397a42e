/* SPDX-License-Identifier: Apache-2.0
 *
 * Buckets double from 256 tokens; the last one is as large as is wanted, so that full batches carry
 * no ballast. Activations that are never alive together share memory: the context takes the place
 * of the normed rows that q, k and v were made of, the inner rows of the feed-forward layer that of
 * q, k and v, and the final rows that of both.
 */
#include "cuda/sizes.h"

#define BUCKET_LEAST 256u
#define BUCKET_MOST 8192u
#define GRANULE ((size_t)2 << 20) /* of device memory */

/* Tokens from which on throughput is flat: matrix products fill the card, and their activations
 * still lie in its cache. */
static uint32_t good_tokens(uint32_t sm) {
    return sm >= 90 ? BUCKET_MOST : sm >= 80 ? 4096 : 2048;
}

static uint32_t round_up(uint32_t tokens, uint32_t step) {
    return (tokens + step - 1) / step * step;
}

static size_t section(size_t *end, size_t bytes) {
    size_t start = *end;
    *end = (start + bytes + 63) / 64 * 64;
    return start;
}

/* As many items and tiles as tokens: a sequence may be one token. */
static struct plan_places plan_places(uint32_t tokens) {
    struct plan_places places;
    size_t end = 0;
    section(&end, sizeof(struct plan_counts));
    places.ids = section(&end, tokens * sizeof(uint16_t));
    places.positions = section(&end, tokens * sizeof(uint16_t));
    places.owners = section(&end, tokens * sizeof(uint32_t));
    places.tiles = section(&end, tokens * sizeof(struct plan_tile));
    places.items = section(&end, tokens * sizeof(struct plan_item));
    places.bytes = end;
    return places;
}

static void buckets_init(struct sizes *sizes, uint32_t largest) {
    sizes->buckets = 0;
    for (uint32_t tokens = BUCKET_LEAST; tokens < largest; tokens *= 2)
        sizes->tokens[sizes->buckets++] = tokens;
    sizes->tokens[sizes->buckets++] = largest;
    sizes->largest = largest;
    for (unsigned bucket = 0; bucket < sizes->buckets; bucket++)
        sizes->plans[bucket] = plan_places(sizes->tokens[bucket]);
}

static uint64_t granules(size_t bytes) {
    return (bytes + GRANULE - 1) / GRANULE * GRANULE;
}

static void bytes_init(struct sizes *sizes) {
    size_t tokens = sizes->largest, hidden = sizes->model.hidden;
    size_t wide = sizes->model.ffn > 3 * hidden ? sizes->model.ffn : 3 * hidden;
    sizes->residual = tokens * hidden * sizeof(float);
    sizes->normed = tokens * hidden * 2;
    sizes->wide = tokens * wide * 2;
    sizes->workspace = sizes->sm >= 90 ? (size_t)32 << 20 : (size_t)4 << 20;
    sizes->plan = sizes->plans[sizes->buckets - 1].bytes;
    /* Every row that is asked for is a token's, and at most a float32 one. */
    sizes->output = (tokens * sizeof(uint32_t) + 63) / 64 * 64 + tokens * hidden * sizeof(float);
    sizes->device_bytes = granules(sizes->weights) + granules(sizes->residual) +
                          granules(sizes->normed) + granules(sizes->wide) +
                          granules(sizes->workspace) +
                          SETS * (granules(sizes->plan) + granules(sizes->output));
}

void sizes_init(struct sizes *sizes, const struct model_config *model, enum gpu_type type,
                size_t weight_bytes, const struct card *card, uint32_t max_tokens) {
    uint32_t tokens = good_tokens(card->sm);
    uint32_t least = round_up(model->positions, BUCKET_LEAST);
    *sizes = (struct sizes){.model = *model, .type = type, .weights = weight_bytes};
    sizes->sm = card->sm;
    sizes->multiprocessors = card->multiprocessors;
    if (tokens > max_tokens)
        tokens = round_up(max_tokens, BUCKET_LEAST);
    for (;; tokens /= 2) {
        buckets_init(sizes, tokens > least ? round_up(tokens, BUCKET_LEAST) : least);
        bytes_init(sizes);
        if (sizes->largest == least || sizes->device_bytes <= card->free_bytes / 2)
            break;
    }
}

unsigned sizes_bucket(const struct sizes *sizes, uint32_t tokens) {
    unsigned bucket = 0;
    while (sizes->tokens[bucket] < tokens)
        bucket++;
    return bucket;
}

struct gpu_shape sizes_shape(const struct sizes *sizes, unsigned bucket) {
    const struct model_config *model = &sizes->model;
    return (struct gpu_shape){.type = sizes->type,
                              .tokens = sizes->tokens[bucket],
                              .sequences = sizes->tokens[bucket],
                              .hidden = model->hidden,
                              .heads = model->heads,
                              .ffn = model->ffn,
                              .sm = sizes->sm,
                              .multiprocessors = sizes->multiprocessors,
                              .epsilon = model->epsilon};
}

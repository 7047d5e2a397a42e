/* SPDX-License-Identifier: Apache-2.0
 *
 * Chooses the buckets, the smallest of which has 256 tokens and each next one twice as many, and
 * computes how much memory they need. Activations that are never needed at the same time share
 * memory: the context takes the place of the normed rows that q, k and v are made of, and the
 * hidden rows of the feed-forward layer take the place of q, k and v, as the final rows do later.
 */
#include "cuda/sizes.h"

#define BUCKET_LEAST 256u
#define BUCKET_MOST 8192u
#define GRANULE ((size_t)2 << 20) /* device memory is allocated in units of this */

/* The tokens from which on throughput no longer grows: matrix products fill the card, and their
 * activations still fit into its cache. */
static uint32_t flat_tokens(uint32_t sm) {
    return sm >= 90 ? BUCKET_MOST : sm >= 80 ? 4096 : 2048;
}

/* The number of buckets up to the one that holds so many tokens. */
static unsigned buckets_for(uint32_t tokens) {
    unsigned count = 1;
    while (BUCKET_LEAST << (count - 1) < tokens && count < BUCKETS_MAX)
        count++;
    return count;
}

static size_t plan_section(size_t *end, size_t bytes) {
    size_t start = *end;
    *end = (start + bytes + 63) / 64 * 64;
    return start;
}

/* There may be as many items and tiles as tokens, because a sequence may be one token. */
static struct plan_places plan_places(uint32_t tokens) {
    struct plan_places places;
    size_t end = 0;
    plan_section(&end, sizeof(struct plan_counts));
    places.ids = plan_section(&end, tokens * sizeof(uint16_t));
    places.positions = plan_section(&end, tokens * sizeof(uint16_t));
    places.owners = plan_section(&end, tokens * sizeof(uint32_t));
    places.tiles = plan_section(&end, tokens * sizeof(struct plan_tile));
    places.items = plan_section(&end, tokens * sizeof(struct plan_item));
    places.bytes = end;
    return places;
}

static void tokens_init(struct sizes *sizes) {
    for (unsigned bucket = 0; bucket < BUCKETS_MAX; bucket++) {
        sizes->tokens[bucket] = BUCKET_LEAST << bucket;
        sizes->plans[bucket] = plan_places(sizes->tokens[bucket]);
    }
}

static uint64_t granules(size_t bytes) {
    return (bytes + GRANULE - 1) / GRANULE * GRANULE;
}

static void bytes_init(struct sizes *sizes) {
    size_t tokens = sizes->tokens[sizes->all_buckets - 1], hidden = sizes->model.hidden;
    size_t wide = sizes->model.ffn > 3 * hidden ? sizes->model.ffn : 3 * hidden;
    sizes->residual = tokens * hidden * sizeof(float);
    sizes->normed = tokens * hidden * 2;
    sizes->wide = tokens * wide * 2;
    sizes->workspace = sizes->sm >= 90 ? (size_t)32 << 20 : (size_t)4 << 20;
    sizes->largest = sizes->tokens[sizes->buckets - 1];
    sizes->plan = sizes->plans[sizes->buckets - 1].bytes;
    /* There is at most one row of output for each token, of float32 at most. */
    sizes->output = sizes->largest * (sizeof(uint32_t) + hidden * sizeof(float));
    sizes->device_bytes = granules(sizes->weights) + granules(sizes->residual) +
                          granules(sizes->normed) + granules(sizes->wide) +
                          granules(sizes->workspace) +
                          SETS * (granules(sizes->plan) + granules(sizes->output));
}

void sizes_init(struct sizes *sizes, const struct model_config *model, enum gpu_type type,
                size_t weight_bytes, const struct card *card, uint32_t max_tokens) {
    const unsigned least = buckets_for(model->positions), good = buckets_for(flat_tokens(card->sm));
    *sizes = (struct sizes){.model = *model, .type = type, .weights = weight_bytes};
    sizes->sm = card->sm;
    sizes->multiprocessors = card->multiprocessors;
    tokens_init(sizes);
    sizes->all_buckets = good > least ? good : least;
    sizes->buckets = buckets_for(max_tokens);
    if (sizes->buckets > sizes->all_buckets)
        sizes->buckets = sizes->all_buckets;
    for (bytes_init(sizes); sizes->device_bytes > card->free_bytes / 2; bytes_init(sizes))
        if (sizes->buckets > least)
            sizes->buckets--;
        else if (sizes->all_buckets > least)
            sizes->all_buckets--;
        else
            break;
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

/* SPDX-License-Identifier: Apache-2.0
 *
 * See batch.h. Pieces of memory are kept in a list.
 */
#include "batch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 256u
#define PIECES 256u

struct piece {
    void *memory;
    size_t size;
    bool on_device;
};

static struct {
    cudaStream_t stream;
    struct piece pieces[PIECES];
    unsigned count;
} state;

static void __attribute__((format(printf, 1, 2), noreturn)) bail_out(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("Bail out! ");
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    exit(1);
}

void device_check(cudaError_t error, const char *what) {
    if (error != cudaSuccess)
        bail_out("%s: %s", what, cudaGetErrorString(error));
}

int device_count(void) {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

cudaStream_t device_stream(void) {
    if (!state.stream)
        MUST(cudaStreamCreateWithFlags(&state.stream, cudaStreamNonBlocking));
    return state.stream;
}

static void *piece_add(void *memory, size_t size, bool on_device) {
    if (!memory || state.count == PIECES)
        bail_out("%zu bytes as piece %u of memory", size, state.count);
    state.pieces[state.count++] = (struct piece){memory, size, on_device};
    return memory;
}

void *host_new(size_t size) {
    return memset(piece_add(malloc(size), size, false), 0xEE, size);
}

void *device_new(const void *data, size_t size) {
    void *piece;
    MUST(cudaMalloc(&piece, size + GUARD));
    MUST(cudaMemset(piece, DEVICE_PATTERN, size + GUARD));
    if (data && size > 0)
        MUST(cudaMemcpy(piece, data, size, cudaMemcpyHostToDevice));
    MUST(cudaDeviceSynchronize());
    return piece_add(piece, size, true);
}

void *device_read(const void *piece) {
    unsigned i = 0;
    while (i < state.count && state.pieces[i].memory != piece)
        i++;
    size_t size = state.pieces[i].size;
    MUST(cudaStreamSynchronize(device_stream()));
    unsigned char *host = host_new(size + GUARD);
    MUST(cudaMemcpy(host, piece, size + GUARD, cudaMemcpyDeviceToHost));
    for (unsigned k = 0; k < GUARD; k++)
        if (host[size + k] != DEVICE_PATTERN)
            bail_out("a kernel wrote %u bytes behind its memory", k);
    return host;
}

void device_end(void) {
    while (state.count > 0) {
        const struct piece *piece = &state.pieces[--state.count];
        if (piece->on_device)
            MUST(cudaFree(piece->memory));
        else
            free(piece->memory);
    }
    if (state.stream)
        MUST(cudaStreamDestroy(state.stream));
    state.stream = NULL;
}

/* --- Batches --------------------------------------------------------------------------------- */

static void sequence_add(struct batch *b, uint32_t index, uint32_t tokens) {
    for (uint32_t i = 0; i < tokens; i++) {
        b->ids[b->tokens + i] = (uint16_t)((b->tokens + i * 7) % VOCABULARY);
        b->positions[b->tokens + i] = (uint16_t)i;
        b->owners[b->tokens + i] = index;
    }
    for (uint32_t query = 0; query < tokens; query += GPU_TILE_QUERIES)
        b->tiles[b->tile_count++] = (struct plan_tile){b->tokens, tokens, query};
    uint32_t special = tokens > 2;
    b->items[index] = (struct plan_item){.first_token = b->tokens,
                                         .first_row = b->tokens + special,
                                         .residues = tokens - 2 * special};
    b->tokens += tokens;
}

void batch_init(struct batch *batch, const uint32_t *lengths, uint32_t count) {
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < count; i++)
        tokens += lengths[i];
    tokens = tokens / 64 * 64 + 64;
    struct gpu_shape shape = batch->shape;
    shape.tokens = tokens;
    shape.sequences = count + 3;
    shape.multiprocessors = 2;
    shape.epsilon = 1e-5f;
    *batch = (struct batch){
        .shape = shape,
        .count = count,
        .ids = host_new(tokens * sizeof *batch->ids),
        .positions = host_new(tokens * sizeof *batch->positions),
        .owners = host_new(tokens * sizeof *batch->owners),
        .tiles = host_new((tokens / 64 + shape.sequences) * sizeof *batch->tiles),
        .items = host_new(shape.sequences * sizeof *batch->items),
    };
    for (uint32_t i = 0; i < count; i++)
        sequence_add(batch, i, lengths[i]);
}

struct gpu_plan batch_upload(const struct batch *batch) {
    struct plan_counts counts = {batch->tokens, batch->count, batch->tile_count, 0};
    uint32_t tokens = batch->shape.tokens, sequences = batch->shape.sequences;
    return (struct gpu_plan){
        .counts = device_new(&counts, sizeof counts),
        .ids = device_new(batch->ids, tokens * sizeof *batch->ids),
        .positions = device_new(batch->positions, tokens * sizeof *batch->positions),
        .owners = device_new(batch->owners, tokens * sizeof *batch->owners),
        .tiles = device_new(batch->tiles, (tokens / 64 + sequences) * sizeof *batch->tiles),
        .items = device_new(batch->items, sequences * sizeof *batch->items),
    };
}

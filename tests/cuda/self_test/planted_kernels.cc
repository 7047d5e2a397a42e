/* SPDX-License-Identifier: Apache-2.0
 *
 * These programs have bugs in kernels: barriers, races, and bounds.
 */
#include "planted.h"

namespace {

const int THREADS = 128, VALUES = 1000;

/* out[block] = sum of x, by a tree in shared memory. */
__global__ void tree_sum(const float *x, int count, float *out, bool broken) {
    SHARED_ARRAY(float, part, THREADS);
    int own = static_cast<int>(threadIdx.x);
    float sum = 0.0f;
    for (int i = own; i < count; i += THREADS)
        sum += x[i];
    part[own] = sum;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (!broken)
            __syncthreads();
        if (own < half)
            part[own] += part[own + half];
    }
    if (own == 0)
        out[blockIdx.x] = part[0];
}

/* The same with a barrier that only some threads reach. */
__global__ void divergent_sum(const float *x, float *out, bool broken) {
    SHARED_ARRAY(float, part, THREADS);
    int own = static_cast<int>(threadIdx.x);
    part[own] = x[own];
    if (broken && own / 32 == 0)
        __syncthreads();
    __syncthreads();
    if (own == 0) {
        out[0] = 0.0f;
        for (int i = 0; i < THREADS; i++)
            out[0] += part[i];
    }
}

/* out[i] = sum over tiles of the mirrored tile: one buffer, filled again in each round. */
__global__ void mirror_tiles(const float *x, int tiles, float *out, bool broken) {
    SHARED_ARRAY(float, tile, THREADS);
    int own = static_cast<int>(threadIdx.x);
    float sum = 0.0f;
    for (int i = 0; i < tiles; i++) {
        tile[own] = x[i * THREADS + own];
        __syncthreads();
        sum += tile[THREADS - 1 - own];
        if (!broken)
            __syncthreads();
    }
    out[own] = sum;
}

/* Neighbouring lanes exchange values through shared memory. The shuffle keeps them in step, which
 * orders no memory. */
__global__ void swap_lanes(const float *x, float *out, bool broken) {
    SHARED_ARRAY(float, slot, 32);
    int own = static_cast<int>(threadIdx.x);
    slot[own] = x[own];
    int other = __shfl_xor_sync(~0u, own, 1);
    if (!broken)
        __syncwarp();
    out[own] = slot[other];
}

__global__ void past_shared(const float *x, float *out, bool broken) {
    SHARED_ARRAY(float, slot, 32);
    int own = static_cast<int>(threadIdx.x);
    slot[own + broken] = x[own];
    __syncwarp();
    out[own] = slot[own];
}

__global__ void number_rows(float *out, int count, bool broken) {
    int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (broken ? i <= count : i < count)
        out[i] = 2.0f * float(i);
}

__global__ void last_value(const float *x, int count, float *out, bool broken) {
    out[threadIdx.x] = x[count - 1 + broken];
}

/* Each block writes its own element; broken, all write the first one too. */
__global__ void block_numbers(float *out, bool broken) {
    if (threadIdx.x != 0)
        return;
    out[blockIdx.x] = static_cast<float>(blockIdx.x);
    if (broken)
        out[0] = static_cast<float>(blockIdx.x);
}

/* Lanes past the end leave before the others meet. */
__global__ void early_return(const float *x, int count, float *out, bool broken) {
    int own = static_cast<int>(threadIdx.x);
    if (broken && own >= count)
        return;
    float value = own < count ? x[own] : 0.0f;
    for (int bits = 16; bits > 0; bits /= 2)
        value += __shfl_xor_sync(~0u, value, bits);
    if (own == 0)
        out[0] = value;
}

/* Sums of half warps, from lanes that the mask does not name. */
__global__ void wrong_mask(const float *x, float *out, bool broken) {
    int own = static_cast<int>(threadIdx.x);
    unsigned mask = own < 16 ? 0x0000FFFFu : 0xFFFF0000u;
    float value = x[own];
    for (int bits = broken ? 16 : 8; bits > 0; bits /= 2)
        value += __shfl_xor_sync(mask, value, bits);
    out[own] = value;
}

/* What kernels get and make: x is 0, 1, 2, ..., whose sums are exact. */
struct example {
    example(size_t count, size_t results) : x(count), out(results), results(results) {
        for (size_t i = 0; i < count; i++)
            x.host[i] = static_cast<float>(i);
        x.up(stream);
    }

    bool gives(float (*truth)(int)) {
        out.down(stream);
        stream.wait();
        for (size_t i = 0; i < results; i++)
            if (out.host[i] != truth(int(i)))
                return false;
        return true;
    }

    queue stream;
    both<float> x, out;
    size_t results;
};

bool barrier_missing(bool broken) {
    example e(VALUES, 3);
    LAUNCH(tree_sum, 3, THREADS, 0, e.stream, e.x.device, VALUES, e.out.device, broken);
    return e.gives([](int) { return 499500.0f; });
}

bool barrier_missing_in_loop(bool broken) {
    example e(3 * THREADS, THREADS);
    LAUNCH(mirror_tiles, 1, THREADS, 0, e.stream, e.x.device, 3, e.out.device, broken);
    return e.gives([](int i) { return 3.0f * float(THREADS + THREADS - 1 - i); });
}

bool barrier_divergent(bool broken) {
    example e(THREADS, 1);
    LAUNCH(divergent_sum, 1, THREADS, 0, e.stream, e.x.device, e.out.device, broken);
    return e.gives([](int) { return float(THREADS * (THREADS - 1) / 2); });
}

bool syncwarp_missing(bool broken) {
    example e(32, 32);
    LAUNCH(swap_lanes, 1, 32, 0, e.stream, e.x.device, e.out.device, broken);
    return e.gives([](int i) { return float(i ^ 1); });
}

bool shared_overrun(bool broken) {
    example e(32, 32);
    LAUNCH(past_shared, 1, 32, 0, e.stream, e.x.device, e.out.device, broken);
    e.stream.wait();
    return true;
}

bool global_overrun(bool broken) {
    example e(1, 100);
    LAUNCH(number_rows, 4, 32, 0, e.stream, e.out.device, 100, broken);
    return e.gives([](int i) { return 2.0f * float(i); });
}

bool global_overread(bool broken) {
    example e(100, 32);
    LAUNCH(last_value, 1, 32, 0, e.stream, e.x.device, 100, e.out.device, broken);
    e.stream.wait();
    return true;
}

bool blocks_race(bool broken) {
    example e(1, 4);
    LAUNCH(block_numbers, 4, 32, 0, e.stream, e.out.device, broken);
    return e.gives([](int i) { return float(i); });
}

bool lanes_returned(bool broken) {
    example e(20, 1);
    LAUNCH(early_return, 1, 32, 0, e.stream, e.x.device, 20, e.out.device, broken);
    return e.gives([](int) { return 190.0f; });
}

bool lanes_unnamed(bool broken) {
    example e(32, 32);
    LAUNCH(wrong_mask, 1, 32, 0, e.stream, e.x.device, e.out.device, broken);
    return e.gives([](int i) { return i < 16 ? 120.0f : 376.0f; });
}

} // namespace

const std::vector<planted> planted_kernels = {
    {"barrier missing", barrier_missing, {WRONG, WRONG, RACE}},
    {"barrier missing in a loop", barrier_missing_in_loop, {WRONG, WRONG, RACE}},
    {"barrier in divergent code", barrier_divergent, EVERYWHERE("divergent barrier")},
    {"__syncwarp missing", syncwarp_missing, {NULL, NULL, RACE}},
    {"write past a shared array",
     shared_overrun,
     {"past the end of shared memory", "out of bounds", "past the end"}},
    {"write past an allocation",
     global_overrun,
     {"outside an allocation", POISON, "outside an allocation"}},
    {"read past an allocation", global_overread, {NULL, POISON, NULL}},
    {"blocks race", blocks_race, {WRONG, WRONG, RACE}},
    {"lanes returned before a shuffle", lanes_returned, EVERYWHERE("12 have returned")},
    {"shuffle from unnamed lanes", lanes_unnamed, EVERYWHERE(WRONG)},
};

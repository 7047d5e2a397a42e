/* SPDX-License-Identifier: Apache-2.0
 *
 * These programs have bugs in kernels: barriers, races, and bounds.
 */
#include "planted.h"

namespace {

const int THREADS = 128;

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
__global__ void divergent_sum(const float *x, int, float *out, bool broken) {
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
__global__ void mirror_tiles(const float *x, int count, float *out, bool broken) {
    SHARED_ARRAY(float, tile, THREADS);
    int own = static_cast<int>(threadIdx.x);
    float sum = 0.0f;
    for (int i = own; i < count; i += THREADS) {
        tile[own] = x[i];
        __syncthreads();
        sum += tile[THREADS - 1 - own];
        if (!broken)
            __syncthreads();
    }
    out[own] = sum;
}

/* Neighbouring lanes exchange values through shared memory. The shuffle keeps them in step, which
 * orders no memory. */
__global__ void swap_lanes(const float *x, int, float *out, bool broken) {
    SHARED_ARRAY(float, slot, 32);
    int own = static_cast<int>(threadIdx.x);
    slot[own] = x[own];
    int other = __shfl_xor_sync(~0u, own, 1);
    if (!broken)
        __syncwarp();
    out[own] = slot[other];
}

__global__ void past_shared(const float *x, int, float *out, bool broken) {
    SHARED_ARRAY(float, slot, 32);
    int own = static_cast<int>(threadIdx.x);
    slot[own + broken] = x[own];
    __syncwarp();
    out[own] = slot[own];
}

__global__ void number_rows(const float *, int count, float *out, bool broken) {
    int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (broken ? i <= count : i < count)
        out[i] = 2.0f * float(i);
}

__global__ void last_value(const float *x, int count, float *out, bool broken) {
    out[threadIdx.x] = x[count - 1 + broken];
}

/* Each block writes its own element; broken, all write the first one too. */
__global__ void block_numbers(const float *, int, float *out, bool broken) {
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
__global__ void wrong_mask(const float *x, int, float *out, bool broken) {
    int own = static_cast<int>(threadIdx.x);
    unsigned mask = own < 16 ? 0x0000FFFFu : 0xFFFF0000u;
    float value = x[own];
    for (int bits = broken ? 16 : 8; bits > 0; bits /= 2)
        value += __shfl_xor_sync(mask, value, bits);
    out[own] = value;
}

using kernel = void(const float *x, int count, float *out, bool broken);

/* A program that runs a kernel on 0, 1, 2, ..., whose sums are exact, and holds `results` numbers
 * against the truth; without one it only lets the kernel run. */
std::function<bool(bool)> program(kernel *run, unsigned blocks, unsigned threads, int count,
                                  int results, float (*truth)(int)) {
    return [=](bool broken) {
        queue stream;
        both<float> x(static_cast<size_t>(count)), out(static_cast<size_t>(results));
        for (int i = 0; i < count; i++)
            x.host[i] = static_cast<float>(i);
        x.up(stream);
        LAUNCH(run, blocks, threads, 0, stream, x.device, count, out.device, broken);
        if (truth)
            out.down(stream);
        stream.wait();
        bool right = true;
        for (int i = 0; truth && i < results; i++)
            right = right && out.host[i] == truth(i);
        return right;
    };
}

} // namespace

const std::vector<planted> planted_kernels = {
    {"barrier missing",
     program(tree_sum, 3, THREADS, 1000, 3, [](int) { return 499500.0f; }),
     {WRONG, WRONG, RACE}},
    {"barrier missing in a loop",
     program(mirror_tiles, 1, THREADS, 3 * THREADS, THREADS,
             [](int i) { return 3.0f * float(THREADS + THREADS - 1 - i); }),
     {WRONG, WRONG, RACE}},
    {"barrier in divergent code",
     program(divergent_sum, 1, THREADS, THREADS, 1,
             [](int) { return float(THREADS * (THREADS - 1) / 2); }),
     EVERYWHERE("divergent barrier")},
    {"__syncwarp missing",
     program(swap_lanes, 1, 32, 32, 32, [](int i) { return float(i ^ 1); }),
     {NULL, NULL, RACE}},
    {"write past a shared array",
     program(past_shared, 1, 32, 32, 32, nullptr),
     {"past the end of shared memory", "out of bounds", "past the end"}},
    {"write past an allocation",
     program(number_rows, 4, 32, 100, 100, [](int i) { return 2.0f * float(i); }),
     {"outside an allocation", POISON, "outside an allocation"}},
    {"read past an allocation", program(last_value, 1, 32, 100, 32, nullptr), {NULL, POISON, NULL}},
    {"blocks race",
     program(block_numbers, 4, 32, 1, 4, [](int i) { return float(i); }),
     {WRONG, WRONG, RACE}},
    {"lanes returned before a shuffle",
     program(early_return, 1, 32, 20, 1, [](int) { return 190.0f; }),
     EVERYWHERE("12 have returned")},
    {"shuffle from unnamed lanes",
     program(wrong_mask, 1, 32, 32, 32, [](int i) { return i < 16 ? 120.0f : 376.0f; }),
     EVERYWHERE(WRONG)},
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: device functions as kernels call them (not CUDA's name for a header; included by
 * cuda_runtime.h). Those that need the scheduler are declared here and defined in block.c; the rest
 * is arithmetic.
 */
#ifndef EMULATION_DEVICE_H
#define EMULATION_DEVICE_H

#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulation_seam.h"

using std::isfinite;
using std::isinf;
using std::isnan;

/* --- Together -------------------------------------------------------------------------------- */

#define EMULATION_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATION_HERE) {
    emulation_block_barrier("__syncthreads", file, line);
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, EMULATION_HERE) {
    emulation_warp_barrier(mask, file, line);
}

inline int __any_sync(unsigned mask, int predicate, EMULATION_HERE) {
    return emulation_warp_ballot("__any_sync", mask, predicate != 0, file, line) != 0;
}

/* What that lane gave; what lies outside the mask is undefined, here all ones (a NaN). */
template <typename T> inline T __shfl_xor_sync(unsigned mask, T value, int bits, EMULATION_HERE) {
    static_assert(sizeof(T) <= 8, "a shuffle moves 32 or 64 bits");
    uint64_t moved = 0;
    std::memcpy(&moved, &value, sizeof value);
    moved =
        emulation_warp_shuffle("__shfl_xor_sync", mask, moved, emulation_lane() ^ bits, file, line);
    std::memcpy(&value, &moved, sizeof value);
    return value;
}

/* --- Alone ----------------------------------------------------------------------------------- */

/* Relaxed, as on the device. */
template <typename T> inline T atomicOr(T *p, T value) {
    return __atomic_fetch_or(p, value, __ATOMIC_RELAXED);
}

inline float rsqrtf(float x) {
    return 1.0f / sqrtf(x);
}

#endif

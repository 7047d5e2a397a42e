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
    emulation_block_barrier("__syncthreads", file, line, 0);
}

inline int __syncthreads_count(int predicate, EMULATION_HERE) {
    return emulation_block_barrier("__syncthreads_count", file, line, predicate != 0);
}

inline int __syncthreads_or(int predicate, EMULATION_HERE) {
    return emulation_block_barrier("__syncthreads_or", file, line, predicate != 0) != 0;
}

inline int __syncthreads_and(int predicate, EMULATION_HERE) {
    return emulation_block_barrier("__syncthreads_and", file, line, predicate == 0) == 0;
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, EMULATION_HERE) {
    emulation_warp_barrier(mask, file, line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATION_HERE) {
    return emulation_warp_ballot("__ballot_sync", mask, predicate != 0, file, line);
}

inline int __any_sync(unsigned mask, int predicate, EMULATION_HERE) {
    return emulation_warp_ballot("__any_sync", mask, predicate != 0, file, line) != 0;
}

inline int __all_sync(unsigned mask, int predicate, EMULATION_HERE) {
    return emulation_warp_ballot("__all_sync", mask, predicate == 0, file, line) == 0;
}

/* What the lane `source` gave; what lies outside the mask is undefined, here all ones (a NaN). */
template <typename T>
inline T emulation_shuffle(const char *name, unsigned mask, T value, int source, const char *file,
                           int line) {
    static_assert(sizeof(T) <= 8, "a shuffle moves 32 or 64 bits");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = emulation_warp_shuffle(name, mask, bits, source, file, line);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMULATION_HERE) {
    int lane = emulation_lane();
    source = (lane & ~(width - 1)) | (source & (width - 1));
    return emulation_shuffle("__shfl_sync", mask, value, source, file, line);
}

template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMULATION_HERE) {
    int lane = emulation_lane(), source = lane ^ bits;
    if (source >= (lane & ~(width - 1)) + width)
        source = lane;
    return emulation_shuffle("__shfl_xor_sync", mask, value, source, file, line);
}

template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATION_HERE) {
    int lane = emulation_lane(), source = lane + static_cast<int>(delta);
    if (source >= (lane & ~(width - 1)) + width)
        source = lane;
    return emulation_shuffle("__shfl_down_sync", mask, value, source, file, line);
}

template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATION_HERE) {
    int lane = emulation_lane(), source = lane - static_cast<int>(delta);
    if (source < (lane & ~(width - 1)))
        source = lane;
    return emulation_shuffle("__shfl_up_sync", mask, value, source, file, line);
}

/* --- Bits and memory ------------------------------------------------------------------------- */

template <typename To, typename From> inline To emulation_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

inline unsigned __float_as_uint(float x) {
    return emulation_bits<unsigned>(x);
}

inline float __uint_as_float(unsigned x) {
    return emulation_bits<float>(x);
}

inline int __float_as_int(float x) {
    return emulation_bits<int>(x);
}

inline float __int_as_float(int x) {
    return emulation_bits<float>(x);
}

inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}

inline int __ffs(int x) {
    return __builtin_ffs(x);
}

inline int __clz(int x) {
    return x ? __builtin_clz(static_cast<unsigned>(x)) : 32;
}

template <typename T> inline T __ldg(const T *p) {
    return *p;
}

template <typename T> inline T __ldcg(const T *p) {
    return *p;
}

template <typename T> inline T __ldcs(const T *p) {
    return *p;
}

template <typename T> inline void __stcg(T *p, T value) {
    *p = value;
}

template <typename T> inline void __stcs(T *p, T value) {
    *p = value;
}

/* Relaxed, as on the device. */
template <typename T> inline T atomicAdd(T *p, T value) {
    return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}

template <typename T> inline T atomicOr(T *p, T value) {
    return __atomic_fetch_or(p, value, __ATOMIC_RELAXED);
}

template <typename T> inline T atomicAnd(T *p, T value) {
    return __atomic_fetch_and(p, value, __ATOMIC_RELAXED);
}

template <typename T> inline T atomicExch(T *p, T value) {
    return __atomic_exchange_n(p, value, __ATOMIC_RELAXED);
}

template <typename T> inline T atomicCAS(T *p, T expected, T value) {
    __atomic_compare_exchange_n(p, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return expected;
}

template <typename T> inline T atomicMax(T *p, T value) {
    T old = __atomic_load_n(p, __ATOMIC_RELAXED);
    while (old < value && !__atomic_compare_exchange_n(p, &old, value, false, __ATOMIC_RELAXED,
                                                       __ATOMIC_RELAXED)) {
    }
    return old;
}

template <typename T> inline T atomicMin(T *p, T value) {
    T old = __atomic_load_n(p, __ATOMIC_RELAXED);
    while (value < old && !__atomic_compare_exchange_n(p, &old, value, false, __ATOMIC_RELAXED,
                                                       __ATOMIC_RELAXED)) {
    }
    return old;
}

/* Blocks run one after the other and lanes hand over only at barriers: nothing to fence. */
inline void __threadfence() {
}

inline void __threadfence_block() {
}

[[noreturn]] inline void __trap() {
    emulation_trap();
}

/* --- Arithmetic ------------------------------------------------------------------------------ */

/* Fast forms are built as the hardware builds them, so with an error of their kind. */
inline float __expf(float x) {
    return exp2f(x * 1.4426950408889634f);
}

inline float __logf(float x) {
    return log2f(x) * 0.6931471805599453f;
}

inline float __fdividef(float a, float b) {
    return a * (1.0f / b);
}

inline float rsqrtf(float x) {
    return 1.0f / sqrtf(x);
}

inline float __frsqrt_rn(float x) {
    return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x)));
}

inline float __fsqrt_rn(float x) {
    return sqrtf(x);
}

inline float __frcp_rn(float x) {
    return 1.0f / x;
}

inline float __fadd_rn(float a, float b) {
    return a + b;
}

inline float __fmul_rn(float a, float b) {
    return a * b;
}

inline float __fdiv_rn(float a, float b) {
    return a / b;
}

inline float __fmaf_rn(float a, float b, float c) {
    return fmaf(a, b, c);
}

inline float __saturatef(float x) {
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}

inline int __float2int_rn(float x) {
    return static_cast<int>(rintf(x));
}

#define EMULATION_MIN_MAX(type)                                                                    \
    inline type min(type a, type b) {                                                              \
        return b < a ? b : a;                                                                      \
    }                                                                                              \
    inline type max(type a, type b) {                                                              \
        return a < b ? b : a;                                                                      \
    }

EMULATION_MIN_MAX(int)
EMULATION_MIN_MAX(unsigned)
EMULATION_MIN_MAX(long)
EMULATION_MIN_MAX(unsigned long)

inline float min(float a, float b) {
    return fminf(a, b);
}

inline float max(float a, float b) {
    return fmaxf(a, b);
}

#endif

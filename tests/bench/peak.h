/* SPDX-License-Identifier: Apache-2.0
 *
 * The most that a core's multiply-add units can do: bursts of independent multiply-adds on
 * registers alone, one per instruction set and type.
 */
#ifndef ESM1NV_BENCH_PEAK_H
#define ESM1NV_BENCH_PEAK_H

#include "daemon/cpu/cpu_features.h"

/* Runs `steps` rounds of a burst and returns the floating-point operations done (a fused
 * multiply-add is two, a bf16 pair four). */
typedef double (*peak_burst)(unsigned steps);

double peak_avx2_f32(unsigned steps);
double peak_avx512_f32(unsigned steps);
double peak_avx512bf16_bf16(unsigned steps);

/* The burst that kernels of a set and precision are compared with: bf16 without bf16 dot products
 * is widened, so its peak is that of float. NULL when there is none. */
static inline peak_burst peak_for(enum instruction_set set, enum precision precision) {
    if (set == SET_AVX512BF16 && precision == PRECISION_BF16)
        return peak_avx512bf16_bf16;
    if (set >= SET_AVX512)
        return peak_avx512_f32;
    return features_best() >= SET_AVX2 ? peak_avx2_f32 : NULL;
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernels' tests compute on the host: float16 and bfloat16, by conversions that the
 * emulation's self test compares with the definition of each format, number by number; and
 * LayerNorm in double precision.
 */
#ifndef ESM1NV_TESTS_NUMBERS_H
#define ESM1NV_TESTS_NUMBERS_H

#include "cuda/kernels.h"
#include "tests/cuda/emulation/include/emulation_convert.h"

/* The largest relative error of rounding to a normal number. */
static inline double number_unit(enum gpu_type type) {
    return type == GPU_F16 ? 0x1p-11 : 0x1p-8;
}

static inline double number_decode(enum gpu_type type, uint16_t bits) {
    return (double)(type == GPU_F16 ? emulation_half_to_float(bits)
                                    : emulation_bfloat_to_float(bits));
}

/* The nearest number of the type, ties to even. */
static inline uint16_t number_encode(enum gpu_type type, double x) {
    return type == GPU_F16 ? emulation_half_from_float((float)x)
                           : emulation_bfloat_from_float((float)x);
}

static inline double number_round(enum gpu_type type, double x) {
    return number_decode(type, number_encode(type, x));
}

/* out[i] = (x[i] - mean) / sqrt(variance + epsilon) gain[i] + bias[i]. */
static inline void reference_layernorm(double *out, const float *x, const float *gain,
                                       const float *bias, uint32_t hidden, double epsilon) {
    double mean = 0, variance = 0;
    for (uint32_t i = 0; i < hidden; i++)
        mean += x[i];
    mean /= hidden;
    for (uint32_t i = 0; i < hidden; i++)
        variance += (x[i] - mean) * (x[i] - mean);
    variance /= hidden;
    for (uint32_t i = 0; i < hidden; i++)
        out[i] = (x[i] - mean) / sqrt(variance + epsilon) * gain[i] + bias[i];
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernels are to compute, written plainly in double precision.
 */
#ifndef ESM1NV_TESTS_REFERENCE_H
#define ESM1NV_TESTS_REFERENCE_H

#include <stdint.h>

/* out[i] = (x[i] - mean) / sqrt(variance + epsilon) gain[i] + bias[i]. */
void reference_layernorm(double *out, const float *x, const float *gain, const float *bias,
                         uint32_t hidden, double epsilon);

/* One head of one sequence: out[t][64] = softmax(q k / 8) v; q, k, v: [tokens][64]. */
void reference_attention(double *out, const double *q, const double *k, const double *v,
                         uint32_t tokens);

double reference_gelu(double x, int erf_form);

#endif

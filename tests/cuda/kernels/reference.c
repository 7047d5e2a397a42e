/* SPDX-License-Identifier: Apache-2.0
 *
 * See reference.h.
 */
#include "reference.h"

#include <math.h>
#include <stdlib.h>

void reference_layernorm(double *out, const float *x, const float *gain, const float *bias,
                         uint32_t hidden, double epsilon) {
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

static void query_attend(double *out, const double *q, const double *k, const double *v,
                         uint32_t tokens, double *weights) {
    double top = -INFINITY, sum = 0;
    for (uint32_t j = 0; j < tokens; j++) {
        weights[j] = 0;
        for (int i = 0; i < 64; i++)
            weights[j] += q[i] * k[64 * j + i];
        top = fmax(top, weights[j]);
    }
    for (uint32_t j = 0; j < tokens; j++)
        sum += weights[j] = exp((weights[j] - top) / 8);
    for (int i = 0; i < 64; i++) {
        out[i] = 0;
        for (uint32_t j = 0; j < tokens; j++)
            out[i] += weights[j] / sum * v[64 * j + i];
    }
}

void reference_attention(double *out, const double *q, const double *k, const double *v,
                         uint32_t tokens) {
    double *weights = malloc(tokens * sizeof *weights);
    if (!weights)
        abort();
    for (uint32_t t = 0; t < tokens; t++)
        query_attend(out + 64 * t, q + 64 * t, k, v, tokens, weights);
    free(weights);
}

double reference_gelu(double x, int erf_form) {
    if (erf_form)
        return 0.5 * x * erfc(-x * sqrt(0.5));
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

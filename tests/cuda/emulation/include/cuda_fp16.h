/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: half precision.
 */
#ifndef EMULATION_CUDA_FP16_H
#define EMULATION_CUDA_FP16_H

#include "emulation_number.h"

using __half = emulation_number<EMULATION_HALF>;
using __half2 = emulation_pair<EMULATION_HALF>;
using half = __half;

inline __half __float2half_rn(float x) {
    return x;
}

inline __half2 __floats2half2_rn(float x, float y) {
    return {x, y};
}

inline float2 __half22float2(__half2 pair) {
    return make_float2(pair.x, pair.y);
}
#endif

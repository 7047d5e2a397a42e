/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: bfloat16.
 */
#ifndef EMULATION_CUDA_BF16_H
#define EMULATION_CUDA_BF16_H

#include "emulation_number.h"

using __nv_bfloat16 = emulation_number<EMULATION_BFLOAT>;
using __nv_bfloat162 = emulation_pair<EMULATION_BFLOAT>;
using nv_bfloat16 = __nv_bfloat16;

inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return {x, y};
}

inline float2 __bfloat1622float2(__nv_bfloat162 pair) {
    return make_float2(pair.x, pair.y);
}
#endif

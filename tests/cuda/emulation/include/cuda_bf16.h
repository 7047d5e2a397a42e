/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: bfloat16.
 */
#ifndef EMULATION_CUDA_BF16_H
#define EMULATION_CUDA_BF16_H

#ifdef __cplusplus
#include "emulation_number.h"

struct emulation_bfloat_format {
    static unsigned short narrow(float value) {
        return emulation_bfloat_from_float(value);
    }
    static float widen(unsigned short bits) {
        return emulation_bfloat_to_float(bits);
    }
};

using __nv_bfloat16 = emulation_number<emulation_bfloat_format>;
using __nv_bfloat162 = emulation_pair<emulation_bfloat_format>;
using nv_bfloat16 = __nv_bfloat16;

inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return {x, y};
}

inline float2 __bfloat1622float2(__nv_bfloat162 pair) {
    return make_float2(pair.x, pair.y);
}
#endif
#endif

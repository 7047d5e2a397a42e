/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: half precision and bfloat16. Arithmetic is float's, for kernels only keep and
 * move numbers of these types.
 */
#ifndef EMULATION_NUMBER_H
#define EMULATION_NUMBER_H

#include "emulation_convert.h"
#include "vector_types.h"

enum emulation_format { EMULATION_HALF, EMULATION_BFLOAT };

template <emulation_format format> struct alignas(2) emulation_number {
    unsigned short emulated;

    emulation_number() = default;
    emulation_number(float value)
        : emulated(format == EMULATION_HALF ? emulation_half_from_float(value)
                                            : emulation_bfloat_from_float(value)) {
    }
    operator float() const {
        return format == EMULATION_HALF ? emulation_half_to_float(emulated)
                                        : emulation_bfloat_to_float(emulated);
    }
};

template <emulation_format format> struct alignas(4) emulation_pair {
    emulation_number<format> x, y;
};

using __half = emulation_number<EMULATION_HALF>;
using __half2 = emulation_pair<EMULATION_HALF>;
using half = __half;
using __nv_bfloat16 = emulation_number<EMULATION_BFLOAT>;
using __nv_bfloat162 = emulation_pair<EMULATION_BFLOAT>;
using nv_bfloat16 = __nv_bfloat16;

inline __half __float2half_rn(float x) {
    return x;
}

inline __half2 __floats2half2_rn(float x, float y) {
    return {x, y};
}

inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return {x, y};
}

inline float2 __half22float2(__half2 pair) {
    return make_float2(pair.x, pair.y);
}

inline float2 __bfloat1622float2(__nv_bfloat162 pair) {
    return make_float2(pair.x, pair.y);
}
#endif

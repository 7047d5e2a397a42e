/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: bfloat16, like cuda_fp16.h.
 */
#ifndef EMULATION_CUDA_BF16_H
#define EMULATION_CUDA_BF16_H

#ifdef __cplusplus
#include "emulation_convert.h"
#include "vector_types.h"

struct __nv_bfloat16_raw {
    unsigned short x;
};

struct alignas(2) __nv_bfloat16 {
    unsigned short emulated;

    __nv_bfloat16() = default;
    __nv_bfloat16(float value) : emulated(emulation_bfloat_from_float(value)) {
    }
    __nv_bfloat16(double value) : __nv_bfloat16(static_cast<float>(value)) {
    }
    __nv_bfloat16(int value) : __nv_bfloat16(static_cast<float>(value)) {
    }
    __nv_bfloat16(const __nv_bfloat16_raw &raw) : emulated(raw.x) {
    }
    operator float() const {
        return emulation_bfloat_to_float(emulated);
    }
    operator __nv_bfloat16_raw() const {
        return __nv_bfloat16_raw{emulated};
    }
};

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;

    __nv_bfloat162() = default;
    __nv_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) : x(x), y(y) {
    }
};

typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

#define EMULATION_NUMBER __nv_bfloat16
#define EMULATION_PAIR __nv_bfloat162
#include "emulation_pairs.h"
#undef EMULATION_NUMBER
#undef EMULATION_PAIR

inline __nv_bfloat16 __float2bfloat16(float x) {
    return __nv_bfloat16(x);
}

inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    return __nv_bfloat16(x);
}

inline float __bfloat162float(__nv_bfloat16 x) {
    return x;
}

inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return __nv_bfloat162(__nv_bfloat16(x), __nv_bfloat16(y));
}

inline __nv_bfloat162 __float2bfloat162_rn(float x) {
    return __nv_bfloat162(__nv_bfloat16(x), __nv_bfloat16(x));
}

inline __nv_bfloat162 __float22bfloat162_rn(float2 x) {
    return __nv_bfloat162(__nv_bfloat16(x.x), __nv_bfloat16(x.y));
}

inline float2 __bfloat1622float2(__nv_bfloat162 x) {
    return make_float2(x.x, x.y);
}

inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 x) {
    return __nv_bfloat162(x, x);
}

inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) {
    return __nv_bfloat162(x, y);
}

inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) {
    return __nv_bfloat162(x, y);
}

inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) {
    return x.emulated;
}

inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) {
    return __nv_bfloat16(__nv_bfloat16_raw{x});
}
#endif
#endif

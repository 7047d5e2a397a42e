/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: half precision. A product or sum of two is made in float and rounded once, which
 * for + - * is what the hardware gives.
 */
#ifndef EMULATION_CUDA_FP16_H
#define EMULATION_CUDA_FP16_H

#ifdef __cplusplus
#include "emulation_convert.h"
#include "vector_types.h"

struct __half_raw {
    unsigned short x;
};

struct alignas(2) __half {
    unsigned short emulated;

    __half() = default;
    __half(float value) : emulated(emulation_half_from_float(value)) {
    }
    __half(double value) : __half(static_cast<float>(value)) {
    }
    __half(int value) : __half(static_cast<float>(value)) {
    }
    __half(const __half_raw &raw) : emulated(raw.x) {
    }
    operator float() const {
        return emulation_half_to_float(emulated);
    }
    operator __half_raw() const {
        return __half_raw{emulated};
    }
};

struct alignas(4) __half2 {
    __half x, y;

    __half2() = default;
    __half2(__half x, __half y) : x(x), y(y) {
    }
};

typedef __half half;
typedef __half2 half2;

#define EMULATION_NUMBER __half
#define EMULATION_PAIR __half2
#include "emulation_pairs.h"
#undef EMULATION_NUMBER
#undef EMULATION_PAIR

inline __half __float2half(float x) {
    return __half(x);
}

inline __half __float2half_rn(float x) {
    return __half(x);
}

inline float __half2float(__half x) {
    return x;
}

inline __half2 __floats2half2_rn(float x, float y) {
    return __half2(__half(x), __half(y));
}

inline __half2 __float2half2_rn(float x) {
    return __half2(__half(x), __half(x));
}

inline __half2 __float22half2_rn(float2 x) {
    return __half2(__half(x.x), __half(x.y));
}

inline float2 __half22float2(__half2 x) {
    return make_float2(x.x, x.y);
}

inline __half2 __half2half2(__half x) {
    return __half2(x, x);
}

inline __half2 __halves2half2(__half x, __half y) {
    return __half2(x, y);
}

inline __half2 make_half2(__half x, __half y) {
    return __half2(x, y);
}

inline unsigned short __half_as_ushort(__half x) {
    return x.emulated;
}

inline __half __ushort_as_half(unsigned short x) {
    return __half(__half_raw{x});
}
#endif
#endif

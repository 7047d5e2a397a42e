/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: CUDA's vector types, with its alignments, so that UBSan sees a misaligned vector
 * access.
 */
#ifndef EMULATION_VECTOR_TYPES_H
#define EMULATION_VECTOR_TYPES_H

typedef struct uint3 {
    unsigned int x, y, z;
} uint3;

typedef struct dim3 {
    unsigned int x, y, z;
#ifdef __cplusplus
    constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {
    }
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {
    }
#endif
} dim3;

#define EMULATION_VECTORS(type, name)                                                              \
    typedef struct name##2 {                                                                       \
        type x, y;                                                                                 \
    }                                                                                              \
    __attribute__((aligned(2 * sizeof(type)))) name##2;                                            \
    typedef struct name##4 {                                                                       \
        type x, y, z, w;                                                                           \
    }                                                                                              \
    __attribute__((aligned(4 * sizeof(type)))) name##4;

EMULATION_VECTORS(float, float)
EMULATION_VECTORS(unsigned int, uint)

#ifdef __cplusplus
#define EMULATION_MAKE(type, name)                                                                 \
    static inline name##2 make_##name##2(type x, type y) {                                         \
        return name##2 {x, y};                                                                     \
    }                                                                                              \
    static inline name##4 make_##name##4(type x, type y, type z, type w) {                         \
        return name##4 {x, y, z, w};                                                               \
    }

EMULATION_MAKE(float, float)
EMULATION_MAKE(unsigned int, uint)
#endif
#endif

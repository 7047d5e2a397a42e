/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: the other half of cuda/gpu.h, the names that cannot be the same under nvcc and a
 * host compiler. The warp's matrix instructions follow the lane layouts of the PTX manual.
 */
#ifndef EMULATION_GPU_H
#define EMULATION_GPU_H

#include "cuda_runtime.h"
#include "emulation_convert.h"

#include <functional>
#include <tuple>
#include <utility>

#define GPU_SM (emulation_sm())

/* A launch converts its arguments to the kernel's parameters at once, as CUDA does. */
struct emulation_kernel {
    const char *name;
    const void *function;
    dim3 grid, block;
    size_t dynamic_shared;
    std::function<void()> body; /* what each thread runs */
};

/* Checks the configuration and queues it; an error comes from cudaGetLastError. */
void emulation_launch_kernel(emulation_kernel kernel, cudaStream_t stream);

template <typename... P, typename... A>
void emulation_launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block,
                      size_t dynamic_shared, cudaStream_t stream, A &&...arguments) {
    static_assert(sizeof...(P) == sizeof...(A), "a kernel gets as many arguments as it has");
    std::tuple<P...> given(static_cast<P>(std::forward<A>(arguments))...);
    emulation_launch_kernel({name, reinterpret_cast<const void *>(kernel), grid, block,
                             dynamic_shared, [kernel, given]() { std::apply(kernel, given); }},
                            stream);
}

/* Queues a kernel; `kernel` may be a template's instance, in parentheses. */
#define LAUNCH(kernel, grid, block, dynamic_shared_bytes, stream, ...)                             \
    emulation_launch(#kernel, kernel, grid, block, dynamic_shared_bytes, stream, ##__VA_ARGS__)

#define SHARED_ARRAY(type, name, count)                                                            \
    static const char name##_site = 0;                                                             \
    type(&name)[count] = *static_cast<type(*)[count]>(                                             \
        emulation_shared_array(&name##_site, sizeof(type) * (count), __FILE__, __LINE__))

#define DYNAMIC_SHARED(type, name)                                                                 \
    type *const name = static_cast<type *>(emulation_shared_dynamic())

inline const struct emulation_payload *emulation_rows(const char *name, const void *shared,
                                                      const char *file, int line) {
    emulation_require(750, name, file, line);
    emulation_shared_check(shared, 16, 16, name, file, line);
    struct emulation_payload own = {};
    own.pointer = shared;
    return emulation_warp_exchange(name, &own, file, line);
}

/* Value (row, column) of one of the 8 x 8 matrices; lane 8 i + j gave row j of matrix i. Read by
 * whoever wants it, so that a missing barrier is seen. */
inline uint16_t emulation_value(const struct emulation_payload *given, int matrix, int row,
                                int column) {
    return static_cast<const uint16_t *>(given[8 * matrix + row].pointer)[column];
}

/* Lane l gets of each matrix row l/4, columns 2 (l%4) and the next. */
inline void gpu_ldmatrix_x4(uint32_t r[4], const void *shared, EMULATION_HERE) {
    const struct emulation_payload *given = emulation_rows("ldmatrix", shared, file, line);
    int row = emulation_lane() / 4, column = 2 * (emulation_lane() % 4);
    for (int i = 0; i < 4; i++)
        r[i] = emulation_value(given, i, row, column) |
               static_cast<uint32_t>(emulation_value(given, i, row, column + 1)) << 16;
}

/* Rows 2 (l%4) and the next, column l/4. */
inline void gpu_ldmatrix_x4_trans(uint32_t r[4], const void *shared, EMULATION_HERE) {
    const struct emulation_payload *given = emulation_rows("ldmatrix.trans", shared, file, line);
    int row = 2 * (emulation_lane() % 4), column = emulation_lane() / 4;
    for (int i = 0; i < 4; i++)
        r[i] = emulation_value(given, i, row, column) |
               static_cast<uint32_t>(emulation_value(given, i, row + 1, column)) << 16;
}

/* What lane l (group g = l/4, t = l%4) gives of a: a0 a1 = (g, 2t ..), a2 a3 = (g+8, 2t ..),
 * a4 a5 = (g, 2t+8 ..), a6 a7 = (g+8, 2t+8 ..); of b: b0 b1 = (2t .., g), b2 b3 = (2t+8 .., g);
 * and of d: d0 d1 = (g, 2t ..), d2 d3 = (g+8, 2t ..). */
inline void emulation_mma_m16n8k16(float d[4], const uint32_t a[4], const uint32_t b[2],
                                   float (*widen)(unsigned short), const char *name,
                                   const char *file, int line) {
    emulation_require(800, name, file, line);
    struct emulation_payload own = {};
    for (int i = 0; i < 8; i++)
        own.values[i] = widen(static_cast<unsigned short>(a[i / 2] >> 16 * (i % 2)));
    for (int i = 0; i < 4; i++)
        own.values[8 + i] = widen(static_cast<unsigned short>(b[i / 2] >> 16 * (i % 2)));
    const struct emulation_payload *given = emulation_warp_exchange(name, &own, file, line);
    float sums[4];
    emulation_product_m16n8(sums, given, emulation_lane());
    for (int i = 0; i < 4; i++)
        d[i] += sums[i];
}

inline void gpu_mma_m16n8k16_f16(float d[4], const uint32_t a[4], const uint32_t b[2],
                                 EMULATION_HERE) {
    emulation_mma_m16n8k16(d, a, b, emulation_half_to_float, "mma.m16n8k16 (f16)", file, line);
}

inline void gpu_mma_m16n8k16_bf16(float d[4], const uint32_t a[4], const uint32_t b[2],
                                  EMULATION_HERE) {
    emulation_mma_m16n8k16(d, a, b, emulation_bfloat_to_float, "mma.m16n8k16 (bf16)", file, line);
}

/* cp.async: happens as late as the waits allow; zeros when not valid. */
inline void gpu_copy_async_16(void *shared, const void *global, bool valid, EMULATION_HERE) {
    emulation_require(800, "cp.async", file, line);
    emulation_copy_async(shared, valid ? global : nullptr, file, line);
    std::memset(shared, 0xFF, 16); /* whoever reads too early, or still reads, shall be seen */
}

inline void gpu_copy_async_commit() {
    emulation_copy_commit();
}

template <int N> inline void gpu_copy_async_wait() {
    emulation_copy_wait(N);
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: nvcuda::wmma for 16 x 16 x 16. A fragment's elements are spread over the lanes in
 * an order that is not any hardware's, so that code which assumes a mapping fails. Loads and stores
 * touch memory lane by lane: whoever else wrote it must have been waited for.
 */
#ifndef EMULATION_MMA_H
#define EMULATION_MMA_H

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

#include <type_traits>

namespace nvcuda {
namespace wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

template <typename Use, int M, int N, int K, typename T, typename Layout = void> struct fragment {
    static_assert(M == 16 && N == 16 && K == 16, "only 16 x 16 x 16 is emulated");
    static constexpr int num_elements = 8;
    T x[num_elements];
};

template <typename T> inline T *emulation_element(T *p, unsigned ld, int place, bool by_rows) {
    unsigned row = static_cast<unsigned>(place) / 16, column = static_cast<unsigned>(place) % 16;
    return p + (by_rows ? row * ld + column : column * ld + row);
}

template <typename Fragment, typename T> inline void fill_fragment(Fragment &f, const T &value) {
    for (int i = 0; i < f.num_elements; i++)
        f.x[i] = value;
}

template <typename Fragment, typename T>
inline void emulation_load(Fragment &f, const T *p, unsigned ld, bool by_rows, const char *file,
                           int line) {
    if (std::is_same_v<T, __nv_bfloat16>)
        emulation_require(800, "wmma with bfloat16", file, line);
    emulation_matrix_meet(p, ld * sizeof(T), "wmma load", file, line);
    for (int i = 0; i < f.num_elements; i++)
        f.x[i] = *emulation_element(p, ld, emulation_place(emulation_lane(), i), by_rows);
}

template <typename Use, typename T, typename Layout>
inline void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout> &f, const T *p, unsigned ld,
                             EMULATION_HERE) {
    emulation_load(f, p, ld, std::is_same_v<Layout, row_major>, file, line);
}

template <typename T>
inline void load_matrix_sync(fragment<accumulator, 16, 16, 16, T> &f, const T *p, unsigned ld,
                             layout_t layout, EMULATION_HERE) {
    emulation_load(f, p, ld, layout == mem_row_major, file, line);
}

template <typename T>
inline void store_matrix_sync(T *p, const fragment<accumulator, 16, 16, 16, T> &f, unsigned ld,
                              layout_t layout, EMULATION_HERE) {
    emulation_matrix_meet(p, ld * sizeof(T), "wmma store", file, line);
    for (int i = 0; i < f.num_elements; i++)
        *emulation_element(p, ld, emulation_place(emulation_lane(), i), layout == mem_row_major) =
            f.x[i];
}

template <typename T, typename LayoutA, typename LayoutB>
inline void mma_sync(fragment<accumulator, 16, 16, 16, float> &d,
                     const fragment<matrix_a, 16, 16, 16, T, LayoutA> &a,
                     const fragment<matrix_b, 16, 16, 16, T, LayoutB> &b,
                     const fragment<accumulator, 16, 16, 16, float> &c, EMULATION_HERE) {
    struct emulation_payload own;
    for (int i = 0; i < 8; i++) {
        own.values[i] = a.x[i];
        own.values[8 + i] = b.x[i];
    }
    const struct emulation_payload *given = emulation_warp_exchange("mma_sync", &own, file, line);
    float sums[8];
    emulation_product_m16n16(sums, given, emulation_lane());
    for (int i = 0; i < 8; i++)
        d.x[i] = c.x[i] + sums[i];
}

} // namespace wmma
} // namespace nvcuda
#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * These programs have bugs around tensor cores and asynchronous copies.
 */
#include "planted.h"

#include "emulation.h"
#include "mma.h"

namespace {

using namespace nvcuda;

/* c = a b: a [16][16] by rows, b [columns][16] by columns, c [16][columns]. Small whole numbers, so
 * that products and sums are exact. */
struct product {
    explicit product(int columns) : columns(columns), b(16 * columns), c(16 * columns) {
        fill(a, 9);
        fill(b, 7);
    }

    static void fill(both<half> &matrix, int period) {
        for (size_t i = 0; i < matrix.bytes / sizeof(half); i++)
            matrix.host[i] = static_cast<float>(static_cast<int>(i) * 5 % period - period / 2);
    }

    /* Lets a warp make c from a and from what it is given for b. */
    template <typename Kernel, typename Defect>
    void run(Kernel kernel, const both<half> &given, Defect defect) {
        queue stream;
        a.up(stream);
        given.up(stream);
        LAUNCH(kernel, 1, 32, 0, stream, a.device, given.device, c.device, defect);
        c.down(stream);
        stream.wait();
    }

    float truth(int i, int j) const {
        float sum = 0.0f;
        for (int k = 0; k < 16; k++)
            sum += float(a.host[16 * i + k]) * float(b.host[16 * j + k]);
        return sum;
    }

    bool is_right() const {
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < columns; j++)
                if (c.host[columns * i + j] != truth(i, j))
                    return false;
        return true;
    }

    int columns;
    both<half> a{16 * 16}, b;
    both<float> c;
};

/* Copies [rows][16] into shared memory, a lane 16 bytes at a time. */
template <int rows> inline void copy_rows(half *to, const half *from) {
    for (int i = static_cast<int>(threadIdx.x); i < 2 * rows; i += 32)
        gpu_copy_async_16(to + 8 * i, from + 8 * i, true);
    gpu_copy_async_commit();
}

/* d to 8 columns of c[16][columns], by the layout that gpu_mma_m16n8k16 has. */
inline void store_tile(const float d[4], float *c, int columns) {
    int lane = static_cast<int>(threadIdx.x);
    for (int i = 0; i < 4; i++)
        c[(lane / 4 + 8 * (i / 2)) * columns + 2 * (lane % 4) + i % 2] = d[i];
}

enum defect { NONE, NO_WAIT, NO_BARRIER, UNALIGNED, OUTSIDE, ROWS_MIXED };

__global__ void mma_tile(const half *a, const half *b, float *c, int defect) {
    SHARED_ARRAY(half, tile_a, 16 * 16);
    SHARED_ARRAY(half, tile_b, 8 * 16);
    int lane = static_cast<int>(threadIdx.x);
    copy_rows<16>(tile_a, a);
    copy_rows<8>(tile_b, b);
    if (defect == NO_WAIT)
        gpu_copy_async_wait<1>();
    else
        gpu_copy_async_wait<0>();
    if (defect != NO_BARRIER)
        __syncwarp();
    int shift = defect == UNALIGNED ? 4 : defect == OUTSIDE ? 16 * 16 : 0;
    int row = defect == ROWS_MIXED ? lane / 2 : lane % 16;
    int part = defect == ROWS_MIXED ? lane % 2 : lane / 16;
    uint32_t fragment_a[4], fragment_b[4];
    gpu_ldmatrix_x4(fragment_a, &tile_a[16 * row + 8 * part] + shift);
    gpu_ldmatrix_x4(fragment_b, &tile_b[16 * (lane % 8) + 8 * (lane / 8 % 2)]);
    float d[4] = {};
    gpu_mma_m16n8k16_f16(d, fragment_a, fragment_b);
    store_tile(d, c, 8);
}

template <int defect> bool mma_product(bool broken) {
    product product(8);
    product.run(mma_tile, product.b, broken ? defect : NONE);
    return product.is_right();
}

/* The transpose of 8 x 8 pieces: what a kernel needs that has b by rows. */
__global__ void mma_transposed(const half *a, const half *b_rows, float *c, bool broken) {
    SHARED_ARRAY(half, tile, 16 * 16);
    int lane = static_cast<int>(threadIdx.x), group = lane / 4, pair = 2 * (lane % 4);
    copy_rows<16>(tile, b_rows);
    gpu_copy_async_wait<0>();
    __syncwarp();
    /* Here a comes straight from memory, as the manual says where the values of each lane lie. */
    uint32_t fragment_a[4], fragment_b[4];
    for (int i = 0; i < 4; i++) {
        const half *from = a + 16 * (group + 8 * (i % 2)) + pair + 8 * (i / 2);
        std::memcpy(&fragment_a[i], from, 4);
    }
    const half *address = &tile[16 * (lane % 16) + 8 * (lane / 16)];
    if (broken)
        gpu_ldmatrix_x4(fragment_b, address);
    else
        gpu_ldmatrix_x4_trans(fragment_b, address);
    for (int side = 0; side < 2; side++) {
        float d[4] = {};
        gpu_mma_m16n8k16_f16(d, fragment_a, fragment_b + 2 * side);
        store_tile(d, c + 8 * side, 16);
    }
}

bool transpose_missing(bool broken) {
    product product(16);
    both<half> b_rows(16 * 16);
    for (int i = 0; i < 256; i++)
        b_rows.host[i] = product.b.host[16 * (i % 16) + i / 16];
    product.run(mma_transposed, b_rows, broken);
    return product.is_right();
}

using sums = wmma::fragment<wmma::accumulator, 16, 16, 16, float>;

inline void wmma_product(sums &sum, const half *a, const half *b) {
    wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> fragment_a;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::col_major> fragment_b;
    wmma::fill_fragment(sum, 0.0f);
    wmma::load_matrix_sync(fragment_a, a, 16);
    wmma::load_matrix_sync(fragment_b, b, 16);
    wmma::mma_sync(sum, fragment_a, fragment_b, sum);
}

/* Broken, it takes element i of lane l for row l/4 as an m16n8k16 accumulator has it. */
__global__ void wmma_rows(const half *a, const half *b, float *c, bool broken) {
    sums sum, rows;
    SHARED_ARRAY(float, numbers, 256);
    for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32)
        numbers[i] = static_cast<float>(i / 16);
    __syncwarp();
    wmma::load_matrix_sync(rows, numbers, 16, wmma::mem_row_major);
    wmma_product(sum, a, b);
    for (int i = 0; i < sum.num_elements; i++) {
        int assumed = static_cast<int>(threadIdx.x) / 4 + 8 * (i / 2 % 2);
        if ((broken ? assumed : static_cast<int>(rows.x[i])) == 3)
            sum.x[i] = -1000.0f;
    }
    wmma::store_matrix_sync(c, sum, 16, wmma::mem_row_major);
}

bool mapping_assumed(bool broken) {
    product product(16);
    product.run(wmma_rows, product.b, broken);
    for (int j = 0; j < 16; j++) {
        float &spoilt = product.c.host[3 * 16 + j];
        if (spoilt != -1000.0f)
            return false;
        spoilt = product.truth(3, j);
    }
    return product.is_right();
}

/* One lane stores what the others load as a fragment. */
__global__ void wmma_shared(const half *a, const half *b, float *c, bool broken) {
    sums sum;
    SHARED_ARRAY(half, tile, 256);
    for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32)
        tile[i] = a[i];
    if (!broken)
        __syncwarp();
    wmma_product(sum, tile, b);
    wmma::store_matrix_sync(c, sum, 16, wmma::mem_row_major);
}

bool fragment_unordered(bool broken) {
    product product(16);
    product.run(wmma_shared, product.b, broken);
    return product.is_right();
}

bool device_too_old(bool broken) {
    emulation_set_device(0, broken ? 70 : 80, 0, nullptr);
    return mma_product<NONE>(broken);
}

} // namespace

const std::vector<planted> planted_tensors = {
    {"cp.async not waited for", mma_product<NO_WAIT>, EVERYWHERE(WRONG)},
    {"cp.async without a barrier", mma_product<NO_BARRIER>, {NULL, NULL, RACE}},
    {"ldmatrix not aligned", mma_product<UNALIGNED>, EVERYWHERE("not aligned to 16")},
    {"ldmatrix outside", mma_product<OUTSIDE>, EVERYWHERE("not within shared memory")},
    {"ldmatrix of the wrong rows", mma_product<ROWS_MIXED>, EVERYWHERE(WRONG)},
    {"ldmatrix not transposed", transpose_missing, EVERYWHERE(WRONG)},
    {"wmma mapping assumed", mapping_assumed, EVERYWHERE(WRONG)},
    {"__syncwarp missing before a wmma load", fragment_unordered, {NULL, NULL, RACE}},
    {"instruction that the device lacks", device_too_old, EVERYWHERE("needs sm_80")},
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * What kernels are written with: launches, shared memory, and the instructions that CUDA C++ has no
 * name for. It is the only file that knows whether nvcc compiles for a GPU, or a host compiler for
 * the emulation of one (tests/cuda), whose gpu_emulation.h defines the same names.
 */
#ifndef ESM1NV_CUDA_GPU_H
#define ESM1NV_CUDA_GPU_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <mma.h>

#include <math.h>
#include <stdint.h>

#define GPU_LANES 32u

#ifdef GPU_EMULATION

#include "gpu_emulation.h"
#define GPU_HAS_MMA 1

static inline float gpu_exp2(float x) {
    return exp2f(x);
}

#else

/* May be defined from outside, to compile the code of an older architecture for a newer one. */
#ifndef GPU_SM
#ifdef __CUDA_ARCH__
#define GPU_SM __CUDA_ARCH__
#else
#define GPU_SM 900
#endif
#endif

/* Whether this architecture has mma.m16n8k16, cp.async and bf16. */
#if GPU_SM >= 800
#define GPU_HAS_MMA 1
#else
#define GPU_HAS_MMA 0
#endif

#define LAUNCH(kernel, grid, block, dynamic_shared_bytes, stream, ...)                             \
    kernel<<<grid, block, dynamic_shared_bytes, stream>>>(__VA_ARGS__)
#define SHARED_ARRAY(type, name, count) __shared__ __align__(128) type name[count]

/* 2^x, with an error of about 2 ulp. Results below the smallest normal number are 0. */
static __device__ __forceinline__ float gpu_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#if GPU_HAS_MMA

static __device__ __forceinline__ uint32_t gpu_shared_address(const void *shared) {
    return (uint32_t)__cvta_generic_to_shared(shared);
}

/* Loads four 8x8 matrices of 16-bit values. Lane 8 i + j passes the address of row j of matrix i.
 * Each lane receives in r[i], of row lane / 4 of matrix i, value 2 (lane % 4) and the next. */
static __device__ __forceinline__ void gpu_ldmatrix_x4(uint32_t r[4], const void *shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gpu_shared_address(shared))
                 : "memory");
}

/* The same, but transposes each matrix. */
static __device__ __forceinline__ void gpu_ldmatrix_x4_trans(uint32_t r[4], const void *shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gpu_shared_address(shared))
                 : "memory");
}

/* d += a b. Lane l = 4 g + t holds of a: rows g, g + 8, g, g + 8 at columns 2t, 2t, 2t + 8, 2t + 8
 * (and the next); of b: rows 2t and 2t + 8 (and the next) at column g; of d: row g at columns 2t
 * and the next, then row g + 8. */
static __device__ __forceinline__ void gpu_mma_m16n8k16_f16(float d[4], const uint32_t a[4],
                                                            const uint32_t b[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ void gpu_mma_m16n8k16_bf16(float d[4], const uint32_t a[4],
                                                             const uint32_t b[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Starts to copy 16 aligned bytes, or zeros when the source is not valid. */
static __device__ __forceinline__ void gpu_copy_async_16(void *shared, const void *global,
                                                         bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(gpu_shared_address(shared)), "l"(__cvta_generic_to_global(global)),
                   "r"(valid ? 16 : 0)
                 : "memory");
}

static __device__ __forceinline__ void gpu_copy_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most `pending` of the groups that this thread committed are unfinished. */
template <int pending> static __device__ __forceinline__ void gpu_copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

#endif
#endif
#endif

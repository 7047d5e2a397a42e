/* SPDX-License-Identifier: Apache-2.0
 *
 * What the emulation's parts share. One lock guards all of it: whoever waits for a stream runs its
 * work meanwhile, kernels included, and holds the lock through each piece. The files in C are
 * never instrumented, for they stand for the hardware.
 */
#ifndef EMULATION_CORE_H
#define EMULATION_CORE_H

#include "emulation.h"
#include "include/cuda_runtime_api.h"
#include "include/emulation_seam.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Ends the program with "emulation: MESSAGE" on stderr and exit status EMULATION_EXIT. */
void emulation_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* --- block.c --------------------------------------------------------------------------------- */

struct kernel_run {
    const char *name;
    dim3 grid, block;
    size_t dynamic_shared;
    size_t most_shared; /* static and dynamic together */
    int sm;
    enum emulation_order order;
    void (*body)(void *user);
    void *user;
};

/* Runs all blocks, one after the other. */
void emulation_run(const struct kernel_run *run);

/* --- shared.c -------------------------------------------------------------------------------- */

void shared_prepare(size_t dynamic_bytes, size_t most_bytes); /* before a kernel */
void shared_begin(void);                                      /* before each block: all is NaN */
void shared_end(const char *kernel); /* after each: nobody may have written past an array */

/* --- memory.cc ------------------------------------------------------------------------------- */

/* Tells whether the bytes from p on lie in one allocation that device code may read. */
bool memory_on_device(const void *p, size_t bytes);

/* --- gemm.c ---------------------------------------------------------------------------------- */

/* A matrix in columns: element (i, j) is at i + ld j, or at j + ld i when it is transposed. */
struct gemm_matrix {
    void *data;
    cudaDataType_t type;
    size_t ld;
    bool transposed;
};

/* d = gelu(alpha a b + beta c + bias), m x n. Each sum runs over k in order, in pieces of `piece`
 * that are added up. bias [m] and gelu may be missing. */
struct gemm {
    struct gemm_matrix a, b, c, d;
    size_t m, n, k, piece;
    float alpha, beta;
    const void *bias;
    cudaDataType_t bias_type;
    bool gelu;
};

void emulation_gemm(const struct gemm *gemm);

#ifdef __cplusplus
}
#endif
#endif

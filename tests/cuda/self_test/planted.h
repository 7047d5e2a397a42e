/* SPDX-License-Identifier: Apache-2.0
 *
 * Small programs, each of which can be run whole or with one bug planted, and what they are made
 * with. A program returns whether its result is right; the test is that a bug spoils the result, or
 * that something else notices the bug.
 */
#ifndef EMULATION_PLANTED_H
#define EMULATION_PLANTED_H

#include "cublasLt.h"
#include "gpu_emulation.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

#define WRONG "wrong result"
#define RACE "data race"
#define POISON "use-after-poison"
#define EVERYWHERE(text)                                                                           \
    { text, text, text }

struct planted {
    const char *name;
    std::function<bool(bool broken)> run;
    /* This is what the broken program says in a plain build, under ASan and under TSan; NULL: such
     * a build sees nothing. */
    const char *says[3];
};

extern const std::vector<planted> planted_kernels; /* planted_kernels.cc */
extern const std::vector<planted> planted_tensors; /* planted_tensors.cc */
extern const std::vector<planted> planted_hosts;   /* planted_hosts.cc */

/* These end the program with status 2 unless a call succeeded. */
inline void must(cudaError_t code) {
    if (code == cudaSuccess)
        return;
    fprintf(stderr, "planted: %s\n", cudaGetErrorName(code));
    exit(2);
}

inline void must(cublasStatus_t status) {
    must(status == CUBLAS_STATUS_SUCCESS ? cudaSuccess : cudaErrorUnknown);
}

/* A matrix or vector on the device with a pinned copy on the host, for the time of a scope. */
template <typename T> class both {
  public:
    explicit both(size_t count) : bytes(count * sizeof(T)) {
        must(cudaMalloc(&device, bytes));
        must(cudaHostAlloc(&host, bytes, cudaHostAllocDefault));
    }
    ~both() {
        must(cudaFree(device));
        must(cudaFreeHost(host));
    }
    both(const both &) = delete;
    both &operator=(const both &) = delete;

    void up(cudaStream_t stream) const {
        must(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream));
    }
    void down(cudaStream_t stream) {
        must(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream));
    }

    size_t bytes;
    T *device = nullptr, *host = nullptr;
};

/* A handle of CUDA's for the time of a scope, by the function that destroys it. */
template <typename Handle, auto destroy> class scoped {
  public:
    ~scoped() {
        must(destroy(handle));
    }
    scoped(const scoped &) = delete;
    scoped &operator=(const scoped &) = delete;
    operator Handle() const {
        return handle;
    }

  protected:
    scoped() = default;
    Handle handle;
};

struct queue : scoped<cudaStream_t, cudaStreamDestroy> {
    queue() {
        must(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking));
    }
    void wait() {
        must(cudaGetLastError());
        must(cudaStreamSynchronize(handle));
    }
};

struct library : scoped<cublasLtHandle_t, cublasLtDestroy> {
    library() {
        must(cublasLtCreate(&handle));
    }
};

struct layout : scoped<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> {
    layout(cudaDataType_t type, int rows, int columns, int ld) {
        must(cublasLtMatrixLayoutCreate(&handle, type, uint64_t(rows), uint64_t(columns), ld));
    }
};

/* D = epilogue(op(A) op(B)), in float. */
struct matmul : scoped<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> {
    matmul(cublasOperation_t a, cublasOperation_t b, cublasLtEpilogue_t epilogue,
           const void *bias) {
        must(cublasLtMatmulDescCreate(&handle, CUBLAS_COMPUTE_32F, CUDA_R_32F));
        set(CUBLASLT_MATMUL_DESC_TRANSA, a);
        set(CUBLASLT_MATMUL_DESC_TRANSB, b);
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
        set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    }

  private:
    template <typename T> void set(cublasLtMatmulDescAttributes_t attribute, const T &value) {
        must(cublasLtMatmulDescSetAttribute(handle, attribute, &value, sizeof value));
    }
};

#endif

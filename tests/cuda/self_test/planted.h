/* SPDX-License-Identifier: Apache-2.0
 *
 * Small programs, each of which can be run whole or with one bug planted. A program returns whether
 * its result is right; that a bug spoils it, or that something else notices it, is the test.
 */
#ifndef EMULATION_PLANTED_H
#define EMULATION_PLANTED_H

#include "gpu_emulation.h"

#include <vector>

struct planted {
    const char *name;
    bool (*run)(bool broken);
};

extern const std::vector<planted> planted_kernels; /* planted_kernels.cc */
extern const std::vector<planted> planted_tensors; /* planted_tensors.cc */
extern const std::vector<planted> planted_hosts;   /* planted_hosts.cc */

/* Ends the program unless a call of CUDA succeeded. */
void must(cudaError_t code);

/* A matrix or vector on the device with a pinned copy on the host, for the time of a scope. */
template <typename T> class both {
  public:
    explicit both(size_t count) : bytes(count * sizeof(T)) {
        must(cudaMalloc(&device, bytes));
        must(cudaMallocHost(&host, bytes));
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

/* A stream for the time of a scope. */
class queue {
  public:
    queue() {
        must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    }
    ~queue() {
        must(cudaStreamDestroy(stream));
    }
    queue(const queue &) = delete;
    queue &operator=(const queue &) = delete;
    void wait() {
        must(cudaGetLastError());
        must(cudaStreamSynchronize(stream));
    }
    operator cudaStream_t() const {
        return stream;
    }

  private:
    cudaStream_t stream;
};

#endif

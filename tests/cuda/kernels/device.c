/* SPDX-License-Identifier: Apache-2.0
 *
 * See device.h. Pieces are kept in a short list.
 */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 256u
#define PIECES 32u

static struct {
    cudaStream_t stream;
    struct {
        unsigned char *device, *host; /* host: what was read, or NULL */
        size_t size;
    } pieces[PIECES];
    unsigned count;
} state;

static void must(cudaError_t error, const char *what) {
    if (error == cudaSuccess)
        return;
    printf("Bail out! %s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

void device_check(cudaError_t error, const char *what) {
    must(error, what);
}

int device_count(void) {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

cudaStream_t device_stream(void) {
    if (!state.stream)
        must(cudaStreamCreateWithFlags(&state.stream, cudaStreamNonBlocking), "stream");
    return state.stream;
}

void *device_new(const void *data, size_t size) {
    if (state.count == PIECES) {
        printf("Bail out! more than %u pieces of device memory\n", PIECES);
        exit(1);
    }
    void *piece;
    must(cudaMalloc(&piece, size + GUARD), "cudaMalloc");
    must(cudaMemset(piece, DEVICE_PATTERN, size + GUARD), "cudaMemset");
    if (data && size)
        must(cudaMemcpy(piece, data, size, cudaMemcpyHostToDevice), "cudaMemcpy");
    must(cudaDeviceSynchronize(), "cudaMemset");
    state.pieces[state.count].device = piece;
    state.pieces[state.count].size = size;
    state.pieces[state.count++].host = NULL;
    return piece;
}

void *device_read(const void *piece) {
    unsigned i = 0;
    while (i < state.count && state.pieces[i].device != piece)
        i++;
    size_t size = state.pieces[i].size;
    must(cudaStreamSynchronize(device_stream()), "kernel");
    free(state.pieces[i].host);
    unsigned char *host = state.pieces[i].host = malloc(size + GUARD);
    if (!host)
        exit(1);
    must(cudaMemcpy(host, piece, size + GUARD, cudaMemcpyDeviceToHost), "cudaMemcpy");
    for (unsigned k = 0; k < GUARD; k++)
        if (host[size + k] != DEVICE_PATTERN) {
            printf("Bail out! a kernel wrote %u bytes behind its memory\n", k);
            exit(1);
        }
    return host;
}

void device_end(void) {
    for (unsigned i = 0; i < state.count; i++) {
        must(cudaFree(state.pieces[i].device), "cudaFree");
        free(state.pieces[i].host);
    }
    state.count = 0;
    if (state.stream)
        must(cudaStreamDestroy(state.stream), "stream");
    state.stream = NULL;
}

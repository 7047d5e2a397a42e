/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: the part of the CUDA runtime's C interface that the backend and its tests use, as
 * CUDA 11.8 to 13 agree on it. Names and numbers are the runtime's; what stands behind them is in
 * this folder's parent.
 */
#ifndef EMULATION_CUDA_RUNTIME_API_H
#define EMULATION_CUDA_RUNTIME_API_H

#include "vector_types.h"

#include <stddef.h>
#include <stdint.h>

#define CUDART_VERSION 12040

#ifdef __cplusplus
extern "C" {
#define EMULATION_DEFAULT(value) = value
#else
#define EMULATION_DEFAULT(value)
#endif

/* ROW(name, number, text) */
#define EMULATION_ERRORS(ROW)                                                                      \
    ROW(cudaSuccess, 0, "no error")                                                                \
    ROW(cudaErrorInvalidValue, 1, "invalid argument")                                              \
    ROW(cudaErrorMemoryAllocation, 2, "out of memory")                                             \
    ROW(cudaErrorInvalidConfiguration, 9, "invalid configuration")                                 \
    ROW(cudaErrorStubLibrary, 34, "the driver is a stub library")                                  \
    ROW(cudaErrorInsufficientDriver, 35, "the driver is too old or missing")                       \
    ROW(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                              \
    ROW(cudaErrorInvalidDevice, 101, "invalid device ordinal")                                     \
    ROW(cudaErrorNoKernelImageForDevice, 209, "no kernel image for the device")                    \
    ROW(cudaErrorECCUncorrectable, 214, "uncorrectable ECC error")                                 \
    ROW(cudaErrorInvalidResourceHandle, 400, "invalid handle")                                     \
    ROW(cudaErrorIllegalState, 401, "an illegal state")                                            \
    ROW(cudaErrorNotReady, 600, "device not ready")                                                \
    ROW(cudaErrorIllegalAddress, 700, "an illegal memory access")                                  \
    ROW(cudaErrorLaunchTimeout, 702, "the launch timed out")                                       \
    ROW(cudaErrorIllegalInstruction, 715, "an illegal instruction")                                \
    ROW(cudaErrorLaunchFailure, 719, "unspecified launch failure")                                 \
    ROW(cudaErrorNotSupported, 801, "operation not supported")                                     \
    ROW(cudaErrorStreamCaptureUnsupported, 900, "not permitted when stream is capturing")          \
    ROW(cudaErrorStreamCaptureUnmatched, 903, "the capture began on another stream")               \
    ROW(cudaErrorStreamCaptureUnjoined, 904, "work of the capture was not joined")                 \
    ROW(cudaErrorStreamCaptureIsolation, 905, "dependency on uncaptured work")                     \
    ROW(cudaErrorCapturedEvent, 907, "the event is of a capture")                                  \
    ROW(cudaErrorStreamCaptureWrongThread, 908, "the capture began in another thread")             \
    ROW(cudaErrorUnknown, 999, "unknown error")

#define EMULATION_ERROR(name, number, text) name = number,
typedef enum cudaError { EMULATION_ERRORS(EMULATION_ERROR) } cudaError_t;

typedef enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_16F = 2, CUDA_R_16BF = 14 } cudaDataType_t;

typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;

/* --- Errors ---------------------------------------------------------------------------------- */

cudaError_t cudaGetLastError(void);
const char *cudaGetErrorName(cudaError_t error);
const char *cudaGetErrorString(cudaError_t error);

/* --- Devices --------------------------------------------------------------------------------- */

enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76
};

struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount;
};

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device);
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaDeviceReset(void);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);

/* --- Memory ---------------------------------------------------------------------------------- */

enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };

#define cudaHostAllocDefault 0x00

cudaError_t cudaMalloc(void **pointer, size_t bytes);
cudaError_t cudaFree(void *pointer);
cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned int flags);
cudaError_t cudaFreeHost(void *pointer);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream EMULATION_DEFAULT(NULL));
cudaError_t cudaMemset(void *to, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes,
                            cudaStream_t stream EMULATION_DEFAULT(NULL));

/* --- Streams and events ---------------------------------------------------------------------- */

#define cudaStreamNonBlocking 0x01
#define cudaEventDefault 0x00
#define cudaEventBlockingSync 0x01
#define cudaEventDisableTiming 0x02

enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event,
                                unsigned int flags EMULATION_DEFAULT(0));
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream EMULATION_DEFAULT(NULL));
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end);

/* --- Graphs ---------------------------------------------------------------------------------- */

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);

/* --- Kernels --------------------------------------------------------------------------------- */

enum cudaSharedCarveout { cudaSharedmemCarveoutMaxShared = 100 };

enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9
};

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value);

#ifdef __cplusplus
}
#endif
#endif

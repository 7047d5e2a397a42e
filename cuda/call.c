/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns the result of a call of CUDA or cuBLASLt into 0, or -1 with an error that names the
 * function.
 */
#include "cuda/call.h"

#include <sysexits.h>

int cuda_result(cudaError_t code, const char *function, struct error *error) {
    if (code == cudaSuccess)
        return 0;
    cudaGetLastError(); /* clears it, or a later launch would seem to have failed */
    if (code == cudaErrorNoKernelImageForDevice)
        return error_set(error, EX_CONFIG,
                         "%s: %s: this build has no code for such a GPU; build with a CUDA toolkit "
                         "that knows it",
                         function, cudaGetErrorName(code));
    return error_set(error, EX_SOFTWARE, "%s: %s (%s)", function, cudaGetErrorName(code),
                     cudaGetErrorString(code));
}

int lt_result(cublasStatus_t code, const char *function, struct error *error) {
    if (code == CUBLAS_STATUS_SUCCESS)
        return 0;
    return error_set(error, EX_SOFTWARE, "%s: %s", function, cublasLtGetStatusName(code));
}

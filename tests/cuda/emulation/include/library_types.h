/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: the number types that cuBLAS names.
 */
#ifndef EMULATION_LIBRARY_TYPES_H
#define EMULATION_LIBRARY_TYPES_H

typedef enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_16F = 2, CUDA_R_16BF = 14 } cudaDataType_t;

#endif

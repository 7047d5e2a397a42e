/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds the kernels of simd.h for AVX-512 (F, BW, DQ, VL). bf16 is widened to float in registers.
 */
#include "daemon/cpu/vector_avx512.h"

#define KERNELS_TABLE kernels_avx512
#define KERNELS_NAME "avx512"
#include "daemon/cpu/simd.h"

/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds the kernels of simd.h for AVX2 with FMA. bf16 is widened to float in registers.
 */
#include "daemon/cpu/vector_avx2.h"

#define KERNELS_TABLE kernels_avx2
#define KERNELS_NAME "avx2"
#include "daemon/cpu/simd.h"

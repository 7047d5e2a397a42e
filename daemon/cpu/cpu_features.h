/* SPDX-License-Identifier: Apache-2.0
 *
 * Which instruction sets this machine (CPU and operating system) has, which kernels to run, and on
 * how many cores.
 */
#ifndef ESM1NV_CPU_FEATURES_H
#define ESM1NV_CPU_FEATURES_H

#include "daemon/cpu/kernels.h"

enum instruction_set { SET_GENERIC, SET_AVX2, SET_AVX512, SET_AVX512BF16, INSTRUCTION_SETS };

/* The name $ESM1NV_CPU knows it by. */
const char *instruction_set_name(enum instruction_set set);

/* The best one that CPUID and XCR0 allow. Every lower one is there too. */
enum instruction_set features_best(void);

/* Whether the CPU has fused multiply-add instructions and the OS keeps their registers. */
bool features_fma(void);

/* The kernels of a set (at most features_best()) and precision (f32 or bf16). */
const struct kernels *features_kernels(enum instruction_set set, enum precision precision);

/* The set to run: the best, masked downward by $ESM1NV_CPU. Returns 0, or -1 (EX_CONFIG) when the
 * variable names no set, or one that is not there. */
int features_choose(enum instruction_set *set, struct error *error);

/* Usable cores: the affinity mask, cut by the cgroup's CPU quota (rounded up), at least 1. */
unsigned usable_cores(void);

#endif

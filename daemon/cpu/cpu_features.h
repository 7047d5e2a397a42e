/* SPDX-License-Identifier: Apache-2.0
 *
 * Which instruction sets this machine (CPU and operating system) has, which kernels to run, and on
 * how many cores.
 */
#ifndef ESM1NV_CPU_FEATURES_H
#define ESM1NV_CPU_FEATURES_H

#include "daemon/cpu/kernels.h"

enum instruction_set { SET_GENERIC, SET_AVX2, SET_AVX512, SET_AVX512BF16, INSTRUCTION_SETS };

/* Its name as a value of $ESM1NV_CPU. */
const char *instruction_set_name(enum instruction_set set);

/* The best one that CPUID and XCR0 allow. Every lower one is available too. */
enum instruction_set features_best(void);

/* The kernels of a set (at most features_best()) and precision (f32 or bf16). */
const struct kernels *features_kernels(enum instruction_set set, enum precision precision);

/* Chooses the set to run: the one that $ESM1NV_CPU names, or the best. Returns 0, or -1 (EX_CONFIG)
 * when the variable names no set, or one that this machine does not have. */
int features_choose(enum instruction_set *set, struct error *error);

/* The cores that this process may use, by its affinity mask and its cgroups' CPU quota (rounded
 * up). At least 1. */
unsigned usable_cores(void);

#endif

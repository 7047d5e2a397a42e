/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks CPUID which instructions the CPU has, and XCR0 which registers the operating system saves;
 * an instruction set needs both. $ESM1NV_CPU can choose a lower set, so that every variant can be
 * tested on one machine.
 */
#include "daemon/cpu/cpu_features.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static const char *const names[INSTRUCTION_SETS] = {"generic", "avx2", "avx512", "avx512bf16"};

struct cpuid {
    unsigned eax, ebx, ecx, edx;
};

static struct cpuid cpuid_read(unsigned leaf, unsigned subleaf) {
    struct cpuid id = {0, 0, 0, 0};
    __get_cpuid_count(leaf, subleaf, &id.eax, &id.ebx, &id.ecx, &id.edx);
    return id;
}

/* XCR0: bits 1 and 2 are for the 256-bit registers, 5 to 7 for the 512-bit ones and their masks. */
static unsigned enabled_registers(void) {
    unsigned low, high;
    if (!(cpuid_read(1, 0).ecx & bit_OSXSAVE))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

const char *instruction_set_name(enum instruction_set set) {
    return names[set];
}

/* Whether the CPU has fused multiply-add instructions and the operating system saves their
 * registers. */
static bool features_fma(void) {
    unsigned needed = bit_FMA | bit_AVX;
    return (cpuid_read(1, 0).ecx & needed) == needed && (enabled_registers() & 0x6) == 0x6;
}

enum instruction_set features_best(void) {
    struct cpuid basic = cpuid_read(1, 0), more = cpuid_read(7, 0);
    unsigned foundation = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if (!features_fma() || !(basic.ecx & bit_F16C) || !(more.ebx & bit_AVX2))
        return SET_GENERIC;
    if ((enabled_registers() & 0xe6) != 0xe6 || (more.ebx & foundation) != foundation)
        return SET_AVX2;
    return cpuid_read(7, 1).eax & bit_AVX512BF16 ? SET_AVX512BF16 : SET_AVX512;
}

const struct kernels *features_kernels(enum instruction_set set, enum precision precision) {
    const struct kernels *tables[] = {kernels_generic, kernels_avx2, kernels_avx512,
                                      kernels_avx512bf16};
    const struct kernels *table = tables[set];
    if (set == SET_GENERIC && !features_fma())
        table = kernels_generic_plain;
    return &table[precision == PRECISION_BF16];
}

int features_choose(enum instruction_set *set, struct error *error) {
    enum instruction_set best = features_best();
    const char *wanted = getenv("ESM1NV_CPU");
    *set = best;
    if (wanted && *wanted) {
        int i = 0;
        while (i < INSTRUCTION_SETS && strcmp(wanted, names[i]) != 0)
            i++;
        if (i == INSTRUCTION_SETS)
            return error_set(error, EX_CONFIG,
                             "ESM1NV_CPU=%s: no such instruction set; set it to generic, avx2, "
                             "avx512 or avx512bf16, or unset it",
                             wanted);
        if (i > (int)best)
            return error_set(error, EX_CONFIG,
                             "ESM1NV_CPU=%s: this machine does not have it; the best here is %s",
                             wanted, names[best]);
        *set = (enum instruction_set)i;
    }
    if (*set == SET_AVX512BF16 && !avx512bf16_agrees())
        *set = SET_AVX512;
    return 0;
}

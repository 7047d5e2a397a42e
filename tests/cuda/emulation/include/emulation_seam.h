/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: what the headers of this folder call in block.c and shared.c. A kernel
 * runs on fibers, one per CUDA thread; these are its calls to the scheduler.
 */
#ifndef EMULATION_SEAM_H
#define EMULATION_SEAM_H

#include "vector_types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of the running thread. It never changes within a call, so a compiler may keep it. */
uint3 emulation_thread_index(void) __attribute__((const));
uint3 emulation_block_index(void) __attribute__((const));
uint3 emulation_block_size(void) __attribute__((const));
uint3 emulation_grid_size(void) __attribute__((const));
int emulation_lane(void) __attribute__((const));

/* Of the running block's device, as 100 times its compute capability: 800, 860, 900. */
int emulation_sm(void) __attribute__((const));

/* Waits for all threads of the block that have not returned. */
void emulation_block_barrier(const char *name, const char *file, int line);

/* All lanes of `mask` must come, at one place. Only the barrier orders memory. */
void emulation_warp_barrier(unsigned mask, const char *file, int line);
unsigned emulation_warp_ballot(const char *name, unsigned mask, bool bit, const char *file,
                               int line);
uint64_t emulation_warp_shuffle(const char *name, unsigned mask, uint64_t bits, int source,
                                const char *file, int line);

/* Gives a payload to the whole warp; the answer holds that of every lane, until the next such
 * call. Orders no memory. */
struct emulation_payload {
    union {
        float values[16];
        uint64_t bits;
        const void *pointer;
    };
};
const struct emulation_payload *emulation_warp_exchange(const char *name,
                                                        const struct emulation_payload *given,
                                                        const char *file, int line);

/* A lane's sums of a 16 x 16 x 8 product, by the layout of mma.m16n8k16: values 0 to 7 that a lane
 * gave are of a, 8 to 11 of b. Of a 16 x 16 x 16 product, by fragments: 0 to 7 and 8 to 15. */
void emulation_product_m16n8(float sums[4], const struct emulation_payload given[32], int lane);
void emulation_product_m16n16(float sums[8], const struct emulation_payload given[32], int lane);

/* Where element `i` of a lane's fragment lies in a 16 x 16 matrix, and the way back. */
static inline int emulation_place(int lane, int i) {
    return ((lane + 32 * i) * 37 + 11) % 256;
}

static inline int emulation_unplace(int place) {
    return (place + 256 - 11) * 173 % 256; /* 37 * 173 = 1 modulo 256 */
}

/* Shared memory: one array per `site` and block; the dynamic part. NaN at a block's start. */
void *emulation_shared_array(const void *site, size_t bytes, const char *file, int line);
void *emulation_shared_dynamic(void);
void emulation_shared_check(const void *p, size_t bytes, size_t alignment, const char *what,
                            const char *file, int line);

/* Waits for the whole warp, which orders no memory; wmma wants a matrix anywhere in memory, 32
 * bytes aligned, with rows a multiple of 16 bytes apart. */
void emulation_matrix_meet(const void *p, size_t row_bytes, const char *name, const char *file,
                           int line);

/* Copies of 16 bytes, of zeros without a source, that happen only when waited for. */
void emulation_copy_async(void *shared, const void *global, const char *file, int line);
void emulation_copy_commit(void);
void emulation_copy_wait(unsigned pending);

/* Ends the program unless the device is at least `sm` (800 ...). */
void emulation_require(int sm, const char *what, const char *file, int line);

#ifdef __cplusplus
}
#endif
#endif

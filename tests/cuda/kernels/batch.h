/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the kernels work on: memory of the host, memory of the device with a pattern
 * behind each piece that must survive, and packed batches of sequences with one result each. All of
 * it lasts until device_end(). A call that fails ends the program, for there is nothing to test
 * then.
 */
#ifndef ESM1NV_TESTS_BATCH_H
#define ESM1NV_TESTS_BATCH_H

#include "cuda/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEVICE_PATTERN 0xA5 /* every byte of memory that was given no data */

/* Returns how many devices there are; 0 without a driver. */
int device_count(void);

/* Returns new memory of the host, in which every byte is 0xEE: as a number or place in a plan, this
 * would lead a kernel astray. */
void *host_new(size_t size);

/* Copies size bytes of data to new device memory; NULL: fills it with the pattern. */
void *device_new(const void *data, size_t size);

/* Waits for the stream and copies a whole piece back into new memory of the host. The program ends
 * if what lies behind the piece was written. */
void *device_read(const void *piece);

/* Ends the program if a call failed. */
#define MUST(call) device_check(call, #call)
void device_check(cudaError_t error, const char *what);

cudaStream_t device_stream(void);

/* Frees all that the functions above made. */
void device_end(void);

#define VOCABULARY 30u

struct batch {
    struct gpu_shape shape;
    uint32_t count, tokens; /* in use; the shape has room for more */
    uint32_t tile_count;
    uint16_t *ids, *positions;
    uint32_t *owners;
    struct plan_tile *tiles;
    struct plan_item *items; /* without output, pooling and dtype: those are the test's */
};

/* `lengths` count tokens, with <s> and </s>; in a sequence of one or two tokens all are
 * residues. The hidden size and the type must be in batch->shape before. */
void batch_init(struct batch *batch, const uint32_t *lengths, uint32_t count);

/* Copies the plan to device memory. */
struct gpu_plan batch_upload(const struct batch *batch);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Device memory for tests, with a pattern behind each piece that must survive. A call that fails
 * ends the program: there is nothing to test then.
 */
#ifndef ESM1NV_TESTS_DEVICE_H
#define ESM1NV_TESTS_DEVICE_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>

#define DEVICE_PATTERN 0xA5 /* every byte of memory that was given no data */

/* How many devices there are; 0 without a driver. */
int device_count(void);

/* Copies size bytes of data to new device memory; NULL: fills it with the pattern. */
void *device_new(const void *data, size_t size);

/* Waits for the stream and copies back a piece as a whole, into new memory that device_end()
 * frees. A test fails if what lies behind it was written. */
void *device_read(const void *piece);

/* Fails a test if a launch did. */
void device_check(cudaError_t error, const char *what);

cudaStream_t device_stream(void);

/* Frees all pieces and what was read. */
void device_end(void);

#endif

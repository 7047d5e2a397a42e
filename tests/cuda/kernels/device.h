/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory for tests, which lasts until device_end(): of the host, and of the device with a pattern
 * behind each piece that must survive. A call that fails ends the program, for there is nothing to
 * test then.
 */
#ifndef ESM1NV_TESTS_DEVICE_H
#define ESM1NV_TESTS_DEVICE_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>

#define DEVICE_PATTERN 0xA5 /* every byte of memory that was given no data */

/* How many devices there are; 0 without a driver. */
int device_count(void);

/* New memory of the host; every byte is 0xEE, which would lead a kernel astray. */
void *host_new(size_t size);

/* Copies size bytes of data to new device memory; NULL: fills it with the pattern. */
void *device_new(const void *data, size_t size);

/* Waits for the stream and copies back a piece as a whole, into new memory of the host. A test
 * fails if what lies behind it was written. */
void *device_read(const void *piece);

/* Fails a test if a launch did. */
void device_check(cudaError_t error, const char *what);

cudaStream_t device_stream(void);

/* Frees all that the functions above made. */
void device_end(void);

#endif

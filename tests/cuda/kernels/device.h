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
void device_check(cudaError_t error, const char *what);

cudaStream_t device_stream(void);

/* Frees all that the functions above made. */
void device_end(void);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared memory of the block that runs: arrays with red zones between them, all of it NaN when a
 * block starts.
 */
#ifndef EMULATION_SHARED_H
#define EMULATION_SHARED_H

#include <stddef.h>

void shared_prepare(size_t dynamic_bytes, size_t most_bytes); /* before a kernel */
void shared_begin(void);                                      /* before each block */
void shared_end(const char *kernel); /* after each: nobody may have written past an array */

#endif

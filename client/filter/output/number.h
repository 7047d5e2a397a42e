/* SPDX-License-Identifier: Apache-2.0
 *
 * float32 in decimal: the fewest digits that read back to the same value, and of those the nearest.
 */
#ifndef ESM1NV_FILTER_NUMBER_H
#define ESM1NV_FILTER_NUMBER_H

#include <stddef.h>

#define NUMBER_MAX 24 /* bytes that number_write() may touch */

/* Writes a finite value: fixed notation for 1e-5 <= |x| < 1e9, else d.ddde-06; "0", "-0".
 * Returns the end of what it wrote; no NUL. */
char *number_write(char *text, float value);

#endif

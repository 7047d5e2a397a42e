/* SPDX-License-Identifier: Apache-2.0
 *
 * The way from an embedded struct to the one that holds it.
 */
#ifndef ESM1NV_CONTAINER_OF_H
#define ESM1NV_CONTAINER_OF_H

#include <stddef.h>

/* The struct of `type` whose `member` the pointer, which is not NULL, points at. The comparison is
 * never made: it has the compiler check that the pointer is of the member's type. */
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(1 ? (pointer) : &((type *)NULL)->member) - offsetof(type, member)))

#endif

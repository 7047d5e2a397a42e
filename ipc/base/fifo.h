/* SPDX-License-Identifier: Apache-2.0
 *
 * A growing ring of items of one size, for a queue whose length is not known beforehand. The owner
 * counts items with numbers that only go up; item n lies in slot n modulo the number of slots.
 */
#ifndef ESM1NV_FIFO_H
#define ESM1NV_FIFO_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Null value: {0}. The owner frees `slots`. */
struct fifo {
    void *slots;
    uint64_t count; /* of slots: a power of two, or 0 */
};

/* Where item `number` lies; `size` is that of every item. */
static inline void *fifo_at(const struct fifo *fifo, uint64_t number, size_t size) {
    return (char *)fifo->slots + (number & (fifo->count - 1)) * size;
}

/* Doubles the number of slots, or makes the first `least`. The owner calls it when all slots are
 * taken, by the items from number `first` on. Items keep their numbers but not their places; new
 * slots are zero. Returns 0, or -ENOMEM, which changes nothing. */
static inline int fifo_grow(struct fifo *fifo, uint64_t first, uint64_t least, size_t size) {
    struct fifo grown = {.count = fifo->count > 0 ? 2 * fifo->count : least};
    grown.slots = calloc(grown.count, size);
    if (!grown.slots)
        return -ENOMEM;
    for (uint64_t i = first; i != first + fifo->count; i++)
        memcpy(fifo_at(&grown, i, size), fifo_at(fifo, i, size), size);
    free(fifo->slots);
    *fifo = grown;
    return 0;
}

#endif

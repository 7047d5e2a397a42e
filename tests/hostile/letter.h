/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages written by hand, so that an attacker can write any: msgpack without the project's codec.
 */
#ifndef ESM1NV_TESTS_HOSTILE_LETTER_H
#define ESM1NV_TESTS_HOSTILE_LETTER_H

#include "ipc/wire.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MESSAGE_ROOM 200000

/* One flat map under construction. */
struct letter {
    uint8_t bytes[MESSAGE_ROOM];
    size_t size;
    unsigned keys;
};

static inline void put_number(struct letter *letter, unsigned key, uint64_t number) {
    letter->bytes[letter->size++] = (uint8_t)key;
    letter->bytes[letter->size++] = 0xCF;
    for (int shift = 56; shift >= 0; shift -= 8)
        letter->bytes[letter->size++] = (uint8_t)(number >> shift);
    letter->bytes[2] = (uint8_t)++letter->keys;
}

static inline void put_bytes(struct letter *letter, unsigned key, uint8_t type, const void *bytes,
                             size_t length) {
    letter->bytes[letter->size++] = (uint8_t)key;
    letter->bytes[letter->size++] = type;
    letter->bytes[letter->size++] = (uint8_t)(length >> 8);
    letter->bytes[letter->size++] = (uint8_t)length;
    memcpy(letter->bytes + letter->size, bytes, length);
    letter->size += length;
    letter->bytes[2] = (uint8_t)++letter->keys;
}

#define TEXT 0xDA
#define BYTES 0xC5

static inline void begin(struct letter *letter, enum wire_kind kind) {
    letter->bytes[0] = 0xDE;
    letter->bytes[1] = 0;
    letter->size = 3;
    letter->keys = 0;
    put_number(letter, WIRE_KIND, kind);
}

#endif

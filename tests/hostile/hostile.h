/* SPDX-License-Identifier: Apache-2.0
 *
 * What an attacker is made of: messages written by hand, so that it can write any (msgpack without
 * the project's codec), descriptors that no daemon wants to be passed, and the rings it does want.
 */
#ifndef ESM1NV_TESTS_HOSTILE_H
#define ESM1NV_TESTS_HOSTILE_H

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

/* A port on loopback whose connections are never read. Returns it, or 0 when there is none. The
 * process that calls this must outlive those that use it. */
uint16_t unread_port_open(void);

/* A TCP socket to that port whose close() blocks for `seconds`, for it lingers over bytes that
 * nobody takes. Returns -1 when it cannot be made. */
int lingering_socket(uint16_t port, int seconds);

/* A socket in which a lingering one waits to be received. */
int nested_socket(uint16_t port, int seconds);

/* A memfd of `size` bytes with these seals, or none of them when 0. */
int memfd(size_t size, int seals, unsigned flags);

/* One of every kind, by chance; `own` is the connection itself. May return -1. */
int hostile_descriptor(uint64_t *random, size_t ring_size, uint16_t port, int own);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors that no daemon wants to be passed, and the rings it does want.
 */
#ifndef ESM1NV_TESTS_HOSTILE_DESCRIPTORS_H
#define ESM1NV_TESTS_HOSTILE_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

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

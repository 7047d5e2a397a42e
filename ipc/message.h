/* SPDX-License-Identifier: Apache-2.0
 *
 * Control messages (wire.h) to and from bytes. Both directions use msgpack-c's header-only
 * templates, so nothing is allocated and no library is linked.
 */
#ifndef ESM1NV_MESSAGE_H
#define ESM1NV_MESSAGE_H

#include "ipc/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct message_value {
    uint64_t number;   /* integers */
    const char *bytes; /* text and bytes: a view into the decoded buffer, no NUL behind it */
    size_t length;     /* of bytes */
};

struct message {
    enum wire_kind kind;
    uint64_t present; /* bit k is set when key k is in the message */
    struct message_value value[WIRE_KEYS];
};

/* Decodes one message. Every key must be known, have a value of its type and within its limits, and
 * appear once; there must be the keys that the message's kind requires, and no others but those it
 * allows. Views live as long as data. In a message with another protocol version nothing after the
 * version is looked at. It decodes, so that the caller, who must look at the version first, can say
 * what is wrong. Returns 0, or -EBADMSG for anything else. */
int message_decode(struct message *message, const void *data, size_t size);

static inline bool message_has(const struct message *message, enum wire_key key) {
    return (message->present >> key) & 1;
}

/* Copies a text or bytes value, cut to capacity - 1 bytes and ended by NUL. Control characters
 * become
 * '?', because what a peer says may reach a terminal or a log. */
void message_copy_text(const struct message *message, enum wire_key key, char *text,
                       size_t capacity);

struct message_writer {
    char *data;
    size_t capacity;
    size_t size;
    unsigned count;
    bool overflow;
};

/* Begins a message in the caller's buffer. The caller puts its keys, then ends it. */
void message_begin(struct message_writer *writer, void *buffer, size_t capacity,
                   enum wire_kind kind);
void message_put_number(struct message_writer *writer, enum wire_key key, uint64_t number);
void message_put_text(struct message_writer *writer, enum wire_key key, const char *text);
void message_put_bytes(struct message_writer *writer, enum wire_key key, const void *bytes,
                       size_t length);
/* Returns the size of the message in the buffer, or -EMSGSIZE if it did not fit. */
long message_end(struct message_writer *writer);

#endif

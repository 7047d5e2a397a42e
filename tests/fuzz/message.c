/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: the codec of control messages. What is decoded must lie inside the input and within
 * its limits. When it is encoded again it must decode to the same, and it must not fit into one
 * byte less.
 */
#include "ipc/message.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

static const enum value_type types[] = {
#define KEY_TYPE(key, number, type, ...) [key] = type,
    WIRE_SESSION_ROWS(KEY_TYPE) WIRE_STATUS_ROWS(KEY_TYPE)};

static void check_view(const struct message_value *value, const uint8_t *data, size_t size) {
    const uint8_t *bytes = (const uint8_t *)value->bytes;
    REQUIRE(value->length == 0 || (bytes >= data && value->length <= (size_t)(data + size - bytes)),
            "%zu bytes lie outside of the message", value->length);
}

static void check_text(const struct message *message, enum wire_key key) {
    char text[16];
    message_copy_text(message, key, text, sizeof text);
    REQUIRE(strlen(text) < sizeof text, "key %d", key);
    for (const char *c = text; *c; c++)
        REQUIRE((unsigned char)*c >= ' ' && *c != 0x7f, "key %d: byte %d", key, *c);
}

/* A text that contains a NUL is cut there, because message_put_text takes a string. */
static void put_again(struct message_writer *writer, const struct message *message,
                      enum wire_key key) {
    const struct message_value *value = &message->value[key];
    char text[2048];
    if (types[key] == VALUE_BYTES) {
        message_put_bytes(writer, key, value->bytes, value->length);
    } else if (types[key] == VALUE_TEXT) {
        REQUIRE(value->length < sizeof text, "key %d: %zu bytes of text", key, value->length);
        memcpy(text, value->bytes, value->length);
        text[value->length] = '\0';
        message_put_text(writer, key, text);
    } else {
        message_put_number(writer, key, value->number);
    }
}

static long encode(const struct message *message, char *buffer, size_t capacity) {
    struct message_writer writer;
    message_begin(&writer, buffer, capacity, message->kind);
    for (int key = 1; key < WIRE_KEYS; key++)
        if (message_has(message, (enum wire_key)key))
            put_again(&writer, message, (enum wire_key)key);
    return message_end(&writer);
}

static bool has_nul(const struct message *message) {
    for (int key = 1; key < WIRE_KEYS; key++)
        if (message_has(message, (enum wire_key)key) && types[key] == VALUE_TEXT &&
            memchr(message->value[key].bytes, 0, message->value[key].length))
            return true;
    return false;
}

static void check_equal(const struct message *a, const struct message *b) {
    REQUIRE(a->kind == b->kind && a->present == b->present, "kind %d became %d", a->kind, b->kind);
    for (int key = 1; key < WIRE_KEYS; key++) {
        const struct message_value *first = &a->value[key], *second = &b->value[key];
        if (!message_has(a, (enum wire_key)key))
            continue;
        if (types[key] != VALUE_NUMBER)
            REQUIRE(first->length == second->length &&
                        memcmp(first->bytes, second->bytes, first->length) == 0,
                    "key %d changed", key);
        else
            REQUIRE(first->number == second->number, "key %d changed", key);
    }
}

static void check_round_trip(const struct message *message) {
    static char buffer[2 * WIRE_MESSAGE_MAX];
    struct message again;
    long size = encode(message, buffer, sizeof buffer);
    REQUIRE(size > 0, "encoding returned %ld", size);
    if (size > (long)WIRE_MESSAGE_MAX || has_nul(message))
        return;
    char *exact = buffer + sizeof buffer - size;
    memmove(exact, buffer, (size_t)size);
    REQUIRE(message_decode(&again, exact, (size_t)size) == 0, "its encoding is refused");
    check_equal(message, &again);
    REQUIRE(encode(message, exact, (size_t)size - 1) == -EMSGSIZE, "it fits in a byte less");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct message message;
    int result = message_decode(&message, data, size);
    REQUIRE(result == 0 || result == -EBADMSG, "decoding returned %d", result);
    if (result < 0)
        return 0;
    REQUIRE(size <= WIRE_MESSAGE_MAX && data[0] != WIRE_BELL, "a message of %zu bytes", size);
    for (int key = 0; key < WIRE_KEYS; key++) {
        if (!message_has(&message, (enum wire_key)key))
            continue;
        if (types[key] != VALUE_NUMBER)
            check_view(&message.value[key], data, size);
        if (types[key] == VALUE_TEXT)
            check_text(&message, (enum wire_key)key);
    }
    check_round_trip(&message);
    return 0;
}

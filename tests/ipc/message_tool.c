/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows the message codec to message.py: for each line of hex on stdin prints "bad", or
 * "KEY=NUMBER" and "KEY:HEX" for what was decoded and, behind "|", the same message encoded again.
 */
#include "ipc/message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char line[4 * WIRE_MESSAGE_MAX];
static char encoded[WIRE_MESSAGE_MAX];

static void print_hex(const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++)
        printf("%02x", (unsigned char)bytes[i]);
}

/* Turns the line into bytes on the heap, so that a sanitizer sees every read beyond them. */
static char *bytes_create(size_t *size) {
    *size = strcspn(line, "\n") / 2;
    char *bytes = malloc(*size ? *size : 1);
    for (size_t i = 0; bytes && i < *size; i++) {
        char digits[3] = {line[2 * i], line[2 * i + 1], '\0'};
        bytes[i] = (char)strtoul(digits, NULL, 16);
    }
    return bytes;
}

/* Keys whose value is a text go out as a text. */
static bool is_text(enum wire_key key) {
    return key == WIRE_PROGRAM || (key >= WIRE_EXPECT && key <= WIRE_MODEL) || key == WIRE_TEXT ||
           key == WIRE_VERSION || key == WIRE_LOOP || key == WIRE_INSTRUCTIONS ||
           key == WIRE_DEVICE || key == WIRE_NOTE;
}

static bool is_bytes(enum wire_key key) {
    return key == WIRE_ALPHABET || key == WIRE_SEQUENCE || key == WIRE_DATA;
}

static void put_again(struct message_writer *writer, const struct message *message,
                      enum wire_key key) {
    static char text[WIRE_MESSAGE_MAX];
    const struct message_value *value = &message->value[key];
    if (is_text(key)) {
        message_copy_text(message, key, text, sizeof text);
        message_put_text(writer, key, text);
    } else if (is_bytes(key)) {
        message_put_bytes(writer, key, value->bytes, value->length);
    } else {
        message_put_number(writer, key, value->number);
    }
}

static void show(const struct message *message) {
    struct message_writer writer;

    message_begin(&writer, encoded, sizeof encoded, message->kind);
    printf("%d=%d", WIRE_KIND, (int)message->kind);
    for (int key = 1; key < WIRE_KEYS; key++) {
        if (!message_has(message, (enum wire_key)key))
            continue;
        const struct message_value *value = &message->value[key];
        put_again(&writer, message, (enum wire_key)key);
        if (is_text((enum wire_key)key) || is_bytes((enum wire_key)key)) {
            printf(" %d:", key);
            print_hex(value->bytes, value->length);
        } else {
            printf(" %d=%llu", key, (unsigned long long)value->number);
        }
    }
    long size = message_end(&writer);
    printf("|");
    if (size > 0)
        print_hex(encoded, (size_t)size);
    printf("\n");
}

int main(void) {
    while (fgets(line, sizeof line, stdin)) {
        struct message message;
        size_t size;
        char *bytes = bytes_create(&size);
        if (!bytes)
            return 1;
        int ret = message_decode(&message, bytes, size);
        if (ret == 0)
            show(&message);
        else
            printf(ret == -EBADMSG ? "bad\n" : "error %d\n", ret);
        free(bytes);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows the message codec to message.py: for each line of hex on stdin prints "bad", or
 * "KEY=NUMBER" and "KEY:HEX" for what was decoded and, behind "|", the same message encoded again.
 * With the argument "rows" it prints those of ipc/keys.h: number, constant, type, least, most, name
 * of the status figure, and what it is as a metric.
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

/* What the rows say, in their order: of every key its type, and of STATUS figures the name. */
static const struct row {
    enum wire_key key;
    enum value_type type;
    uint64_t least, most;
    const char *constant, *name, *metric;
} rows[WIRE_KEYS] = {
#define SESSION_ROW(key, number, type, least, most) {key, type, least, most, #key, "-", "-"},
#define STATUS_ROW(key, number, type, least, most, name, ...)                                      \
    {key, type, least, most, #key, name, #__VA_ARGS__},
    WIRE_SESSION_ROWS(SESSION_ROW) WIRE_STATUS_ROWS(STATUS_ROW)};

static void print_rows(void) {
    static const char *const types[] = {
        [VALUE_NUMBER] = "number", [VALUE_TEXT] = "text", [VALUE_BYTES] = "bytes"};
    for (const struct row *row = rows; row < rows + WIRE_KEYS; row++)
        printf("%d %s %s %llu %llu %s %s\n", row->key, row->constant, types[row->type],
               (unsigned long long)row->least, (unsigned long long)row->most, row->name,
               row->metric);
}

static enum value_type type_of(enum wire_key key) {
    const struct row *row = rows;
    while (row->key != key)
        row++;
    return row->type;
}

static void put_again(struct message_writer *writer, const struct message *message,
                      enum wire_key key) {
    static char text[WIRE_MESSAGE_MAX];
    const struct message_value *value = &message->value[key];
    if (type_of(key) == VALUE_TEXT) {
        message_copy_text(message, key, text, sizeof text);
        message_put_text(writer, key, text);
    } else if (type_of(key) == VALUE_BYTES) {
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
        if (type_of((enum wire_key)key) == VALUE_NUMBER) {
            printf(" %d=%llu", key, (unsigned long long)value->number);
        } else {
            printf(" %d:", key);
            print_hex(value->bytes, value->length);
        }
    }
    long size = message_end(&writer);
    printf("|");
    if (size > 0)
        print_hex(encoded, (size_t)size);
    printf("\n");
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "rows") == 0) {
        print_rows();
        return 0;
    }
    while (fgets(line, sizeof line, stdin)) {
        struct message message;
        size_t size;
        char *bytes = bytes_create(&size);
        if (!bytes)
            return 1;
        int result = message_decode(&message, bytes, size);
        if (result == 0)
            show(&message);
        else
            printf(result == -EBADMSG ? "bad\n" : "error %d\n", result);
        free(bytes);
    }
    return 0;
}

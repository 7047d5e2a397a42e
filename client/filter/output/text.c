/* SPDX-License-Identifier: Apache-2.0
 *
 * Text is put straight into the target's buffer, chunk by chunk, so nothing is copied twice and no
 * length is limited by the buffer.
 */
#include "client/filter/output/text.h"

#include "client/filter/input/utf8.h"
#include "client/filter/output/number.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CHUNK 4096u

static bool is_control(uint32_t letter) {
    return letter < ' ' || (letter >= 0x7F && letter < 0xA0);
}

static size_t put_blank(char room[TEXT_ESCAPE_MAX], uint32_t letter) {
    room[0] = ' ';
    return is_control(letter) ? 1 : 0;
}

size_t text_escape(char escape[TEXT_ESCAPE_MAX], uint32_t letter) {
    if (is_control(letter))
        return (size_t)sprintf(escape, "\\u%04x", (unsigned)letter);
    escape[0] = '\\';
    escape[1] = (char)letter;
    return letter == '"' || letter == '\\' ? 2 : 0;
}

/* Writes each letter as it is, or, where replace() returns a size, what replace() put. */
static void write_letters(struct target *target, const char *text, size_t size,
                          size_t (*replace)(char room[TEXT_ESCAPE_MAX], uint32_t letter)) {
    while (size > 0) {
        char *room = target_room(target, CHUNK);
        size_t used = 0;
        while (size > 0 && used < CHUNK - TEXT_ESCAPE_MAX) {
            uint32_t letter;
            int decoded = utf8_decode(text, size, &letter);
            size_t length = decoded > 0 ? (size_t)decoded : 1;
            size_t replaced = replace(room + used, letter);
            if (replaced == 0)
                memcpy(room + used, text, length);
            used += replaced > 0 ? replaced : length;
            text += length;
            size -= length;
        }
        target_used(target, used);
    }
}

void text_field(struct target *target, const char *text, size_t size) {
    write_letters(target, text, size, put_blank);
}

void text_json(struct target *target, const char *text, size_t size) {
    target_write(target, "\"", 1);
    write_letters(target, text, size, text_escape);
    target_write(target, "\"", 1);
}

void text_values(struct target *target, const float *values, uint32_t count, char separator) {
    enum { BLOCK = 128 };
    for (uint32_t done = 0; done < count;) {
        char *room = target_room(target, BLOCK * (NUMBER_MAX + 1));
        uint32_t end = count - done < BLOCK ? count : done + BLOCK;
        char *text = room;
        for (; done < end; done++) {
            if (done)
                *text++ = separator;
            text = number_write(text, values[done]);
        }
        target_used(target, (size_t)(text - room));
    }
}

void text_format(struct target *target, const char *format, ...) {
    char *room = target_room(target, CHUNK);
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(room, CHUNK, format, arguments);
    va_end(arguments);
    target_used(target, (size_t)size);
}

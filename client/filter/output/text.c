/* SPDX-License-Identifier: Apache-2.0
 *
 * Text is put straight into the target's buffer, in chunks for which it makes room.
 */
#include "client/filter/output/text.h"

#include "client/filter/input/utf8.h"
#include "client/filter/output/number.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CHUNK 4096u

/* The code point at text, and its bytes. Texts here are valid UTF-8. */
static size_t next_letter(const char *text, size_t size, uint32_t *letter) {
    int length = utf8_decode(text, size, letter);
    return length > 0 ? (size_t)length : 1;
}

static bool is_control(uint32_t letter) {
    return letter < ' ' || (letter >= 0x7F && letter < 0xA0);
}

int text_field(struct target *target, const char *text, size_t size) {
    while (size > 0) {
        char *room;
        int result = target_room(target, CHUNK, &room);
        if (result < 0)
            return result;
        size_t used = 0;
        while (size > 0 && used < CHUNK - UTF8_MAX) {
            uint32_t letter;
            size_t length = next_letter(text, size, &letter);
            if (is_control(letter))
                room[used++] = ' ';
            else
                used = (size_t)((char *)mempcpy(room + used, text, length) - room);
            text += length;
            size -= length;
        }
        target_used(target, used);
    }
    return 0;
}

size_t text_escape(char escape[TEXT_ESCAPE_MAX], uint32_t code_point) {
    if (is_control(code_point))
        return (size_t)sprintf(escape, "\\u%04x", (unsigned)code_point);
    if (code_point != '"' && code_point != '\\')
        return 0;
    escape[0] = '\\';
    escape[1] = (char)code_point;
    return 2;
}

int text_json(struct target *target, const char *text, size_t size) {
    int result = target_write(target, "\"", 1);
    while (size > 0 && result == 0) {
        char *room;
        result = target_room(target, CHUNK, &room);
        size_t used = 0;
        while (result == 0 && size > 0 && used < CHUNK - TEXT_ESCAPE_MAX) {
            uint32_t letter;
            size_t length = next_letter(text, size, &letter);
            size_t escaped = text_escape(room + used, letter);
            if (escaped == 0)
                memcpy(room + used, text, length);
            used += escaped > 0 ? escaped : length;
            text += length;
            size -= length;
        }
        target_used(target, used);
    }
    return result < 0 ? result : target_write(target, "\"", 1);
}

int text_values(struct target *target, const float *values, uint32_t count, char separator) {
    enum { BLOCK = 128 };
    for (uint32_t done = 0; done < count;) {
        char *room;
        int result = target_room(target, BLOCK * (NUMBER_MAX + 1), &room);
        if (result < 0)
            return result;
        uint32_t end = count - done < BLOCK ? count : done + BLOCK;
        char *text = room;
        for (; done < end; done++) {
            if (done)
                *text++ = separator;
            text = number_write(text, values[done]);
        }
        target_used(target, (size_t)(text - room));
    }
    return 0;
}

int text_format(struct target *target, const char *format, ...) {
    char *room;
    int result = target_room(target, CHUNK, &room);
    if (result < 0)
        return result;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(room, CHUNK, format, arguments);
    va_end(arguments);
    target_used(target, (size_t)size);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * UTF-8 by its table (Unicode, table 3-7): the lead byte gives the length and the range of the
 * second byte, which alone rules out overlong forms, surrogates and values above U+10FFFF.
 */
#include "client/filter/input/utf8.h"

static int sequence_length(uint8_t lead, uint8_t *low, uint8_t *high) {
    *low = 0x80;
    *high = 0xBF;
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return -1;
    if (lead < 0xE0)
        return 2;
    if (lead == 0xE0)
        *low = 0xA0;
    if (lead == 0xED)
        *high = 0x9F;
    if (lead < 0xF0)
        return 3;
    if (lead == 0xF0)
        *low = 0x90;
    if (lead == 0xF4)
        *high = 0x8F;
    return 4;
}

int utf8_decode(const void *bytes, size_t size, uint32_t *code_point) {
    const uint8_t *byte = bytes;
    uint8_t low, high;
    int length = sequence_length(byte[0], &low, &high);
    if (length < 0)
        return -1;
    uint32_t value = length == 1 ? byte[0] : byte[0] & (0x7Fu >> length);
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= size)
            return 0;
        if (byte[i] < low || byte[i] > high)
            return -1;
        value = value << 6 | (byte[i] & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    *code_point = value;
    return length;
}

size_t utf8_encode(uint32_t code_point, char text[UTF8_MAX]) {
    if (code_point < 0x80) {
        text[0] = (char)code_point;
        return 1;
    }
    size_t length = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        text[i] = (char)(0x80 | (code_point & 0x3F));
        code_point >>= 6;
    }
    text[0] = (char)((0xF00u >> length) & 0xF0u) | (char)code_point;
    return length;
}

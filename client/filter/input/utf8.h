/* SPDX-License-Identifier: Apache-2.0
 *
 * Decodes and encodes one UTF-8 code point at a time.
 */
#ifndef ESM1NV_FILTER_UTF8_H
#define ESM1NV_FILTER_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_MAX 4
#define UTF8_REPLACEMENT 0xFFFDu

/* Decodes the code point at the start of bytes. Returns its length, 0 when size > 0 bytes are only
 * the beginning of one, or -1 when the first byte is not part of any (overlong forms, surrogates
 * and values above U+10FFFF included). */
int utf8_decode(const void *bytes, size_t size, uint32_t *code_point);

/* Writes 1 to 4 bytes and returns how many. */
size_t utf8_encode(uint32_t code_point, char text[UTF8_MAX]);

#endif

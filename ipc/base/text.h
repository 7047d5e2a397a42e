/* SPDX-License-Identifier: Apache-2.0
 *
 * Text from outside (names in model files, ids, what a peer says) that goes to a terminal or a log.
 */
#ifndef ESM1NV_TEXT_H
#define ESM1NV_TEXT_H

#include <stddef.h>

/* Turns the control characters among `length` bytes into '?', so that a message stays one line and
 * cannot command the terminal. */
static inline void text_make_printable(char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
}

#endif

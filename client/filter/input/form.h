/* SPDX-License-Identifier: Apache-2.0
 *
 * What a file is whose first bytes cannot be those of sequences: another compression, an archive,
 * text in wide characters, and the binary and web formats that stand beside sequences in folders.
 */
#ifndef ESM1NV_FILTER_FORM_H
#define ESM1NV_FILTER_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So many bytes tell what a file is, or fewer where its first line ends before: a record can be
 * complete with a line end, and is not kept waiting. */
#define FORM_HEAD 512u

struct form {
    const char *name;
    const char *tool;   /* a command that reads FILE, or -, and writes text; NULL: see advice */
    const char *advice; /* what to do, where no command helps */
    const char *magic;  /* '?' is any byte */
    uint16_t magic_size, offset;
    uint8_t zeros; /* instead of magic: bit i is set where byte i of the first four is NUL */
};

/* True when more bytes would not change what form_of() says. */
bool form_is_settled(const char *bytes, size_t size);

/* The form that a file with these first bytes has; NULL: it may be text of sequences. */
const struct form *form_of(const char *bytes, size_t size);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the pieces of a SentencePiece model. Its file is a protobuf: a sequence of fields, each
 * with a number, a wire type and a value, with numbers and lengths in base 128. ModelProto.pieces
 * is field 1; within a piece, the text is field 1, the score 2 and the type 3. All other fields are
 * skipped.
 */
#include "daemon/model/loader.h"

#include <stdlib.h>
#include <sysexits.h>

#define PIECES_MAX 65536u /* ids have 16 bits */

static int pieces_damaged(struct error *error) {
    return error_set(error, EX_CONFIG, "not a whole SentencePiece model");
}

/* Reads a number in base 128 and moves the start of the file past it. */
static int take_varint(struct bytes *file, uint64_t *number) {
    *number = 0;
    for (unsigned shift = 0; shift < 64 && file->size > 0; shift += 7) {
        unsigned char byte = *file->data++;
        file->size--;
        *number |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return 0;
    }
    return -1;
}

/* Reads one field and moves the start of the file past it. Its value is a number for wire type 0,
 * and bytes for all others. */
static int take_field(struct bytes *file, uint64_t *field, uint64_t *number, struct bytes *value) {
    uint64_t size;
    if (take_varint(file, field) < 0)
        return -1;
    unsigned wire_type = *field & 7;
    *field >>= 3;
    *number = 0;
    *value = (struct bytes){0};
    if (wire_type == 0)
        return take_varint(file, number);
    if (wire_type == 1)
        size = 8;
    else if (wire_type == 5)
        size = 4;
    else if (wire_type != 2 || take_varint(file, &size) < 0)
        return -1;
    if (size > file->size)
        return -1;
    *value = (struct bytes){file->data, size};
    file->data += size;
    file->size -= size;
    return 0;
}

static int read_piece(struct piece *piece, struct bytes message, struct error *error) {
    uint64_t field, number, type = PIECE_NORMAL;
    struct bytes value;
    *piece = (struct piece){0};
    while (message.size > 0) {
        if (take_field(&message, &field, &number, &value) < 0)
            return pieces_damaged(error);
        if (field == 1)
            piece->text = value;
        if (field == 3)
            type = number;
    }
    if (piece->text.size == 0)
        return pieces_damaged(error);
    if (type < PIECE_NORMAL || type > PIECE_USER_DEFINED)
        return error_set(error, EX_CONFIG,
                         "piece %.*s is of type %u, which a model of single letters does not have",
                         (int)(piece->text.size > 64 ? 64 : piece->text.size),
                         (const char *)piece->text.data, (unsigned)type);
    piece->type = (enum piece_type)type;
    return 0;
}

static int add_piece(struct pieces *pieces, size_t *room, struct bytes message,
                     struct error *error) {
    if (pieces->count == PIECES_MAX)
        return error_set(error, EX_CONFIG, "has more than %u pieces", PIECES_MAX);
    if (pieces->count == *room) {
        *room = *room ? 2 * *room : 64;
        struct piece *list = realloc(pieces->list, *room * sizeof *list);
        if (!list)
            return error_set(error, EX_SOFTWARE, "out of memory");
        pieces->list = list;
    }
    return read_piece(&pieces->list[pieces->count++], message, error);
}

int pieces_read(struct pieces *pieces, struct bytes file, struct error *error) {
    *pieces = (struct pieces){0};
    size_t room = 0;
    uint64_t field, number;
    struct bytes value;
    int result = 0;
    while (result == 0 && file.size > 0) {
        result = take_field(&file, &field, &number, &value) < 0 ? pieces_damaged(error) : 0;
        if (result == 0 && field == 1)
            result = add_piece(pieces, &room, value, error);
    }
    if (result == 0 && pieces->count == 0)
        result = pieces_damaged(error);
    if (result < 0)
        pieces_finish(pieces);
    return result;
}

void pieces_finish(struct pieces *pieces) {
    free(pieces->list);
    *pieces = (struct pieces){0};
}

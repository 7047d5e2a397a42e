/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: the tokenizer's file. Pieces must lie inside of the input, and every token that the
 * tokenizer can give must be the id of a piece.
 */
#include "daemon/model/loader.h"
#include "tests/fuzz/refusal.h"

static void check_pieces(const struct pieces *pieces, const uint8_t *data, size_t size) {
    REQUIRE(pieces->count > 0 && pieces->count <= size, "%u pieces", pieces->count);
    for (uint32_t i = 0; i < pieces->count; i++) {
        const struct piece *piece = &pieces->list[i];
        REQUIRE(piece->text.size > 0 && is_inside(piece->text.data, piece->text.size, data, size),
                "piece %u", i);
        REQUIRE(piece->type >= PIECE_NORMAL && piece->type <= PIECE_USER_DEFINED, "piece %u", i);
    }
}

static void check_tokenizer(const struct tokenizer *tokenizer, const struct pieces *pieces) {
    const uint32_t count = pieces->count;
    REQUIRE(tokenizer->pieces == count, "%u pieces", tokenizer->pieces);
    REQUIRE(tokenizer->unknown < count && tokenizer->bos < count && tokenizer->eos < count &&
                tokenizer->pad < count && tokenizer->mask < count,
            "a special token is no piece");
    for (int byte = 0; byte < 256; byte++) {
        const int32_t id = tokenizer->id[byte];
        const bool residue = tokenizer->alphabet[byte / 8] >> (byte % 8) & 1;
        REQUIRE(id >= -1 && id < (int64_t)count, "byte %d has token %d", byte, id);
        REQUIRE(id >= 0 || !residue, "byte %d is a residue without a token", byte);
        REQUIRE(id < 0 || (pieces->list[id].text.size == 1 &&
                           pieces->list[id].text.data[0] == (unsigned char)byte),
                "byte %d has the token of another", byte);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pieces pieces;
    struct tokenizer tokenizer;
    struct error error = {0};
    if (pieces_read(&pieces, (struct bytes){data, size}, &error) < 0) {
        check_refusal(&error, data, size);
        REQUIRE(!pieces.list, "a refused file leaves pieces");
        return 0;
    }
    check_pieces(&pieces, data, size);
    if (tokenizer_init(&tokenizer, &pieces, &error) < 0)
        check_refusal(&error, data, size);
    else
        check_tokenizer(&tokenizer, &pieces);
    pieces_finish(&pieces);
    return 0;
}

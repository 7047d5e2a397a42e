/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns residues into tokens. A residue is one byte, so all normal pieces must be single bytes; the
 * alphabet is those of them that a cleaned sequence can hold. Special pieces are found by name.
 */
#include "daemon/model/loader.h"

#include <string.h>
#include <sysexits.h>

/* Clients clean sequences before they submit them: they make letters upper-case and leave out
 * blanks and digits. */
static bool may_be_residue(unsigned char byte) {
    return byte > ' ' && byte < 0x7f && !(byte >= '0' && byte <= '9') &&
           !(byte >= 'a' && byte <= 'z');
}

static int add_letter(struct tokenizer *tokenizer, const struct piece *piece, uint32_t id,
                      struct error *error) {
    if (piece->text.size != 1)
        return error_set(error, EX_CONFIG,
                         "piece %u, \"%.*s\", is longer than one letter: not a "
                         "tokenizer of single residues",
                         id, (int)(piece->text.size > 64 ? 64 : piece->text.size),
                         (const char *)piece->text.data);
    unsigned char byte = piece->text.data[0];
    if (tokenizer->id[byte] >= 0)
        return error_set(error, EX_CONFIG, "pieces %d and %u are both \"%c\"", tokenizer->id[byte],
                         id, byte);
    tokenizer->id[byte] = (int32_t)id;
    if (may_be_residue(byte)) {
        tokenizer->alphabet[byte / 8] |= (uint8_t)(1u << byte % 8);
        tokenizer->residue[byte] = (int32_t)id;
    }
    return 0;
}

/* The id of a special piece, -1 where there is none. */
static int find_special(const struct pieces *pieces, const char *name) {
    for (uint32_t id = 0; id < pieces->count; id++)
        if (pieces->list[id].type != PIECE_NORMAL && bytes_are(pieces->list[id].text, name))
            return (int)id;
    return -1;
}

static int find_unknown_piece(const struct pieces *pieces, struct error *error) {
    int found = -1;
    for (uint32_t id = 0; id < pieces->count; id++) {
        if (pieces->list[id].type != PIECE_UNKNOWN)
            continue;
        if (found >= 0)
            return error_set(error, EX_CONFIG, "has two unknown pieces, %d and %u", found, id);
        found = (int)id;
    }
    return found >= 0 ? found : error_set(error, EX_CONFIG, "has no unknown piece, <unk>");
}

static int find_specials(struct tokenizer *tokenizer, const struct pieces *pieces,
                         struct error *error) {
    int unknown = find_unknown_piece(pieces, error);
    if (unknown < 0)
        return -1;
    int bos = find_special(pieces, "<s>"), eos = find_special(pieces, "</s>");
    if (bos < 0 || eos < 0)
        return error_set(error, EX_CONFIG, "has no piece %s", bos < 0 ? "<s>" : "</s>");
    int pad = find_special(pieces, "<pad>"), mask = find_special(pieces, "<mask>");
    tokenizer->unknown = (uint16_t)unknown;
    tokenizer->bos = (uint16_t)bos;
    tokenizer->eos = (uint16_t)eos;
    /* Embedding uses neither of these two, so a model may lack them. */
    tokenizer->pad = (uint16_t)(pad < 0 ? unknown : pad);
    tokenizer->mask = (uint16_t)(mask < 0 ? unknown : mask);
    return 0;
}

int tokenizer_init(struct tokenizer *tokenizer, const struct pieces *pieces, struct error *error) {
    *tokenizer = (struct tokenizer){.pieces = pieces->count};
    memset(tokenizer->id, -1, sizeof tokenizer->id);
    memset(tokenizer->residue, -1, sizeof tokenizer->residue);
    if (find_specials(tokenizer, pieces, error) < 0)
        return -1;
    tokenizer->residue[WIRE_RESIDUE_UNKNOWN] = tokenizer->unknown;
    for (uint32_t id = 0; id < pieces->count; id++)
        if (pieces->list[id].type == PIECE_NORMAL &&
            add_letter(tokenizer, &pieces->list[id], id, error) < 0)
            return -1;
    for (size_t i = 0; i < sizeof tokenizer->alphabet; i++)
        if (tokenizer->alphabet[i])
            return 0;
    return error_set(error, EX_CONFIG, "has no piece for any residue");
}

int model_tokenize(const struct model *model, const uint8_t *residues, size_t length, uint16_t *ids,
                   struct token_span *span) {
    const struct tokenizer *tokenizer = &model->tokenizer;
    const uint32_t positions = model->config.positions;
    uint32_t count = length < positions ? (uint32_t)length : positions, tokens = 0;
    int32_t all = 0; /* every token ORed into it: negative when one of them is */
    *span = (struct token_span){.first_residue = count < positions, .residues = count};
    if (count < positions)
        ids[tokens++] = tokenizer->bos;
    for (uint32_t i = 0; i < count; i++) {
        int32_t token = tokenizer->residue[residues[i]];
        all |= token;
        ids[tokens++] = (uint16_t)token;
    }
    for (size_t i = count; i < length; i++)
        all |= tokenizer->residue[residues[i]];
    if (all < 0)
        return -1;
    if (tokens < positions)
        ids[tokens++] = tokenizer->eos;
    span->tokens = tokens;
    return 0;
}

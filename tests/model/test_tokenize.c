/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens of a record: which residues get them, where <s> and </s> are, what is refused; and the
 * exact widening of every 16-bit number. The ids are those of the published vocabulary.
 *
 *     test_tokenize FILE.nemo        any model of 512 positions
 */
#include "daemon/model/model.h"
#include "tests/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define POSITIONS 512

static const char residues[] = "LASGVERTDIPKNFQYHMCWXBZUO"; /* ids from 5 */

static void check_length(const struct model *model, size_t length) {
    static const uint8_t untouched = 0xa5;
    uint8_t *record = malloc(length + 1);
    uint16_t ids[POSITIONS + 1];
    struct token_span span;
    memset(ids, untouched, sizeof ids);
    for (size_t i = 0; i < length; i++)
        record[i] = (uint8_t)residues[i % 25];
    CHECK(model_tokenize(model, record, length, ids, &span) == 0, "length %zu refused", length);
    /* From the rule: residues come first, then <s>, then </s>. */
    size_t kept = length < POSITIONS ? length : POSITIONS;
    bool bos = kept + 1 <= POSITIONS, eos = kept + 2 <= POSITIONS;
    CHECK(span.residues == kept && span.first_residue == bos && span.tokens == kept + bos + eos,
          "length %zu: %u tokens, %u residues from %u", length, span.tokens, span.residues,
          span.first_residue);
    CHECK(!bos || ids[0] == 1, "length %zu begins with %u", length, ids[0]);
    CHECK(!eos || ids[span.tokens - 1] == 2, "length %zu ends with %u", length,
          ids[span.tokens - 1]);
    for (size_t i = 0; i < kept; i++)
        CHECK(ids[span.first_residue + i] == 5 + i % 25, "length %zu, residue %zu: %u", length, i,
              ids[span.first_residue + i]);
    CHECK(ids[span.tokens] == (untouched << 8 | untouched), "length %zu wrote too far", length);
    free(record);
}

static void check_bytes(const struct model *model) {
    for (int byte = 0; byte < 256; byte++) {
        uint8_t record[] = {'M', (uint8_t)byte};
        uint16_t ids[POSITIONS];
        struct token_span span;
        const char *place = byte ? strchr(residues, byte) : NULL;
        int wanted = byte == WIRE_RESIDUE_UNKNOWN ? 0 : place ? (int)(5 + (place - residues)) : -1;
        int result = model_tokenize(model, record, 2, ids, &span);
        CHECK(result == (wanted < 0 ? -1 : 0), "byte %d: %d", byte, result);
        CHECK(wanted < 0 || ids[2] == wanted, "byte %d: %u", byte, ids[2]);
    }
    uint8_t record[POSITIONS + 10];
    uint16_t ids[POSITIONS];
    struct token_span span;
    memset(record, 'A', sizeof record);
    record[POSITIONS + 5] = 'J';
    CHECK(model_tokenize(model, record, sizeof record, ids, &span) == -1,
          "a byte behind the cut was not looked at");
}

/* From the definition: (-1)^s 2^(e - bias) (1 + m), or 2^(1 - bias) m. */
static double defined_value(unsigned bits, int exponent_bits, int mantissa_bits) {
    int bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
    double mantissa = ldexp(bits & ((1u << mantissa_bits) - 1), -mantissa_bits);
    double value = exponent ? ldexp(1 + mantissa, exponent - bias) : ldexp(mantissa, 1 - bias);
    if (exponent == (1 << exponent_bits) - 1)
        value = mantissa != 0 ? NAN : INFINITY;
    return bits & 0x8000 ? -value : value;
}

static void check_widening(enum tensor_type type, int exponent_bits, int mantissa_bits) {
    static unsigned char numbers[2 * 65536 + 1]; /* read from an odd address */
    static float out[65536];
    for (unsigned i = 0; i < 65536; i++) {
        numbers[1 + 2 * i] = i & 255;
        numbers[2 + 2 * i] = (unsigned char)(i >> 8);
    }
    struct tensor tensor = {numbers + 1, type, 1, 65536, 0, 1};
    tensor_read_row(&tensor, 0, out);
    for (unsigned i = 0; i < 65536; i++) {
        double wanted = defined_value(i, exponent_bits, mantissa_bits);
        CHECK(isnan(wanted) ? isnan(out[i])
                            : wanted == out[i] && !signbit(out[i]) == !signbit(wanted),
              "0x%04x is %g, not %g", i, (double)out[i], wanted);
    }
}

int main(int argc, char **argv) {
    struct model *model = NULL;
    struct error error = {0};
    test_case("model");
    CHECK(argc == 2 && model_open(&model, argv[1], &error) == 0, "%s", error.text);
    if (!model)
        return test_done();
    model_drop_weights(model);
    test_case("lengths");
    static const size_t lengths[] = {0, 1, 2, 255, 509, 510, 511, 512, 513, 1022, 100000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        check_length(model, lengths[i]);
    test_case("every byte");
    check_bytes(model);
    test_case("every float16");
    check_widening(TENSOR_F16, 5, 10);
    test_case("every bfloat16");
    check_widening(TENSOR_BF16, 8, 7);
    model_destroy(model);
    return test_done();
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Every kernel of every instruction set this machine has, against the portable C one, bit for bit:
 * all numbers of rows that a block can be left with, odd lengths, the widths of small and large
 * models, and values that are wide, denormal, huge or not finite. Where both give NaN, which NaN is
 * no promise. Outputs lie between guard values that must survive.
 */
#include "daemon/cpu/cpu_features.h"
#include "tests/check.h"
#include "tests/kernels/random.h"

#include <stdlib.h>

#define GUARD 64 /* bytes before and after an output */
#define GUARD_BYTE 0xa5

struct variant {
    const char *name;
    const struct kernels *tables;
};

static uint64_t state;

static void *held[16]; /* by filled(), until they are given back */
static unsigned held_count;

static void give_back(unsigned kept) {
    while (held_count > kept)
        free(held[--held_count]);
}

static void *filled(size_t bytes) {
    unsigned char *memory = aligned_alloc(64, (bytes + 2 * GUARD + 63) / 64 * 64);
    if (!memory || held_count == sizeof held / sizeof *held)
        abort();
    held[held_count++] = memory;
    memset(memory, GUARD_BYTE, (bytes + 2 * GUARD + 63) / 64 * 64);
    return memory;
}

/* count elements of a precision, with random values. */
static void *random_elements(bool bf16, enum values kind, size_t count) {
    unsigned char *memory = filled(count * 4);
    for (size_t i = 0; i < count; i++) {
        float x = random_float(&state, kind);
        if (bf16)
            ((uint16_t *)(void *)memory)[i] = bf16_from_float(x);
        else
            ((float *)(void *)memory)[i] = x;
    }
    return memory;
}

static bool same_f32(const unsigned char *a, const unsigned char *b) {
    float x, y;
    memcpy(&x, a, 4);
    memcpy(&y, b, 4);
    return memcmp(a, b, 4) == 0 || (x != x && y != y);
}

static bool nan_bf16(const unsigned char *a) {
    return (a[1] & 0x7f) == 0x7f && (a[0] & 0x80) && (a[0] & 0x7f);
}

/* The first byte at which two outputs with their guards differ, or -1. */
static long difference(bool bf16, const unsigned char *a, const unsigned char *b, size_t bytes) {
    size_t step = bf16 ? 2 : 4;
    if (memcmp(a, b, bytes + 2 * GUARD) == 0)
        return -1;
    for (size_t i = 0; i < bytes + 2 * GUARD; i += step) {
        bool same = bf16 ? memcmp(a + i, b + i, 2) == 0 || (nan_bf16(a + i) && nan_bf16(b + i))
                         : same_f32(a + i, b + i);
        if (!same)
            return (long)i - GUARD;
    }
    return -1;
}

/* [depth][64] dwords to a variant's pieces [depth][columns]. */
static uint32_t *panel_layout(const uint32_t *plain, size_t depth, size_t columns) {
    uint32_t *panel = filled(depth * PANEL_COLUMNS * 4), *to = panel;
    for (size_t first = 0; first < PANEL_COLUMNS; first += columns)
        for (size_t k = 0; k < depth; k++)
            for (size_t c = 0; c < columns; c++)
                *to++ = plain[k * PANEL_COLUMNS + first + c];
    return panel;
}

struct shape {
    uint32_t rows;
    size_t width; /* elements along K */
    enum epilogue epilogue;
    enum values kind;
};

static unsigned char *panel_run(const struct kernels *kernels, const struct shape *shape,
                                const void *a, const uint32_t *weights, const float *bias,
                                const unsigned char *before, size_t out_bytes) {
    bool bf16 = kernels->precision == PRECISION_BF16;
    size_t depth = bf16 ? shape->width / 2 : shape->width;
    uint32_t *b = panel_layout(weights, depth, kernels->sub_columns);
    unsigned char *out = filled(out_bytes);
    memcpy(out, before, out_bytes + 2 * GUARD);
    kernels->panel(&(struct panel){.a = a,
                                   .a_stride = depth,
                                   .b = b,
                                   .depth = depth,
                                   .bias = bias,
                                   .next = shape->rows % 2 ? b : NULL,
                                   .out = out + GUARD,
                                   .out_stride = 80,
                                   .rows = shape->rows,
                                   .epilogue = shape->epilogue});
    return out;
}

static void panel_compare(const struct variant *variant, bool bf16, const struct shape *shape) {
    const struct kernels *reference =
        features_kernels(SET_GENERIC, bf16 ? PRECISION_BF16 : PRECISION_F32);
    size_t depth = bf16 ? shape->width / 2 : shape->width, out_bytes = shape->rows * 80 * 4;
    void *a = random_elements(bf16, shape->kind, shape->rows * shape->width);
    uint32_t *weights = random_elements(bf16, shape->kind, PANEL_COLUMNS * shape->width);
    float bias[PANEL_COLUMNS];
    random_floats(&state, shape->kind, bias, PANEL_COLUMNS);
    unsigned char *before = filled(out_bytes);
    random_floats(&state, VALUES_WIDE, (float *)(void *)(before + GUARD), out_bytes / 4);
    const float *start = shape->rows % 3 ? bias : NULL;
    unsigned char *want = panel_run(reference, shape, a, weights, start, before, out_bytes);
    unsigned char *got =
        panel_run(&variant->tables[bf16], shape, a, weights, start, before, out_bytes);
    bool narrow = bf16 && shape->epilogue != EPILOGUE_RESIDUAL;
    long at = difference(narrow, want, got, out_bytes);
    CHECK(at < 0, "%s %s rows %u width %zu depth %zu epilogue %d %s: differs at byte %ld",
          variant->name, bf16 ? "bf16" : "f32", shape->rows, shape->width, depth,
          (int)shape->epilogue, values_names[shape->kind], at);
    give_back(0);
}

static void test_panels(const struct variant *variant, bool bf16) {
    static const size_t widths[] = {64, 128, 192, 320, 768, 1024};
    for (enum epilogue e = EPILOGUE_STORE; e <= EPILOGUE_RESIDUAL; e++)
        for (enum values kind = 0; kind < VALUES_KINDS; kind++)
            for (uint32_t rows = 1; rows <= 14; rows++)
                panel_compare(variant, bf16,
                              &(struct shape){rows, widths[(rows + kind) % 2], e, kind});
    for (size_t i = 0; i < sizeof(widths) / sizeof(*widths); i++)
        panel_compare(variant, bf16,
                      &(struct shape){i % 2 ? 65 : 37, widths[i], EPILOGUE_RESIDUAL, 0});
}

static unsigned char *attention_run(const struct kernels *kernels, uint32_t tokens, void *qkv[3],
                                    size_t out_bytes) {
    unsigned char *out = filled(out_bytes);
    void *scratch = filled(attention_scratch_bytes(tokens));
    kernels->attention(&(struct attention){.q = qkv[0],
                                           .k = qkv[1],
                                           .v = qkv[2],
                                           .tokens = tokens,
                                           .out = out + GUARD,
                                           .out_stride = 128,
                                           .scratch = scratch});
    return out;
}

static void attention_compare(const struct variant *variant, bool bf16, uint32_t tokens,
                              enum values kind) {
    const struct kernels *reference =
        features_kernels(SET_GENERIC, bf16 ? PRECISION_BF16 : PRECISION_F32);
    size_t element = bf16 ? 2 : 4, out_bytes = tokens * 128 * element;
    void *qkv[3];
    for (int i = 0; i < 3; i++) /* what is behind the last key does not matter: garbage */
        qkv[i] = random_elements(bf16, kind, ((size_t)tokens + 16) * HEAD_SIZE);
    unsigned char *want = attention_run(reference, tokens, qkv, out_bytes);
    memset((unsigned char *)qkv[1] + (size_t)tokens * HEAD_SIZE * element, 0xff,
           15 * HEAD_SIZE * element);
    unsigned char *got = attention_run(&variant->tables[bf16], tokens, qkv, out_bytes);
    long at = difference(bf16, want, got, out_bytes);
    CHECK(at < 0, "%s %s %u tokens %s: differs at byte %ld", variant->name, bf16 ? "bf16" : "f32",
          tokens, values_names[kind], at);
    give_back(0);
}

static void test_attention(const struct variant *variant, bool bf16) {
    static const uint32_t lengths[] = {127, 128, 129, 300, 512, 1000};
    for (uint32_t tokens = 1; tokens <= 70; tokens++)
        attention_compare(variant, bf16, tokens, tokens % VALUES_KINDS);
    for (enum values kind = 0; kind < VALUES_KINDS; kind++)
        for (uint32_t tokens = 15; tokens <= 18; tokens++)
            attention_compare(variant, bf16, tokens, kind);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
        attention_compare(variant, bf16, lengths[i], i % 2 ? VALUES_WIDE : VALUES_NORMAL);
}

static void norm_compare(const struct variant *variant, bool bf16, uint32_t width,
                         enum values kind) {
    enum precision precision = bf16 ? PRECISION_BF16 : PRECISION_F32;
    const struct kernels *reference = features_kernels(SET_GENERIC, precision);
    const struct kernels *kernels = &variant->tables[bf16];
    uint32_t rows = 1 + random_next(&state) % 7;
    float *x = random_elements(false, kind, (size_t)rows * width);
    float *gain = random_elements(false, kind, width);
    float *bias = random_elements(false, VALUES_NORMAL, width);
    struct norm norm = {gain, bias, width, 1e-5f};
    size_t bytes = (size_t)rows * width * 4;
    unsigned char *want = filled(bytes), *got = filled(bytes);
    reference->norm(&norm, x, rows, want + GUARD);
    kernels->norm(&norm, x, rows, got + GUARD);
    long at = difference(bf16, want, got, bytes);
    CHECK(at < 0, "%s %s norm width %u %s: differs at byte %ld", variant->name,
          bf16 ? "bf16" : "f32", width, values_names[kind], at);
    bool finite = reference->norm_output(&norm, x, (float *)(void *)(want + GUARD));
    bool found = kernels->norm_output(&norm, x, (float *)(void *)(got + GUARD));
    at = difference(false, want, got, bytes);
    CHECK(at < 0 && finite == found, "%s output norm width %u %s: byte %ld, finite %d and %d",
          variant->name, width, values_names[kind], at, finite, found);
    give_back(0);
}

static void test_norms(const struct variant *variant, bool bf16) {
    for (enum values kind = 0; kind < VALUES_KINDS; kind++)
        for (uint32_t width = 64; width <= 1024; width += 64)
            norm_compare(variant, bf16, width, kind);
}

/* All floats that are near a rounding, and a sample of the others, through the panel's store. */
static void test_rounding(const struct variant *variant) {
    const struct kernels *reference = features_kernels(SET_GENERIC, PRECISION_BF16);
    struct shape shape = {64, 64, EPILOGUE_STORE, VALUES_NORMAL};
    size_t out_bytes = (size_t)shape.rows * 80 * 4;
    void *a = filled((size_t)64 * 64 * 2);
    uint32_t *weights = filled(32 * PANEL_COLUMNS * 4);
    unsigned char *before = filled(out_bytes);
    memset(a, 0, (size_t)64 * 64 * 2); /* what comes out is the bias */
    memset(weights, 0, 32 * PANEL_COLUMNS * 4);
    for (uint32_t i = 0; i < 4096; i++) {
        float bias[PANEL_COLUMNS];
        for (uint32_t c = 0; c < PANEL_COLUMNS; c++) {
            uint32_t low = c % 4 == 3 ? random_next(&state) & 0xffff : 0x7fff + c % 4;
            bias[c] = float_from_bits((i * 16 + c / 4) << 16 | low);
        }
        shape.rows = 1;
        unsigned char *want = panel_run(reference, &shape, a, weights, bias, before, out_bytes);
        unsigned char *got =
            panel_run(&variant->tables[1], &shape, a, weights, bias, before, out_bytes);
        long at = difference(true, want, got, 160);
        CHECK(at < 0, "%s rounds %a (%08x) differently", variant->name, (double)bias[at / 2 % 64],
              float_bits(bias[at / 2 % 64]));
        give_back(3); /* all but those that each round needs */
    }
    give_back(0);
}

int main(void) {
    static const struct variant variants[] = {{"plain", kernels_generic_plain},
                                              {"avx2", kernels_avx2},
                                              {"avx512", kernels_avx512},
                                              {"avx512bf16", kernels_avx512bf16}};
    arithmetic_flush_denormals();
    for (int i = 0; i < 4; i++) {
        for (int bf16 = 0; bf16 < 2; bf16++) {
            static char names[4][2][96]; /* they must outlive their cases */
            char *name = names[i][bf16];
            snprintf(name, sizeof(names[i][bf16]), "%s %s equals portable C", variants[i].name,
                     bf16 ? "bf16" : "f32");
            if (i > (int)features_best()) {
                test_skip(name, "not on this machine");
                continue;
            }
            test_case(name);
            test_panels(&variants[i], bf16);
            test_attention(&variants[i], bf16);
            test_norms(&variants[i], bf16);
            if (bf16)
                test_rounding(&variants[i]);
        }
    }
    return test_done();
}

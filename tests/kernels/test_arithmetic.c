/* SPDX-License-Identifier: Apache-2.0
 *
 * The scalar definitions against the C library's double precision: 2^x, both GELU forms and
 * LayerNorm within stated bounds, float16 and bfloat16 exactly, for every exponent.
 */
#include "daemon/cpu/cpu_features.h"
#include "tests/check.h"
#include "tests/kernels/random.h"

#include <float.h>

/* How many float32 steps `got` is from `want`, near `want`. */
static double steps_off(float got, double want) {
    int exponent;
    frexp(want, &exponent);
    double step = ldexp(1.0, exponent - 24);
    return fabs((double)got - want) / (step > DBL_MIN ? step : DBL_MIN);
}

TEST("2^x within 2 steps, exact at integers") {
    double worst = 0;
    for (float x = EXP2_LOW; x <= EXP2_HIGH; x += 0x1.9p-10f) {
        double off = steps_off(exp2_bounded(x), exp2((double)x));
        worst = off > worst ? off : worst;
    }
    CHECK(worst <= 2, "worst is %g steps", worst);
    for (float x = EXP2_LOW; x <= EXP2_HIGH; x += 1)
        CHECK(exp2_bounded(x) == exp2f(x), "2^%g", (double)x);
    CHECK(exp2_bounded(NAN) != exp2_bounded(NAN), "NaN is lost");
}

static double gelu_erf_exact(double x) {
    return 0.5 * x * erfc(-x / sqrt(2.0));
}

/* The model's own constants, in its own words. */
static double gelu_tanh_exact(double x) {
    double u = 0.7978845608028654 * x * (1 + 0.044715 * x * x);
    return x / (1 + exp(-2 * u));
}

static void gelu_check(const char *name, float (*got)(float), double (*want)(double),
                       double steps) {
    double worst = 0, worst_low = 0, at = 0;
    test_case(name);
    for (float x = -12; x <= 12; x += 0x1.3p-12f) {
        double exact = want((double)x), off = steps_off(got(x), exact);
        double absolute = fabs((double)got(x) - exact);
        if (x >= -1 && off > worst) {
            worst = off;
            at = (double)x;
        }
        worst_low = x < -1 && absolute > worst_low ? absolute : worst_low;
    }
    CHECK(worst <= steps, "from -1 up: %g steps at %g", worst, at);
    CHECK(worst_low <= 1e-7, "below -1: %g", worst_low);
    CHECK(got(0) == 0 && got(1e30f) == 1e30f && fabsf(got(-1e30f)) < 1e-7f, "at the ends");
    CHECK(got(NAN) != got(NAN), "NaN is lost");
}

TEST("bfloat16 is the nearest, ties to even") {
    for (uint32_t high = 0; high < 0x10000; high++)
        for (uint32_t low = 0x7fff; low <= 0x8001; low++) {
            float x = float_from_bits(high << 16 | low);
            uint32_t below = high << 16, above = below + 0x10000;
            uint32_t nearest = low == 0x7fff || (low == 0x8000 && high % 2 == 0) ? below : above;
            uint32_t got = (uint32_t)bf16_from_float(x) << 16;
            if ((high & 0x7f80) == 0)
                nearest = high << 16 & 0x80000000u; /* denormal */
            if ((high & 0x7f80) == 0x7f80)
                CHECK((got & 0x7fc00000u) == 0x7fc00000u, "%08x is no quiet NaN", float_bits(x));
            else
                CHECK(got == nearest, "%08x gives %08x", float_bits(x), got);
        }
    CHECK(bf16_from_float(INFINITY) == 0x7f80 && bf16_from_float(-INFINITY) == 0xff80, "infinity");
}

/* The value of a finite float16. */
static double f16_value(uint16_t bits) {
    int exponent = bits >> 10 & 31;
    double mantissa = (bits & 1023) + (exponent ? 1024 : 0);
    return (bits & 0x8000 ? -1 : 1) * ldexp(mantissa, (exponent ? exponent : 1) - 25);
}

static void test_f16(void) {
    test_case("float16 is the nearest, ties to even, subnormals kept");
    for (uint32_t bits = 0; bits < 0x7bff; bits++) {
        double low = f16_value((uint16_t)bits), high = f16_value((uint16_t)(bits + 1));
        float middle = (float)((low + high) / 2);
        uint16_t even = (uint16_t)(bits % 2 ? bits + 1 : bits);
        CHECK(f16_from_float((float)low) == bits, "%04x does not come back", bits);
        CHECK(float_from_f16((uint16_t)bits) == (float)low, "%04x is widened to another", bits);
        CHECK(f16_from_float(middle) == even, "the middle above %04x", bits);
        CHECK(f16_from_float(nextafterf(middle, 0)) == bits, "below the middle of %04x", bits);
        CHECK(f16_from_float(nextafterf(-middle, -INFINITY)) == (0x8000 | (bits + 1)),
              "above the middle of %04x", bits);
    }
    CHECK(f16_from_float(65519.996f) == 0x7bff && f16_from_float(65520.0f) == 0x7c00, "overflow");
    CHECK(f16_from_float(-1e30f) == 0xfc00 && f16_from_float(0x1p-140f) == 0, "the ends");
    CHECK(float_from_f16(0xfc00) == -INFINITY && isnan(float_from_f16(0x7c01)), "beyond the ends");
}

#define WIDTH 768

static void norm_exact(const float *x, const float *gain, const float *bias, double *out) {
    double mean = 0, variance = 0;
    for (int i = 0; i < WIDTH; i++)
        mean += (double)x[i] / WIDTH;
    for (int i = 0; i < WIDTH; i++)
        variance += ((double)x[i] - mean) * ((double)x[i] - mean) / WIDTH;
    for (int i = 0; i < WIDTH; i++)
        out[i] = ((double)x[i] - mean) / sqrt(variance + 1e-5) * (double)gain[i] + (double)bias[i];
}

TEST("LayerNorm within 1e-6 of double precision, also far from zero") {
    uint64_t state = 3;
    for (int round = 0; round < 50; round++) {
        float x[WIDTH], gain[WIDTH], bias[WIDTH], got[WIDTH];
        double want[WIDTH];
        random_floats(&state, VALUES_NORMAL, x, WIDTH);
        random_floats(&state, VALUES_NORMAL, gain, WIDTH);
        random_floats(&state, VALUES_NORMAL, bias, WIDTH);
        for (int i = 0; i < WIDTH; i++)
            x[i] = x[i] * ldexpf(1, round % 10 - 5) + (float)(round % 3);
        norm_exact(x, gain, bias, want);
        struct norm norm = {gain, bias, WIDTH, 1e-5f};
        bool finite = features_kernels(SET_GENERIC, PRECISION_F32)->norm_output(&norm, x, got);
        /* The mean is rounded too: to 2^-24 of 2, beside deviations of 2^-5. */
        double tolerance = round % 3 ? 1e-6 * ldexp(1, 6) : 1e-6;
        for (int i = 0; i < WIDTH; i++)
            CHECK(finite && fabs((double)got[i] - want[i]) <= tolerance * (1 + fabs(want[i])),
                  "round %d, value %d: %g for %g", round, i, (double)got[i], want[i]);
    }
}

int main(void) {
    test_f16(); /* before denormals are flushed: it makes some */
    arithmetic_flush_denormals();
    gelu_check("tanh GELU within 5 steps from -1, 1e-7 below", gelu_tanh, gelu_tanh_exact, 5);
    gelu_check("erf GELU within 6 steps from -1, 1e-7 below", gelu_erf, gelu_erf_exact, 6);
    test_run();
    return test_done();
}

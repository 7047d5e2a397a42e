/* SPDX-License-Identifier: Apache-2.0
 *
 * Shortest decimal of a float32, after Raffaello Giulietti's "The Schubfach way to render doubles".
 * x = c * 2^q rounds from every decimal between the midpoints to its neighbours. With the largest
 * 10^k that is no wider than this interval, x / 10^k is computed as an integer with two more bits,
 * and either the multiple of 10^(k+1) in the interval is the one shorter decimal, or one of the
 * two multiples of 10^k around x is the nearest of the shortest. One 64-bit power of ten
 * (powers.h) is precise enough for float32.
 */
#include "client/filter/output/number.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "client/filter/output/powers.h"

struct decimal {
    uint32_t digits; /* as one integer */
    int exponent;    /* of ten */
};

/* floor(e * log2(10)), and floor(log10(2^e)) or, for closer, floor(log10(3/4 * 2^e)); exact over
 * all exponents of a float32. */
static int floor_log2_power10(int e) {
    return (e * 1741647) >> 19;
}

static int floor_log10_power2(int e, bool closer) {
    return (e * 1262611 - (closer ? 524031 : 0)) >> 22;
}

/* power * value / 2^64, where the lowest bit also says whether anything was cut off. */
static uint32_t scale(uint64_t power, uint32_t value) {
    uint64_t product = (power >> 32) * value + ((power & 0xFFFFFFFF) * value >> 32);
    return (uint32_t)(product >> 32) | ((uint32_t)product > 1);
}

/* The value is significand * 2^exponent; closer: the neighbour below is only half as far. */
static struct decimal shortest(uint32_t significand, int exponent, bool closer) {
    int k = floor_log10_power2(exponent, closer);
    int shift = exponent + floor_log2_power10(-k) + 1;
    uint64_t power = powers[-k - POWER_LOW];
    uint32_t odd = significand & 1; /* an even significand also gets what lies on the midpoints */
    uint32_t lower = scale(power, (4 * significand - 2 + closer) << shift) + odd;
    uint32_t value = scale(power, (4 * significand) << shift);
    uint32_t upper = scale(power, (4 * significand + 2) << shift) - odd;

    uint32_t floor = value / 4;
    uint32_t tens = floor / 10;
    bool tens_in = floor >= 10 && lower <= 40 * tens;
    bool next_tens_in = floor >= 10 && 40 * tens + 40 <= upper;
    if (tens_in != next_tens_in)
        return (struct decimal){tens + next_tens_in, k + 1};
    bool floor_in = lower <= 4 * floor;
    bool next_in = 4 * floor + 4 <= upper;
    if (floor_in != next_in)
        return (struct decimal){floor + next_in, k};
    uint32_t middle = 4 * floor + 2;
    bool round_up = value > middle || (value == middle && (floor & 1));
    return (struct decimal){floor + round_up, k};
}

static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                            "25262728293031323334353637383940414243444546474849"
                            "50515253545556575859606162636465666768697071727374"
                            "75767778798081828384858687888990919293949596979899";

/* Nine digits with leading zeros, and zeros behind them, so that copies may have a fixed size. */
static void write_digits(char text[24], uint32_t value) {
    uint32_t high = value / 10000;
    uint32_t low = value % 10000;
    uint32_t middle = high % 10000;
    text[0] = (char)('0' + high / 10000);
    memcpy(text + 1, pairs + middle / 100 * 2, 2);
    memcpy(text + 3, pairs + middle % 100 * 2, 2);
    memcpy(text + 5, pairs + low / 100 * 2, 2);
    memcpy(text + 7, pairs + low % 100 * 2, 2);
    memset(text + 9, '0', 15);
}

static int count_digits(uint32_t value) {
    static const uint32_t limits[] = {10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    int count = 9;
    while (count > 1 && value < limits[count - 2])
        count--;
    return count;
}

/* point: how many digits stand before the decimal point; from -4 to 9. */
static char *write_fixed(char *text, const char *digits, int count, int point) {
    if (point <= 0) {
        memcpy(text, "0.0000", 6);
        text += 2 - point;
        memcpy(text, digits, 9);
        return text + count;
    }
    memcpy(text, digits, 9);
    if (count <= point)
        return text + point; /* the zeros stand behind the digits already */
    text[point] = '.';
    memcpy(text + point + 1, digits + point, 9);
    return text + count + 1;
}

static char *write_scientific(char *text, const char *digits, int count, int point) {
    int exponent = point - 1;
    *text++ = digits[0];
    if (count > 1) {
        *text++ = '.';
        memcpy(text, digits + 1, 8);
        text += count - 1;
    }
    *text++ = 'e';
    *text++ = exponent < 0 ? '-' : '+';
    memcpy(text, pairs + (exponent < 0 ? -exponent : exponent) * 2, 2);
    return text + 2;
}

char *number_write(char *text, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    *text = '-';
    text += bits >> 31;
    uint32_t fraction = bits & 0x7FFFFF;
    int biased = bits >> 23 & 0xFF;
    if (fraction == 0 && biased == 0) {
        *text = '0';
        return text + 1;
    }
    struct decimal decimal =
        biased ? shortest(fraction | 0x800000, biased - 150, fraction == 0 && biased > 1)
               : shortest(fraction, -149, false);
    char nine[24];
    write_digits(nine, decimal.digits);
    int count = count_digits(decimal.digits);
    int point = count + decimal.exponent;
    const char *digits = nine + 9 - count;
    while (count > 1 && digits[count - 1] == '0')
        count--;
    float magnitude = value < 0 ? -value : value;
    /* 1e-5f is a little less than 1e-5, hence the comparison of doubles. */
    if ((double)magnitude >= 1e-5 && magnitude < 1e9f)
        return write_fixed(text, digits, count, point);
    return write_scientific(text, digits, count, point);
}

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Text numbers against exact fractions (every exponent, both ends of it, and random ones) and
# against NumPy's shortest digits (many random ones); number_print reads each back besides. Also:
# powers.h is what powers.py prints.
import re
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from math import floor

import numpy as np

from patience import PATIENCE as LIMIT
from tap import check, equal, finish, section

FORM = re.compile(r"-?(0|[1-9]\d*|0\.\d*[1-9]|[1-9]\d*\.\d*[1-9]|[1-9](\.\d*[1-9])?e[+-]\d\d)")


def printed(bits):
    result = subprocess.run([sys.argv[1]], input=bits.astype("<u4").tobytes(), timeout=LIMIT,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check(result.returncode == 0, result.stderr.decode())
    texts = result.stdout.decode().split("\n")[:-1]
    equal(len(texts), len(bits))
    return texts


def shortest(bits):
    """The decimals of fewest digits in the rounding interval of a positive value, nearest first."""
    def exact(pattern):
        exponent, fraction = pattern >> 23, pattern & 0x7FFFFF
        significand = fraction | 0x800000 if exponent else fraction
        return Fraction(significand) * Fraction(2) ** (max(exponent, 1) - 150)

    value = exact(bits)
    low, high = (exact(bits - 1) + value) / 2, (value + exact(bits + 1)) / 2
    closed = bits % 2 == 0
    power = floor(np.log10(float(value))) + 2
    while True:
        step = Fraction(10) ** power
        around = [floor(value / step) * step, (floor(value / step) + 1) * step]
        inside = [d for d in around if d > 0 and (low <= d <= high if closed else low < d < high)]
        if inside:
            return sorted(inside, key=lambda d: abs(d - value)), value
        power -= 1


def check_form(text, value):
    """Fixed notation for 1e-5 <= |x| < 1e9, and no digit too many."""
    check(FORM.fullmatch(text), text)
    check(("e" in text) == (not Fraction(1, 100000) <= value < 10**9), text)


def check_exact(bits):
    for pattern, text in zip(bits.tolist(), printed(bits)):
        best, value = shortest(pattern)
        got = Fraction(Decimal(text))
        nearest = [d for d in best if abs(d - value) == abs(best[0] - value)]
        check(got in nearest, hex(pattern), text, [float(d) for d in best])
        check_form(text, value)


random = np.random.default_rng(1)
exponents = np.arange(255, dtype=np.int64) << 23

section("every exponent: its ends and their neighbours")
edges = np.concatenate([exponents + i for i in (0, 1, 2, 3, 0x7FFFFF, 0x7FFFFE, 0x400000)])
check_exact(edges[edges > 0])

section("every exponent: random values")
check_exact(np.repeat(exponents, 20) + random.integers(1, 1 << 23, 255 * 20))

section("subnormals, small integers, and around the ends of fixed notation")
check_exact(np.arange(1, 300))
check_exact(np.arange(1, 3000, dtype=np.float32).view("<u4").astype(np.int64))
for value in (1e-5, 1e9, 1e8, 16777216.0, 1e-6, 9.5e-6):
    check_exact(np.float32(value).view("<u4") + np.arange(-40, 41))

section("large integers, where a midpoint may be the only short decimal")
for power in range(24, 31):
    check_exact(np.float32(1 << power).view("<u4") + np.arange(300))

section("signs and zeros")
equal(printed(np.array([0, 1 << 31, 0xBF800000, 0x7F7FFFFF, 0x80000001])),
      ["0", "-0", "-1", "3.4028235e+38", "-1e-45"])

for name, bits in (("bit patterns", random.integers(1, 0x7F800000, 200000)),
                   ("values as in embeddings",
                    np.abs(random.normal(0, 0.3, 200000)).astype(np.float32).view("<u4"))):
    section("200,000 random %s have NumPy's shortest digits" % name)
    numpy = bits.astype("<u4").view("<f4").astype(str)
    texts = printed(bits)
    # NumPy does not always choose the nearest of the shortest; as many digits it must have.
    for text, other in zip(texts, numpy.tolist()):
        mine, theirs = Decimal(text), Decimal(other)
        if mine != theirs:
            digits = [len(number.normalize().as_tuple().digits) for number in (mine, theirs)]
            check(digits[0] == digits[1], text, other)

section("powers.h is what powers.py prints")
made = subprocess.run([sys.executable, sys.argv[2]], stdout=subprocess.PIPE, timeout=LIMIT).stdout
with open(sys.argv[3], "rb") as file:
    equal(file.read(), made)
finish()

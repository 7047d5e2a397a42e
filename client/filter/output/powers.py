#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Prints powers.h, the powers of ten for number.c: 10^k as a 64-bit significand, rounded up, its
# highest bit set. Run it again only when the range changes; a test compares.
LOW, HIGH = -31, 45

print("/* SPDX-License-Identifier: Apache-2.0")
print(" *")
print(" * Made by powers.py: ceil(10^k / 2^e) with 64 bits, k = POWER_LOW and up. */")
print("#define POWER_LOW (%d)" % LOW)
print("/* clang-format off */")
print("static const uint64_t powers[] = {")
for k in range(LOW, HIGH + 1):
    numerator, denominator = (10**k, 1) if k >= 0 else (1, 10**-k)
    shift = numerator.bit_length() - denominator.bit_length()  # floor(log2) or one above
    if numerator << max(-shift, 0) < denominator << max(shift, 0):
        shift -= 1
    shift = 63 - shift
    if shift >= 0:
        numerator <<= shift
    else:
        denominator <<= -shift
    print("    0x%016Xu," % (-(-numerator // denominator)))
print("};")

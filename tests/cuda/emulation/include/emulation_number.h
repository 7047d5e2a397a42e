/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: a 16-bit number and a pair of them, by the format that says how they are made of
 * floats. Arithmetic is float's; kernels only keep and move numbers of these types.
 */
#ifndef EMULATION_NUMBER_H
#define EMULATION_NUMBER_H

#include "emulation_convert.h"
#include "vector_types.h"

template <typename Format> struct alignas(2) emulation_number {
    unsigned short emulated;

    emulation_number() = default;
    emulation_number(float value) : emulated(Format::narrow(value)) {
    }
    operator float() const {
        return Format::widen(emulated);
    }
};

template <typename Format> struct alignas(4) emulation_pair { emulation_number<Format> x, y; };

#endif

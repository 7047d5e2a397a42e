/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: a 16-bit number and a pair of them, of either format. Arithmetic is float's, for
 * kernels only keep and move numbers of these types.
 */
#ifndef EMULATION_NUMBER_H
#define EMULATION_NUMBER_H

#include "emulation_convert.h"
#include "vector_types.h"

enum emulation_format { EMULATION_HALF, EMULATION_BFLOAT };

template <emulation_format format> struct alignas(2) emulation_number {
    unsigned short emulated;

    emulation_number() = default;
    emulation_number(float value)
        : emulated(format == EMULATION_HALF ? emulation_half_from_float(value)
                                            : emulation_bfloat_from_float(value)) {
    }
    operator float() const {
        return format == EMULATION_HALF ? emulation_half_to_float(emulated)
                                        : emulation_bfloat_to_float(emulated);
    }
};

template <emulation_format format> struct alignas(4) emulation_pair {
    emulation_number<format> x, y;
};
#endif

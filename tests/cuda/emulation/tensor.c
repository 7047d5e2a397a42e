/* SPDX-License-Identifier: Apache-2.0
 *
 * What tensor cores compute: a lane's values of a product of 16-bit matrices, widened, which the
 * whole warp has given.
 */
#include "core.h"

void emulation_product_m16n8(float sums[4], const struct emulation_payload given[32], int lane) {
    int group = lane / 4, pair = lane % 4;
    for (int i = 0; i < 4; i++) {
        int row = i / 2, column = 2 * pair + i % 2;
        sums[i] = 0.0f;
        for (int k = 0; k < 16; k++)
            sums[i] += given[4 * group + k % 8 / 2].values[4 * (k / 8) + 2 * row + k % 2] *
                       given[4 * column + k % 8 / 2].values[8 + 2 * (k / 8) + k % 2];
    }
}

static float element(const struct emulation_payload given[32], int place, int offset) {
    int index = emulation_unplace(place);
    return given[index % 32].values[offset + index / 32];
}

void emulation_product_m16n16(float sums[8], const struct emulation_payload given[32], int lane) {
    for (int i = 0; i < 8; i++) {
        int place = emulation_place(lane, i);
        sums[i] = 0.0f;
        for (int k = 0; k < 16; k++)
            sums[i] +=
                element(given, place / 16 * 16 + k, 0) * element(given, 16 * k + place % 16, 8);
    }
}

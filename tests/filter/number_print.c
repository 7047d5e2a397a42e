/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints the float32 values on stdin (their four bytes each), one a line, for test_number.py. Each
 * must be read back by the C library as the same bits, or the program fails.
 */
#include "client/filter/output/number.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    float value;
    while (fread(&value, sizeof value, 1, stdin) == 1) {
        char text[NUMBER_MAX + 1];
        memset(text, '#', sizeof text);
        char *end = number_write(text, value);
        if (end > text + NUMBER_MAX || text[NUMBER_MAX] != '#')
            return 1;
        *end = 0;
        float back = strtof(text, NULL);
        if (memcmp(&back, &value, sizeof value) != 0) {
            fprintf(stderr, "%a became %s, which is %a\n", (double)value, text, (double)back);
            return 1;
        }
        puts(text);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * This reads settings, and prints figures, each as one line of JSON.
 */
#include "tests/bench/bench.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double bench_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_quantile(double *values, unsigned count, double share) {
    double at = share * (count - 1);
    unsigned low = (unsigned)at, high = low + 1 < count ? low + 1 : low;
    qsort(values, count, sizeof *values, ascending);
    return values[low] + (at - low) * (values[high] - values[low]);
}

const char *bench_text(const char *name, const char *otherwise) {
    const char *text = getenv(name);
    return text ? text : otherwise;
}

double bench_number(const char *name, double otherwise) {
    const char *text = getenv(name);
    return text ? atof(text) : otherwise;
}

unsigned bench_rounds(void) {
    double rounds = bench_number("BENCH_ROUNDS", 5);
    if (rounds < 1 || rounds > BENCH_ROUNDS_MAX)
        errx(64, "1 to %d rounds", BENCH_ROUNDS_MAX);
    return (unsigned)rounds;
}

static void numbers_print(const char *name, const double *numbers, unsigned count) {
    printf(", \"%s\": [", name);
    for (unsigned i = 0; i < count; i++)
        printf("%s%.9g", i > 0 ? ", " : "", numbers[i]);
    printf("]");
}

void bench_figure_print(const struct bench_figure *figure, const double *values,
                        const double *baselines, unsigned rounds) {
    printf("{\"figure\": \"%s\", \"unit\": \"%s\"", figure->name, figure->unit);
    numbers_print("values", values, rounds);
    if (baselines) {
        printf(", \"baseline\": \"%s\"", figure->baseline);
        numbers_print("baselines", baselines, rounds);
    }
    if (figure->sign)
        printf(", \"wanted\": \"%s %g\"", figure->sign, figure->bar);
    printf("}\n");
    fflush(stdout);
}

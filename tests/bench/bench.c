/* SPDX-License-Identifier: Apache-2.0
 *
 * This reads options, and prints figures, each as one line of JSON.
 */
#include "tests/bench/bench.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static const struct bench_option *option_find(const char *argument,
                                              const struct bench_option *options, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        if (strncmp(argument, "--", 2) == 0 && strcmp(argument + 2, options[i].name) == 0)
            return &options[i];
    for (unsigned i = 0; i < count; i++)
        warnx("there is --%s %s", options[i].name, options[i].text ? "TEXT" : "NUMBER");
    errx(64, "there is no option %s", argument);
}

void bench_options_read(int count, char **arguments, const struct bench_option *options,
                        unsigned option_count) {
    for (int i = 1; i < count; i += 2) {
        const struct bench_option *option = option_find(arguments[i], options, option_count);
        if (i + 1 == count)
            errx(64, "%s needs a value", arguments[i]);
        if (option->text)
            *option->text = arguments[i + 1];
        else
            *option->number = atof(arguments[i + 1]);
    }
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

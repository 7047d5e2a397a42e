/* SPDX-License-Identifier: Apache-2.0
 *
 * This prints figures: their medians over rounds, each as one line of JSON.
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

static double median(const double *values, unsigned count) {
    double sorted[BENCH_ROUNDS_MAX];
    memcpy(sorted, values, count * sizeof *values);
    return bench_quantile(sorted, count, 0.5);
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

void bench_figure_print(const struct bench_figure *figure, const double *values,
                        const double *baselines, unsigned rounds) {
    static const char *const wishes[] = {"", "ratio >= ", "ratio <= ", ">= ", "<= "};
    double spread[BENCH_ROUNDS_MAX], value = median(values, rounds);
    printf("{\"figure\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"", figure->name, value,
           figure->unit);
    for (unsigned r = 0; r < rounds; r++)
        spread[r] = baselines ? values[r] / baselines[r] : values[r];
    double middle = bench_quantile(spread, rounds, 0.5);
    if (baselines)
        printf(", \"baseline\": \"%s\", \"baseline_value\": %.6g, \"ratio\": %.4f",
               figure->baseline, median(baselines, rounds), middle);
    printf(", \"least\": %.4g, \"most\": %.4g", spread[0], spread[rounds - 1]);
    if (figure->wish != BENCH_STATED) {
        bool of_ratio = figure->wish == BENCH_RATIO_AT_LEAST || figure->wish == BENCH_RATIO_AT_MOST;
        bool at_least =
            figure->wish == BENCH_RATIO_AT_LEAST || figure->wish == BENCH_VALUE_AT_LEAST;
        double got = of_ratio ? middle : value;
        printf(", \"wanted\": \"%s%g\", \"reached\": %s", wishes[figure->wish], figure->bar,
               (at_least ? got >= figure->bar : got <= figure->bar) ? "true" : "false");
    }
    printf("}\n");
    fflush(stdout);
}

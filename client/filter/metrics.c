/* SPDX-License-Identifier: Apache-2.0
 *
 * --metrics: the daemon's status as OpenMetrics 1.0 text. Facts that are texts become the labels of
 * one gauge, esm1nv_info. OpenMetrics has a type "info" for that, but the older text format of
 * Prometheus does not and refuses a page that uses it; as a gauge, both can read it.
 */
#include "client/filter/report.h"
#include "client/filter/verbs.h"
#include "ipc/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static const struct metric {
    const char *fact; /* its name in the status */
    enum { METRIC_NONE, METRIC_GAUGE, METRIC_COUNTER, METRIC_LABEL } kind;
    const char *name; /* NULL: that of the fact */
    const char *unit; /* with which the name ends, or NULL */
    const char *help;
} metrics[] = {
#define METRIC(key, number, type, least, most, fact_name, ...) {.fact = fact_name, __VA_ARGS__},
    WIRE_STATUS_ROWS(METRIC)};

static void print_head(const char *name, const char *type, const char *unit, const char *help) {
    printf("# TYPE esm1nv_%s %s\n", name, type);
    if (unit)
        printf("# UNIT esm1nv_%s %s\n", name, unit);
    printf("# HELP esm1nv_%s %s\n", name, help);
}

static void print_label(FILE *labels, const char *name, const char *text) {
    fprintf(labels, "%s%s=\"", ftell(labels) ? "," : "", name);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', labels);
        *text == '\n' ? fputs("\\n", labels) : fputc(*text, labels);
    }
    fputc('"', labels);
}

static void print_number(const struct metric *metric, uint64_t number) {
    const char *name = metric->name ? metric->name : metric->fact;
    bool counter = metric->kind == METRIC_COUNTER;
    print_head(name, counter ? "counter" : "gauge", metric->unit, metric->help);
    printf("esm1nv_%s%s %" PRIu64 "\n", name, counter ? "_total" : "", number);
}

/* Numbers are printed as they come; the labels, which belong on one line, are gathered first. */
static void print_fact(void *context, const char *fact, const char *text, uint64_t number) {
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        const struct metric *metric = &metrics[i];
        if (metric->kind == METRIC_NONE || strcmp(metric->fact, fact) != 0)
            continue;
        if (metric->kind == METRIC_LABEL)
            print_label(context, fact, text);
        else
            print_number(metric, number);
    }
}

static int metrics_show(const struct options *options) {
    char *text = NULL;
    size_t length;
    FILE *labels = open_memstream(&text, &length);
    if (!labels)
        exit_out_of_memory();
    int result = status_ask(options, print_fact, labels);
    if (fclose(labels) != 0 && result == EX_OK)
        exit_out_of_memory();
    if (result == EX_OK) {
        print_head("info", "gauge", NULL, "The daemon and its model, in labels.");
        printf("esm1nv_info{%s} 1\n# EOF\n", text);
    }
    free(text);
    return result;
}

const struct verb verb_metrics = {.run = metrics_show, .refuses_files = true};

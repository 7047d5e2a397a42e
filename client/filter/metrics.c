/* SPDX-License-Identifier: Apache-2.0
 *
 * --metrics: the daemon's status as OpenMetrics 1.0 text. What is text there becomes the labels of
 * one gauge, esm1nv_info, for the older text format of Prometheus knows no type info and would
 * refuse the whole; so both readers take it.
 */
#include "client/filter/report.h"
#include "client/filter/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static const struct metric {
    const char *fact; /* its name in the status */
    const char *name;
    const char *unit; /* which the name ends in, or NULL */
    bool counter;
    const char *help;
} metrics[] = {
    {"uptime_seconds", "esm1nv_uptime_seconds", "seconds", false, "Time since the daemon began."},
    {"generation", "esm1nv_generation", NULL, false, "Models loaded since the daemon began."},
    {"threads", "esm1nv_threads", NULL, false, "Threads that compute."},
    {"clients", "esm1nv_clients", NULL, false, "Clients that are connected."},
    {"clients_before", "esm1nv_clients_before", NULL, false,
     "Connected clients that keep an earlier model."},
    {"clients_total", "esm1nv_sessions", NULL, true, "Clients that have been welcomed."},
    {"records", "esm1nv_records", NULL, true, "Records that were embedded."},
    {"records_failed", "esm1nv_records_failed", NULL, true, "Records that failed."},
    {"residues", "esm1nv_residues", NULL, true, "Residues that were embedded."},
    {"batches", "esm1nv_batches", NULL, true, "Batches that were computed."},
    {"queued_residues", "esm1nv_queued_residues", NULL, false, "Residues that wait."},
    {"pinned_bytes", "esm1nv_pinned_bytes", "bytes", false, "Shared memory that clients pin."},
};

static const char *const label_names[] = {"version",   "model",        "digest", "backend",
                                          "precision", "instructions", "device", "loop"};

static void print_head(const char *name, const char *type, const char *unit, const char *help) {
    printf("# TYPE %s %s\n", name, type);
    if (unit)
        printf("# UNIT %s %s\n", name, unit);
    printf("# HELP %s %s\n", name, help);
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

static void print_number(const char *fact, uint64_t number) {
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        const struct metric *metric = &metrics[i];
        if (strcmp(metric->fact, fact) != 0)
            continue;
        print_head(metric->name, metric->counter ? "counter" : "gauge", metric->unit, metric->help);
        printf("%s%s %" PRIu64 "\n", metric->name, metric->counter ? "_total" : "", number);
    }
}

/* Numbers go out as they come; the labels, which stand in one line, are gathered. */
static void visit(void *context, const char *fact, const char *text, uint64_t number) {
    FILE *labels = context;
    if (!text) {
        print_number(fact, number);
        return;
    }
    for (size_t i = 0; i < sizeof label_names / sizeof *label_names; i++)
        if (strcmp(label_names[i], fact) == 0)
            print_label(labels, fact, text);
}

static int metrics_show(const struct options *options) {
    char *text = NULL;
    size_t length;
    FILE *labels = open_memstream(&text, &length);
    if (!labels) {
        report("out of memory");
        return EX_SOFTWARE;
    }
    int status = status_visit(options, visit, labels);
    if (fclose(labels) != 0 && status == EX_OK) {
        report("out of memory");
        status = EX_SOFTWARE;
    }
    if (status == EX_OK) {
        print_head("esm1nv_info", "gauge", NULL, "The daemon and its model, in labels.");
        printf("esm1nv_info{%s} 1\n# EOF\n", text);
    }
    free(text);
    return status;
}

const struct verb verb_metrics = {.run = metrics_show, .refuses_files = true};

/* SPDX-License-Identifier: Apache-2.0
 *
 * The chooser among engines: finds the table that a name asks for, probes the machine, and opens
 * the engine with all signals blocked.
 */
#include "daemon/engine/chooser.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define ROW_NAME(name, ...) #name,
const char *const engine_backends[] = {"auto", ENGINE_ROWS(ROW_NAME, ROW_NAME) NULL};

const char *const engine_precisions[] = {[PRECISION_AUTO] = "auto",
                                         [PRECISION_F32] = "f32",
                                         [PRECISION_BF16] = "bf16",
                                         [PRECISION_F16] = "f16",
                                         [PRECISION_F16 + 1] = NULL};

struct row {
    const char *name;
    const struct engine_table *table; /* NULL: a plugin's */
    int (*load)(const struct engine_table **table, struct error *error);
    const char *absent;
};

#define ROW_BUILT_IN(name) {#name, &name##_engine_table, NULL, NULL},
#define ROW_PLUGIN(name, load, absent) {#name, NULL, load, absent},
static const struct row rows[] = {ENGINE_ROWS(ROW_BUILT_IN, ROW_PLUGIN)};
#define ROWS (sizeof rows / sizeof *rows)

static int table_open(const struct engine_table *table, struct engine **engine,
                      const struct model *model, const struct engine_options *options,
                      struct error *error) {
    struct engine_options own = *options;
    if (own.max_batch_tokens == 0)
        own.max_batch_tokens = table->default_batch_tokens > model->config.positions
                                   ? table->default_batch_tokens
                                   : model->config.positions;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = table->probe(error);
    if (result == 0)
        result = table->open(engine, model, &own, error);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result < 0 ? error_prefix(error, "backend %s", table->name) : 0;
}

/* Returns 0, -1, or 1 for a plugin that was not built. */
static int row_open(const struct row *row, const struct engine_table **table,
                    struct engine **engine, const struct model *model,
                    const struct engine_options *options, struct error *error) {
    *table = row->table;
    int result = row->load ? row->load(table, error) : 0;
    return result == 0 ? table_open(*table, engine, model, options, error) : result;
}

static const struct row *row_find(const char *name) {
    size_t i = 0;
    while (i < ROWS && strcmp(rows[i].name, name) != 0)
        i++;
    assert(i < ROWS);
    return &rows[i];
}

const char *engine_last_resort(void) {
    size_t i = 0;
    while (i < ROWS && !(rows[i].table && rows[i].table->last_resort))
        i++;
    assert(i < ROWS);
    return rows[i].name;
}

/* A plugin that does not work is reported in the note; one that was not built is not. */
static int best_open(const struct engine_table **table, struct engine **engine,
                     const struct model *model, const struct engine_options *options,
                     char note[ENGINE_NOTE_MAX], struct error *error) {
    struct error reason = {0};
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].load && row_open(&rows[i], table, engine, model, options, &reason) == 0)
            return 0;
    if (row_open(row_find(engine_last_resort()), table, engine, model, options, error) < 0)
        return reason.text[0] ? error_prefix(error, "%s", reason.text) : -1;
    if (reason.text[0])
        snprintf(note, ENGINE_NOTE_MAX, "%s; using the CPU", reason.text);
    return 0;
}

int engine_open(const struct engine_table **table, struct engine **engine, const char *backend,
                const struct model *model, const struct engine_options *options,
                char note[ENGINE_NOTE_MAX], struct error *error) {
    *engine = NULL;
    note[0] = '\0';
    if (strcmp(backend, "auto") == 0)
        return best_open(table, engine, model, options, note, error);
    const struct row *row = row_find(backend);
    int result = row_open(row, table, engine, model, options, error);
    if (result > 0)
        return error_set(error, EX_CONFIG, "backend %s: %s", backend, row->absent);
    return result;
}

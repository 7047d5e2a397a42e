/* SPDX-License-Identifier: Apache-2.0
 *
 * The chooser among engines: finds the table that a name asks for, probes and opens it.
 */
#include "daemon/engine/chooser.h"
#include "daemon/engine/plugin.h"

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

static int table_find(const struct engine_table **table, const char *backend, struct error *error) {
    size_t i = 0;
    while (i < ROWS && strcmp(rows[i].name, backend) != 0)
        i++;
    assert(i < ROWS);
    *table = rows[i].table;
    int result = *table ? 0 : rows[i].load(table, error);
    if (result > 0)
        return error_set(error, EX_CONFIG, "backend %s: %s", backend, rows[i].absent);
    return result;
}

static int table_open(const struct engine_table *table, struct engine **engine,
                      const struct model *model, const struct engine_options *options,
                      struct error *error) {
    struct engine_options own = *options;
    sigset_t all, before;
    if (own.max_batch_tokens == 0)
        own.max_batch_tokens = table->default_batch_tokens > model->config.positions
                                   ? table->default_batch_tokens
                                   : model->config.positions;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = table->probe(error);
    if (result == 0)
        result = table->open(engine, model, &own, error);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result < 0 ? error_prefix(error, "backend %s", table->name) : 0;
}

/* A plugin where one can be had. Returns 0, 1 when none was built, or -1 with the reason why it
 * does not work. */
static int plugin_open(const struct engine_table **table, struct engine **engine,
                       const struct model *model, const struct engine_options *options,
                       struct error *reason) {
    int result = 1;
    for (size_t i = 0; i < ROWS && result != 0; i++) {
        if (!rows[i].load)
            continue;
        int loaded = rows[i].load(table, reason);
        if (loaded <= 0)
            result = loaded < 0 ? -1 : table_open(*table, engine, model, options, reason);
    }
    return result;
}

static const struct engine_table *last_resort(void) {
    size_t i = 0;
    while (!rows[i].table || !rows[i].table->last_resort)
        i++;
    return rows[i].table;
}

/* That a plugin was not built is nothing to tell; that it does not work is. */
static int open_best(const struct engine_table **table, struct engine **engine,
                     const struct model *model, const struct engine_options *options,
                     char note[ENGINE_NOTE_MAX], struct error *error) {
    struct error reason;
    int result = plugin_open(table, engine, model, options, &reason);
    if (result == 0)
        return 0;
    *table = last_resort();
    if (table_open(*table, engine, model, options, error) < 0)
        return result > 0 ? -1 : error_prefix(error, "%s", reason.text);
    if (result < 0)
        snprintf(note, ENGINE_NOTE_MAX, "%s; using the CPU", reason.text);
    return 0;
}

int engine_open(const struct engine_table **table, struct engine **engine, const char *backend,
                const struct model *model, const struct engine_options *options,
                char note[ENGINE_NOTE_MAX], struct error *error) {
    *engine = NULL;
    note[0] = '\0';
    if (strcmp(backend, engine_backends[0]) == 0)
        return open_best(table, engine, model, options, note, error);
    if (table_find(table, backend, error) < 0)
        return -1;
    return table_open(*table, engine, model, options, error);
}

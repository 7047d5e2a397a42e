/* SPDX-License-Identifier: Apache-2.0
 *
 * The chooser among backends: finds the table that a name asks for, probes and opens it.
 */
#include "daemon/engine/engine.h"
#include "daemon/engine/plugin.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

extern const char *const engine_backends[], *const engine_precisions[];
const char *const engine_backends[] = {"auto", "cpu", "cuda", "null", NULL};
const char *const engine_precisions[] = {"auto", "f32", "bf16", "f16", NULL};

/* Rates are flat from about here on; more only makes others wait. */
#define BATCH_TOKENS 2048u
#define BATCH_TOKENS_CUDA 8192u

static int find(const struct engine_table **table, const char *backend, struct error *error) {
    static const struct engine_table *const tables[] = {&cpu_engine_table, &null_engine_table};
    int result;

    for (unsigned i = 0; i < sizeof tables / sizeof *tables; i++) {
        *table = tables[i];
        if (!strcmp(backend, tables[i]->name))
            return 0;
    }
    result = plugin_load(table, error);
    if (result > 0)
        return error_set(error, EX_CONFIG,
                         "backend %s: this esm1nvd was built without CUDA support; use --backend "
                         "cpu",
                         backend);
    return result;
}

static int open_table(const struct engine_table *table, struct engine **engine,
                      const struct model *model, const struct engine_options *options,
                      struct error *error) {
    struct engine_options own = *options;
    uint32_t positions = model->config.positions;

    if (own.max_batch_tokens == 0) {
        own.max_batch_tokens = strcmp(table->name, "cuda") ? BATCH_TOKENS : BATCH_TOKENS_CUDA;
        if (own.max_batch_tokens < positions)
            own.max_batch_tokens = positions;
    }
    if (table->probe(error) < 0 || table->open(engine, model, &own, error) < 0)
        return error_prefix(error, "backend %s", table->name);
    return 0;
}

/* CUDA where it can be had. That it was not built is nothing to tell; that it does not work is. */
static int open_best(const struct engine_table **table, struct engine **engine,
                     const struct model *model, const struct engine_options *options,
                     char note[ENGINE_NOTE_MAX], struct error *error) {
    struct error reason;
    int result = plugin_load(table, &reason);

    if (result == 0)
        result = open_table(*table, engine, model, options, &reason);
    if (result == 0)
        return 0;
    *table = &cpu_engine_table;
    if (open_table(*table, engine, model, options, error) < 0)
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
    if (!strcmp(backend, "auto"))
        return open_best(table, engine, model, options, note, error);
    if (find(table, backend, error) < 0)
        return -1;
    return open_table(*table, engine, model, options, error);
}

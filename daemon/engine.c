/* SPDX-License-Identifier: Apache-2.0
 *
 * The chooser among backends: finds the table that a name asks for, probes and opens it.
 */
#include "daemon/engine.h"

#include <string.h>
#include <sysexits.h>

static const struct engine_table *const tables[] = {&cpu_engine_table, &null_engine_table};

static const struct engine_table *find(const char *backend) {
    if (!strcmp(backend, "auto"))
        return &cpu_engine_table;
    for (unsigned i = 0; i < sizeof tables / sizeof *tables; i++)
        if (!strcmp(backend, tables[i]->name))
            return tables[i];
    return NULL;
}

int engine_open(const struct engine_table **table, struct engine **engine, const char *backend,
                const struct model *model, const struct engine_options *options, char note[256],
                struct error *error) {
    *table = find(backend);
    *engine = NULL;
    note[0] = '\0';
    if (!*table)
        return error_set(
            error, EX_CONFIG,
            "backend %s: this esm1nvd was built without CUDA support; use --backend cpu", backend);
    if ((*table)->probe(error) < 0 || (*table)->open(engine, model, options, error) < 0)
        return error_prefix(error, "backend %s", (*table)->name);
    return 0;
}

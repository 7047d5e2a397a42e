/* SPDX-License-Identifier: Apache-2.0
 *
 * The chooser among engines, for the daemon: which engines there are, and how one is opened by its
 * name.
 */
#ifndef ESM1NV_ENGINE_CHOOSER_H
#define ESM1NV_ENGINE_CHOOSER_H

#include "daemon/engine/engine.h"

/* The engines, a row each. BUILT_IN(name) has its table, name_engine_table, in the daemon.
 * PLUGIN(name, load, absent) is a file of its own, which load() finds and loads when it is asked
 * for, so that a daemon without it, or on a machine without its libraries, is whole. load() returns
 * 0, -1 with the reason why the plugin cannot be used, or 1 when it was not built: whoever asked
 * for it is then told `absent`. */
#define ENGINE_ROWS(BUILT_IN, PLUGIN)                                                              \
    BUILT_IN(cpu)                                                                                  \
    PLUGIN(cuda, plugin_load, "this esm1nvd was built without CUDA support; use --backend cpu")    \
    BUILT_IN(null)

#define ENGINE_TABLE_DECLARED(name) extern const struct engine_table name##_engine_table;
#define ENGINE_LOAD_DECLARED(name, load, absent)                                                   \
    int load(const struct engine_table **table, struct error *error);
ENGINE_ROWS(ENGINE_TABLE_DECLARED, ENGINE_LOAD_DECLARED)

/* What --backend accepts: "auto", then the names of the engines; NULL at the end. */
extern const char *const engine_backends[];

/* The names of enum precision, in its order; NULL at the end. */
extern const char *const engine_precisions[];

/* The name of the built-in engine that runs on every machine (engine_table.last_resort). */
const char *engine_last_resort(void);

#define ENGINE_NOTE_MAX 1100 /* holds any error's text and more */

/* Opens the engine that `backend`, one of engine_backends, asks for. "auto" takes a plugin that
 * works, else the last resort; `note` then says why a plugin that was built was not taken, and is
 * empty otherwise. Returns 0, or -1 with *engine NULL. */
int engine_open(const struct engine_table **table, struct engine **engine, const char *backend,
                const struct model *model, const struct engine_options *options,
                char note[ENGINE_NOTE_MAX], struct error *error);

#endif

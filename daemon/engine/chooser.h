/* SPDX-License-Identifier: Apache-2.0
 *
 * The chooser among engines, for the daemon: what there is, and opening one of them by its name.
 */
#ifndef ESM1NV_ENGINE_CHOOSER_H
#define ESM1NV_ENGINE_CHOOSER_H

#include "daemon/engine/engine.h"

/* The engines, a row each. BUILT_IN(name) has its table, name_engine_table, in the daemon.
 * PLUGIN(name, load, absent) is loaded by load(&table, error), which returns 0, -1 with the reason
 * why it cannot be used, or 1 where it was not built; `absent` then tells whoever asked for it. */
#define ENGINE_ROWS(BUILT_IN, PLUGIN)                                                              \
    BUILT_IN(cpu)                                                                                  \
    PLUGIN(cuda, plugin_load, "this esm1nvd was built without CUDA support; use --backend cpu")    \
    BUILT_IN(null)

#define ENGINE_ROW_DECLARED(name) extern const struct engine_table name##_engine_table;
#define ENGINE_ROW_IGNORED(...)
ENGINE_ROWS(ENGINE_ROW_DECLARED, ENGINE_ROW_IGNORED)

/* The words for what is to be opened: "auto", then the names of the engines; NULL at the end. */
extern const char *const engine_backends[];

/* The words for enum precision, in its order; NULL at the end. */
extern const char *const engine_precisions[];

#define ENGINE_NOTE_MAX 1100 /* holds any error's text and more */

/* Opens what `backend`, one of engine_backends, asks for. "auto" takes a plugin where one can be
 * had, else the last resort, and says in note why one that is there was not taken (empty when there
 * is nothing to say). Returns 0, or -1 with *engine NULL. */
int engine_open(const struct engine_table **table, struct engine **engine, const char *backend,
                const struct model *model, const struct engine_options *options,
                char note[ENGINE_NOTE_MAX], struct error *error);

#endif

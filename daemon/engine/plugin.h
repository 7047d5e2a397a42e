/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA engine is a file of its own, esm1nv-cuda.so, loaded when it is asked for: a daemon
 * without it, or on a machine without CUDA's libraries, is whole.
 */
#ifndef ESM1NV_PLUGIN_H
#define ESM1NV_PLUGIN_H

#include "daemon/engine/engine.h"

/* Loads the plugin that $ESM1NV_CUDA_PLUGIN names (empty: none), else the one of the build that the
 * program is part of, else the installed one; it stays loaded. Returns 0, 1 when there is no such
 * file, or -1 with the reason why it cannot be used. */
int plugin_load(const struct engine_table **table, struct error *error);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds and loads the CUDA engine, esm1nv-cuda.so. The text of dlopen() is passed on, because it
 * names the library that is missing. Nothing is ever unloaded: CUDA leaves threads and handlers
 * behind.
 */
#include "daemon/engine/chooser.h"
#include "ipc/base/beside.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define PLUGIN "esm1nv-cuda.so"

/* CUDA's libraries take 0.2 s and 200 MB to load, so the driver is looked for first. A driver that
 * is too old or has no device is found by the plugin's probe(). */
static int find_driver(struct error *error) {
    if (dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL))
        return 0;
    return error_set(error, EX_CONFIG, "backend cuda: there is no NVIDIA driver (%s)", dlerror());
}

/* The plugin that $ESM1NV_CUDA_PLUGIN names (empty: none), else that of the build which the program
 * is part of, else the installed one. A named one is taken unseen, and without looking for a
 * driver: it may be an emulation, and dlopen() reports what is wrong. Returns 0, 1 when there is
 * none, or -1. */
static int plugin_find(char path[PATH_MAX], struct error *error) {
    const char *named = getenv("ESM1NV_CUDA_PLUGIN");
    if (named) {
        snprintf(path, PATH_MAX, "%s", named);
        return path[0] ? 0 : 1;
    }
    if (!beside_find(path, "/daemon", "cuda/" PLUGIN))
        snprintf(path, PATH_MAX, "%s/%s", ESM1NV_PLUGINS, PLUGIN);
    return access(path, F_OK) == 0 ? find_driver(error) : 1;
}

int plugin_load(const struct engine_table **table, struct error *error) {
    *table = NULL;
    char path[PATH_MAX];
    int result = plugin_find(path, error);
    if (result != 0)
        return result;
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plugin)
        return error_set(error, EX_CONFIG,
                         "backend cuda cannot be loaded: %s; install what is missing", dlerror());
    *table = dlsym(plugin, ENGINE_PLUGIN_SYMBOL);
    if (*table && (*table)->abi == ENGINE_ABI)
        return 0;
    *table = NULL;
    return error_set(error, EX_CONFIG,
                     "backend cuda: %s is of another version than this esm1nvd; install both from "
                     "one build",
                     path);
}

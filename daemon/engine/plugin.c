/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding and loading the CUDA engine. What dlopen() says is passed on, for it names the library
 * that is missing. Nothing is ever unloaded: CUDA leaves threads and handlers behind.
 */
#include "daemon/engine/plugin.h"

#include "ipc/base/beside.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define PLUGIN "esm1nv-cuda.so"

/* CUDA's libraries take 0.2 s and 200 MB to load: not without a driver. What cudart says of one
 * that is too old, or has no device, comes later. */
static int find_driver(struct error *error) {
    if (dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL))
        return 0;
    return error_set(error, EX_CONFIG, "backend cuda: there is no NVIDIA driver (%s)", dlerror());
}

/* Returns 0, 1 when there is none, or -1. One that is named need not be there, nor be for a real
 * GPU: dlopen() complains. */
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

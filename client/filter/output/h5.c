/* SPDX-License-Identifier: Apache-2.0
 *
 * HDF5, through a module that is loaded for it: from beside the program, where a build leaves it,
 * or from where it was installed. The module opens the target's temporary file by its name.
 */
#include "client/filter/output/output.h"

#include "client/filter/output/h5.h"
#include "client/filter/report.h"
#include "ipc/base/beside.h"

#include <dlfcn.h>
#include <stdio.h>
#include <sysexits.h>

#define MODULE "esm1nv-h5.so"

static const struct h5_table *load_table(void) {
    char path[PATH_MAX];
    if (!beside_find(path, "", MODULE))
        snprintf(path, sizeof path, "%s/%s", ESM1NV_MODULES, MODULE);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) {
        report("--format h5 needs a module that cannot be loaded: %s; install or build esm1nv with "
               "HDF5 (Debian: libhdf5-103-1)",
               dlerror());
        return NULL;
    }
    const struct h5_table *table = dlsym(module, H5_TABLE_SYMBOL);
    if (!table || table->version != H5_TABLE_VERSION) {
        report("%s: of another version of esm1nv; install both from one build", path);
        return NULL;
    }
    return table;
}

static int h5_begin(struct output *output) {
    const struct h5_table *table = load_table();
    if (!table)
        return -EX_CANTCREAT;
    struct h5_shape shape = {.hidden = output->hidden,
                             .rows = output->pooling == ESM1NV_POOL_NONE,
                             .half = output->dtype == ESM1NV_F16};
    char error[H5_ERROR_MAX] = "";
    output->h5 = table;
    output->h5_file = table->create(output->target.temporary, &shape, error);
    if (output->h5_file)
        return 0;
    report("%s: cannot create: %s", output->target.name, error);
    return -EX_CANTCREAT;
}

static int cannot_write(const struct output *output, const char *error) {
    report("%s: cannot write: %s", output->target.name, error);
    return -EX_IOERR;
}

static int h5_rows(struct output *output, const struct record *record,
                   const struct esm1nv_result *result) {
    struct h5_record one = {.id = record->id,
                            .id_size = record->id_size,
                            .header = record->id,
                            .header_size = record->header_size,
                            .values = result->rows,
                            .row_count = result->row_count};
    char error[H5_ERROR_MAX] = "";
    return output->h5->write(output->h5_file, &one, error) < 0 ? cannot_write(output, error) : 0;
}

static int h5_end(struct output *output) {
    char error[H5_ERROR_MAX] = "";
    struct h5_file *file = output->h5_file;
    output->h5_file = NULL;
    return output->h5->close(file, error) < 0 ? cannot_write(output, error) : 0;
}

static void h5_finish(struct output *output) {
    char error[H5_ERROR_MAX];
    if (output->h5)
        output->h5->close(output->h5_file, error);
    output->h5_file = NULL;
}

const struct output_format output_h5 = {.name = "h5",
                                        .binary = true,
                                        .keeps_header = true,
                                        .needs_path = true,
                                        .begin = h5_begin,
                                        .rows = h5_rows,
                                        .end = h5_end,
                                        .finish = h5_finish};

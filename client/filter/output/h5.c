/* SPDX-License-Identifier: Apache-2.0
 *
 * HDF5, written by a module (h5.h) that is loaded for it from the program's own directory, where a
 * build leaves it, or from where it was installed. The module opens the target's temporary file by
 * its name.
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

/* The state of this format. Null value: {0}. */
struct h5_writer {
    const struct h5_table *table;
    struct h5_file *file; /* NULL: not open, or closed */
};

static void h5_begin(struct output *output) {
    struct h5_writer *writer = output->state = allocate(NULL, sizeof *writer);
    *writer = (struct h5_writer){.table = load_table()};
    output->target.result = -EX_CANTCREAT;
    if (!writer->table)
        return;
    struct h5_shape shape = {.hidden = output->hidden,
                             .rows = output->pooling == ESM1NV_POOL_NONE,
                             .half = output->dtype == ESM1NV_F16};
    char reason[H5_ERROR_MAX] = "";
    writer->file = writer->table->create(output->target.temporary, &shape, reason);
    if (writer->file)
        output->target.result = 0;
    else
        report("%s: cannot create: %s", output->target.name, reason);
}

static void h5_cannot_write(struct output *output, const char *reason) {
    report("%s: cannot write: %s", output->target.name, reason);
    output->target.result = -EX_IOERR;
}

static void h5_rows(struct output *output, const struct record *record,
                    const struct esm1nv_result *answer) {
    const struct h5_writer *writer = output->state;
    struct h5_record one = {.id = record->id,
                            .id_size = record->id_size,
                            .header = record->id,
                            .header_size = record->header_size,
                            .values = answer->rows,
                            .row_count = answer->row_count};
    char reason[H5_ERROR_MAX] = "";
    if (writer->table->write(writer->file, &one, reason) < 0)
        h5_cannot_write(output, reason);
}

static void h5_end(struct output *output) {
    struct h5_writer *writer = output->state;
    struct h5_file *file = writer->file;
    char reason[H5_ERROR_MAX] = "";
    writer->file = NULL;
    if (writer->table->close(file, reason) < 0)
        h5_cannot_write(output, reason);
}

static void h5_finish(struct output *output) {
    struct h5_writer *writer = output->state;
    char reason[H5_ERROR_MAX];
    if (writer && writer->file)
        writer->table->close(writer->file, reason);
}

static uint64_t h5_bytes(const struct record *record, uint64_t rows) {
    return rows > 0 ? record->id_size + record->header_size + 340 : 0;
}

const struct output_format output_h5 = {.name = "h5",
                                        .binary = true,
                                        .keeps_header = true,
                                        .needs_path = true,
                                        .bytes_beside = h5_bytes,
                                        .begin = h5_begin,
                                        .rows = h5_rows,
                                        .end = h5_end,
                                        .finish = h5_finish};

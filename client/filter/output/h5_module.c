/* SPDX-License-Identifier: Apache-2.0
 *
 * The module that writes HDF5: a dataset per record in the root group, with the attribute
 * original_id. The format is that of HDF5 1.8, whose groups keep their speed with many members and
 * whose attributes may be long. No times are stored, so that a run gives the same bytes again.
 */
#include "client/filter/output/h5.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 4096u /* of an id in a name, before a suffix */
#define SUFFIX_MAX 24
#define HINTS 65536u /* a power of two */

/* The next suffix to try for a name that was taken: for many records of one name. It is a cache: a
 * name that was forgotten is tried from the first suffix on again. */
struct hint {
    uint64_t hash; /* of the name */
    uint64_t suffix;
};

struct h5_file {
    struct h5_shape shape;
    hid_t file;
    hid_t type;       /* of a value */
    hid_t text_type;  /* of the attribute */
    hid_t scalar;     /* its space */
    hid_t links;      /* property list: names are UTF-8 */
    hid_t properties; /* of datasets */
    struct hint *hints;
    char *text; /* the header, ended by NUL */
    size_t text_capacity;
    char name[NAME_MAX_BYTES + SUFFIX_MAX];
};

/* --- Errors ----------------------------------------------------------------------------------- */

/* Keeps the first error that the walk meets: the innermost one, which tells of the cause. */
static herr_t visit_error(unsigned number, const H5E_error2_t *entry, void *context) {
    char *reason = context;
    (void)number;
    snprintf(reason, H5_ERROR_MAX, "HDF5: %s", entry->desc);
    /* About a failed system call HDF5 says much, and quotes what strerror() says, which is enough.
     */
    char *begin = strstr(reason, "error message = '");
    if (begin) {
        begin += strlen("error message = '");
        begin[strcspn(begin, "'")] = 0;
        memmove(reason, begin, strlen(begin) + 1);
    }
    return 1;
}

static int h5_failed(char reason[H5_ERROR_MAX]) {
    snprintf(reason, H5_ERROR_MAX, "HDF5: unknown error");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, visit_error, reason);
    H5Eclear2(H5E_DEFAULT);
    return -1;
}

/* --- The file --------------------------------------------------------------------------------- */

/* IEEE float16: sign, 5 bits of exponent, 10 of fraction. */
static hid_t h5_half_type(void) {
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
}

static hid_t create_file(const char *path) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    H5Pset_file_locking(access, false, true); /* the filter does; not all can lock */
    H5Pset_obj_track_times(creation, false);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    H5Pclose(creation);
    H5Pclose(access);
    return file;
}

static void create_types(struct h5_file *file) {
    file->type = file->shape.half ? h5_half_type() : H5Tcopy(H5T_IEEE_F32LE);
    file->text_type = H5Tcopy(H5T_C_S1);
    H5Tset_size(file->text_type, H5T_VARIABLE);
    H5Tset_cset(file->text_type, H5T_CSET_UTF8);
    file->scalar = H5Screate(H5S_SCALAR);
    file->links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_char_encoding(file->links, H5T_CSET_UTF8);
    file->properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(file->properties, false);
    H5Pset_fill_time(file->properties, H5D_FILL_TIME_NEVER);
}

static int module_close(struct h5_file *file, char reason[H5_ERROR_MAX]) {
    if (!file)
        return 0;
    int result = 0;
    if (file->file >= 0) {
        H5Tclose(file->type);
        H5Tclose(file->text_type);
        H5Sclose(file->scalar);
        H5Pclose(file->links);
        H5Pclose(file->properties);
        if (H5Fclose(file->file) < 0)
            result = h5_failed(reason);
    }
    free(file->hints);
    free(file->text);
    free(file);
    return result;
}

static struct h5_file *module_create(const char *path, const struct h5_shape *shape,
                                     char reason[H5_ERROR_MAX]) {
    H5dont_atexit(); /* it would try again to write what could not be written */
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    struct h5_file *file = calloc(1, sizeof *file);
    if (!file || !(file->hints = calloc(HINTS, sizeof *file->hints))) {
        snprintf(reason, H5_ERROR_MAX, "out of memory");
        free(file);
        return NULL;
    }
    file->shape = *shape;
    file->file = create_file(path);
    if (file->file < 0) {
        h5_failed(reason);
        module_close(file, reason);
        return NULL;
    }
    create_types(file);
    return file;
}

/* --- Names ------------------------------------------------------------------------------------ */

/* The id as a name, which holds no NUL and no slash, is not ".", and is cut between letters. */
static size_t set_dataset_name(struct h5_file *file, const char *id, size_t size) {
    if (size > NAME_MAX_BYTES)
        for (size = NAME_MAX_BYTES; (id[size] & 0xC0) == 0x80;)
            size--;
    for (size_t i = 0; i < size; i++)
        file->name[i] = id[i] == '/' || id[i] == 0 ? '_' : id[i];
    file->name[size] = 0;
    if (strcmp(file->name, ".") == 0)
        file->name[0] = '_';
    return size;
}

/* FNV-1a. */
static uint64_t hash_of(const char *text, size_t size) {
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001B3);
    return hash;
}

/* Adds a suffix to the name, of size bytes, when it is taken: the first one that is free. Datasets
 * are never removed, so all suffixes before the hint stay taken. */
static int find_free_name(struct h5_file *file, size_t size, char reason[H5_ERROR_MAX]) {
    htri_t taken = H5Lexists(file->file, file->name, H5P_DEFAULT);
    if (taken > 0) {
        uint64_t hash = hash_of(file->name, size);
        struct hint *hint = &file->hints[hash % HINTS];
        if (hint->hash != hash || hint->suffix == 0)
            *hint = (struct hint){hash, 2};
        do {
            snprintf(file->name + size, SUFFIX_MAX, "_%llu", (unsigned long long)hint->suffix++);
            taken = H5Lexists(file->file, file->name, H5P_DEFAULT);
        } while (taken > 0);
    }
    return taken < 0 ? h5_failed(reason) : 0;
}

/* --- Records ---------------------------------------------------------------------------------- */

/* The header as a C string; a NUL in it becomes a blank. */
static int set_header(struct h5_file *file, const char *header, size_t size, char *reason) {
    if (size >= file->text_capacity) {
        free(file->text);
        file->text_capacity = size * 2 + 256;
        file->text = malloc(file->text_capacity);
        if (!file->text) {
            file->text_capacity = 0;
            snprintf(reason, H5_ERROR_MAX, "out of memory");
            return -1;
        }
    }
    for (size_t i = 0; i < size; i++)
        file->text[i] = header[i] ? header[i] : ' ';
    file->text[size] = 0;
    return 0;
}

/* An error is read before the next call, which would clear it. */
static int write_attribute(const struct h5_file *file, hid_t dataset, char *reason) {
    hid_t attribute =
        H5Acreate2(dataset, "original_id", file->text_type, file->scalar, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0)
        return h5_failed(reason);
    int result = H5Awrite(attribute, file->text_type, &file->text) < 0 ? h5_failed(reason) : 0;
    if (H5Aclose(attribute) < 0 && result == 0)
        result = h5_failed(reason);
    return result;
}

static hid_t create_dataset(const struct h5_file *file, uint32_t rows) {
    hsize_t sizes[2] = {rows, file->shape.hidden};
    int skipped = file->shape.rows ? 0 : 1;
    hid_t space = H5Screate_simple(2 - skipped, sizes + skipped, NULL);
    hid_t dataset = H5Dcreate2(file->file, file->name, file->type, space, file->links,
                               file->properties, H5P_DEFAULT);
    if (dataset >= 0)
        H5Sclose(space);
    return dataset;
}

static int write_dataset(const struct h5_file *file, const struct h5_record *record, char *reason) {
    hid_t dataset = create_dataset(file, record->row_count);
    if (dataset < 0)
        return h5_failed(reason);
    int result = write_attribute(file, dataset, reason);
    if (result == 0 &&
        H5Dwrite(dataset, file->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, record->values) < 0)
        result = h5_failed(reason);
    if (H5Dclose(dataset) < 0 && result == 0)
        result = h5_failed(reason);
    return result;
}

static int module_write(struct h5_file *file, const struct h5_record *record,
                        char reason[H5_ERROR_MAX]) {
    if (set_header(file, record->header, record->header_size, reason) < 0 ||
        find_free_name(file, set_dataset_name(file, record->id, record->id_size), reason) < 0)
        return -1;
    return write_dataset(file, record, reason);
}

extern const struct h5_table esm1nv_h5;
__attribute__((visibility("default"))) const struct h5_table esm1nv_h5 = {
    .version = H5_TABLE_VERSION,
    .create = module_create,
    .write = module_write,
    .close = module_close,
};

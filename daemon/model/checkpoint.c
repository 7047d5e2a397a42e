/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a torch checkpoint: <root>/data.pkl names and describes tensors, and <root>/data/<key> are
 * the raw storages in which they lie. Every description is checked against its storage here, so
 * that whoever reads a tensor by its shape and strides stays inside the mapping.
 */
#include "daemon/model/container.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define ROOT_MAX 256
#define NAME_SHOWN 128 /* the most bytes of a name in a message, and of a storage's key */

static int shown(struct bytes name) {
    return name.size > NAME_SHOWN ? NAME_SHOWN : (int)name.size;
}

/* Finds the only <root>/data.pkl. *root ends with the slash. */
static const struct zip_member *find_pickle(const struct zip *zip, struct bytes *root,
                                            struct error *error) {
    static const char file[] = "data.pkl";
    const size_t length = sizeof file - 1;
    const struct zip_member *found = NULL;
    for (size_t i = 0; i < zip->count; i++) {
        struct bytes name = zip->members[i].name;
        if (name.size <= length || memcmp(name.data + name.size - length, file, length) != 0 ||
            memchr(name.data, '/', name.size) != name.data + name.size - length - 1)
            continue;
        if (found) {
            error_set(error, EX_CONFIG, "the zip holds more than one data.pkl");
            return NULL;
        }
        found = &zip->members[i];
        *root = (struct bytes){name.data, name.size - length};
    }
    if (!found)
        error_set(error, EX_CONFIG, "the zip holds no data.pkl: not written by torch.save");
    else if (root->size > ROOT_MAX)
        error_set(error, EX_CONFIG, "the folder of data.pkl has too long a name");
    return found && root->size <= ROOT_MAX ? found : NULL;
}

/* The member <root><folder><name>, or NULL. */
static const struct zip_member *find_member(const struct zip *zip, struct bytes root,
                                            const char *folder, struct bytes name) {
    char path[ROOT_MAX + 16 + NAME_SHOWN];
    if (name.size > NAME_SHOWN)
        return NULL;
    memcpy(path, root.data, root.size);
    char *end = stpcpy(path + root.size, folder);
    memcpy(end, name.data, name.size);
    return zip_find(zip, path, (size_t)(end - path) + name.size);
}

/* Storages are read as little-endian. Only a file that was saved on a big-endian machine says that
 * it is otherwise. */
static int check_byte_order(const struct zip *zip, struct bytes root, struct error *error) {
    static const struct bytes name = {(const unsigned char *)"byteorder", 9};
    const struct zip_member *order = find_member(zip, root, "", name);
    if (!order || (order->content.size == 6 && memcmp(order->content.data, "little", 6) == 0))
        return 0;
    return error_set(error, EX_CONFIG, "byteorder is \"%.*s\": save it on a little-endian machine",
                     shown(order->content), (const char *)order->content.data);
}

/* Sets *end to one past the last element of the storage that the tensor reaches, and *elements to
 * the number of its elements. Returns -1 when an offset, size or stride is negative or a sum
 * overflows. */
static int tensor_extent(const struct pickle_tensor *tensor, int64_t *end, int64_t *elements) {
    int64_t last = tensor->offset, step;
    *elements = 1;
    if (tensor->offset < 0)
        return -1;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] < 0 || tensor->stride[i] < 0 ||
            __builtin_mul_overflow(*elements, tensor->shape[i], elements) ||
            __builtin_mul_overflow(tensor->shape[i] - 1, tensor->stride[i], &step) ||
            __builtin_add_overflow(last, step, &last))
            return -1;
    }
    if (*elements == 0)
        last = tensor->offset - 1;
    return __builtin_add_overflow(last, 1, end) ? -1 : 0;
}

/* Sets where the tensor's elements lie, and how many there are. */
static int place_tensor(struct checkpoint_tensor *tensor, const struct zip *zip, struct bytes root,
                        struct error *error) {
    const struct pickle_tensor *description = &tensor->description;
    const struct zip_member *storage = find_member(zip, root, "data/", description->key);
    if (!storage)
        return error_set(error, EX_CONFIG, "its storage data/%.*s is not in the zip",
                         shown(description->key), (const char *)description->key.data);
    int64_t bytes, end;
    if (__builtin_mul_overflow(description->storage_items, description->storage->item_size,
                               &bytes) ||
        bytes < 0 || (uint64_t)bytes != storage->content.size)
        return error_set(error, EX_CONFIG,
                         "its storage should have %" PRId64 " elements of %s, but is of %zu bytes",
                         description->storage_items, description->storage->name,
                         storage->content.size);
    if (tensor_extent(description, &end, &tensor->elements) < 0 || end > description->storage_items)
        return error_set(error, EX_CONFIG, "reaches outside its storage");
    tensor->data =
        storage->content.data + (uint64_t)description->offset * description->storage->item_size;
    return 0;
}

static int compare_tensors(const void *a, const void *b) {
    const struct checkpoint_tensor *first = a, *second = b;
    return bytes_compare(first->description.name, second->description.name);
}

void checkpoint_sort(struct checkpoint *checkpoint) {
    qsort(checkpoint->tensors, checkpoint->count, sizeof *checkpoint->tensors, compare_tensors);
}

static int tensor_error(struct error *error, struct bytes name) {
    return error_prefix(error, "%.*s", shown(name), (const char *)name.data);
}

static int place_tensors(struct checkpoint *checkpoint, const struct zip *zip, struct bytes root,
                         struct error *error) {
    for (size_t i = 0; i < checkpoint->count; i++)
        if (place_tensor(&checkpoint->tensors[i], zip, root, error) < 0)
            return tensor_error(error, checkpoint->tensors[i].description.name);
    checkpoint_sort(checkpoint);
    for (size_t i = 1; i < checkpoint->count; i++) {
        if (compare_tensors(&checkpoint->tensors[i - 1], &checkpoint->tensors[i]) == 0) {
            error_set(error, EX_CONFIG, "the dictionary holds this tensor twice");
            return tensor_error(error, checkpoint->tensors[i].description.name);
        }
    }
    return 0;
}

static int read_tensors(struct checkpoint *checkpoint, struct bytes pickle, struct error *error) {
    struct pickle_tensor *described;
    if (pickle_read(&described, &checkpoint->count, pickle, error) < 0)
        return error_prefix(error, "data.pkl");
    checkpoint->tensors = calloc(checkpoint->count + 1, sizeof *checkpoint->tensors);
    if (checkpoint->tensors)
        for (size_t i = 0; i < checkpoint->count; i++)
            checkpoint->tensors[i].description = described[i];
    free(described);
    return checkpoint->tensors ? 0 : error_set(error, EX_SOFTWARE, "out of memory");
}

int checkpoint_open(struct checkpoint *checkpoint, struct bytes file, struct error *error) {
    *checkpoint = (struct checkpoint){0};
    struct zip zip;
    if (zip_open(&zip, file, error) < 0)
        return -1;
    struct bytes root;
    const struct zip_member *pickle = find_pickle(&zip, &root, error);
    int result = -1;
    if (pickle && check_byte_order(&zip, root, error) == 0 &&
        read_tensors(checkpoint, pickle->content, error) == 0)
        result = place_tensors(checkpoint, &zip, root, error);
    zip_close(&zip);
    if (result < 0)
        checkpoint_close(checkpoint);
    return result;
}

const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *checkpoint,
                                                const char *name) {
    struct checkpoint_tensor key = {
        .description.name = {(const unsigned char *)name, strlen(name)}};
    return bsearch(&key, checkpoint->tensors, checkpoint->count, sizeof key, compare_tensors);
}

void checkpoint_close(struct checkpoint *checkpoint) {
    free(checkpoint->tensors);
    *checkpoint = (struct checkpoint){0};
}

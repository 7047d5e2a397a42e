/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the tensors that a pickled state dict describes. The machine runs the pickle; this file
 * finds the dictionary in its result, and turns the tuples of every tensor into a struct
 * pickle_tensor.
 */
#include "daemon/model/pickle_machine.h"

#include <stdlib.h>
#include <sysexits.h>

#define PICKLE_MAX (8u << 20)

static const struct value *dict_find(const struct machine *machine, const struct value *dict,
                                     const char *name) {
    const struct value *found = NULL;
    for (uint32_t i = dict->entries.first; i; i = machine->entries[i].next) {
        const struct value *key = &machine->values[machine->entries[i].key];
        if (key->kind == KIND_TEXT && bytes_are(key->text, name))
            found = &machine->values[machine->entries[i].value];
    }
    return found;
}

static struct pickle_tensor describe(const struct machine *machine, struct bytes name,
                                     const struct value *value) {
    const struct value *storage = machine_item(machine, value, 0, KIND_STORAGE);
    const struct value *shape = machine_item(machine, value, 2, KIND_TUPLE);
    const struct value *strides = machine_item(machine, value, 3, KIND_TUPLE);
    struct pickle_tensor tensor = {
        .name = name,
        .storage = &machine_item(machine, storage, 1, KIND_GLOBAL)->global->storage,
        .key = machine_item(machine, storage, 2, KIND_TEXT)->text,
        .storage_items = machine_item(machine, storage, 4, KIND_INTEGER)->integer,
        .offset = machine_item(machine, value, 1, KIND_INTEGER)->integer,
        .rank = (int)shape->items.count,
    };
    for (int i = 0; i < tensor.rank; i++) {
        tensor.shape[i] = machine_item(machine, shape, (uint32_t)i, KIND_INTEGER)->integer;
        tensor.stride[i] = machine_item(machine, strides, (uint32_t)i, KIND_INTEGER)->integer;
    }
    return tensor;
}

/* Skips values that are no tensors, such as step counts and empty extra states. */
static int collect(const struct machine *machine, const struct value *dict,
                   struct pickle_tensor **tensors, size_t *count) {
    size_t room = 0;
    for (uint32_t i = dict->entries.first; i; i = machine->entries[i].next)
        room++;
    *tensors = calloc(room + 1, sizeof **tensors);
    if (!*tensors)
        return error_set(machine->error, EX_SOFTWARE, "out of memory");
    for (uint32_t i = dict->entries.first; i; i = machine->entries[i].next) {
        const struct value *key = &machine->values[machine->entries[i].key];
        const struct value *value = &machine->values[machine->entries[i].value];
        if (key->kind == KIND_TEXT && value->kind == KIND_TENSOR)
            (*tensors)[(*count)++] = describe(machine, key->text, value);
    }
    return 0;
}

static int machine_result(struct machine *machine, struct pickle_tensor **tensors, size_t *count) {
    const struct value *dict = &machine->values[machine->stack.list[0]];
    if (dict->kind == KIND_DICT) {
        const struct value *inner = dict_find(machine, dict, "state_dict");
        dict = inner ? inner : dict;
    }
    if (dict->kind != KIND_DICT)
        return error_set(machine->error, EX_CONFIG, "the pickle holds no dictionary of tensors");
    return collect(machine, dict, tensors, count);
}

int pickle_read(struct pickle_tensor **tensors, size_t *count, struct bytes file,
                struct error *error) {
    *tensors = NULL;
    *count = 0;
    if (file.size > PICKLE_MAX)
        return error_set(error, EX_CONFIG,
                         "the pickle has %zu bytes, more than any dictionary of tensors needs",
                         file.size);
    struct machine machine = {.at = file.data, .end = file.data + file.size, .error = error};
    int result = machine_run(&machine);
    if (result == 0)
        result = machine_result(&machine, tensors, count);
    machine_finish(&machine);
    return result;
}

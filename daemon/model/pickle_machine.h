/* SPDX-License-Identifier: Apache-2.0
 *
 * The stack machine that a pickle runs on (pickle_machine.c), and what it leaves behind for whoever
 * looks for tensors in it (pickle.c). Values are numbers into one array, so that a memo can share
 * them and nothing is walked recursively.
 */
#ifndef ESM1NV_MODEL_PICKLE_MACHINE_H
#define ESM1NV_MODEL_PICKLE_MACHINE_H

#include "daemon/model/container.h"

enum global_role { ROLE_ORDERED_DICT, ROLE_TENSOR, ROLE_PARAMETER, ROLE_STORAGE };

struct global {
    const char *module, *name;
    enum global_role role;
    struct storage_class storage;
};

#define MARK 0u /* the number of no value; on the stack, a mark */

enum kind {
    KIND_MARK,
    KIND_PLAIN,
    KIND_INTEGER,
    KIND_TEXT,
    KIND_TUPLE,
    KIND_LIST,
    KIND_DICT,
    KIND_GLOBAL,
    KIND_STORAGE,
    KIND_TENSOR
};

/* Integers have a value, texts bytes, globals an entry of the table below. A tuple has items; a
 * storage and a tensor are the tuples that describe them. A dictionary has entries, first to last.
 * None, booleans and floats are plain: nothing depends on them. */
struct value {
    enum kind kind;
    union {
        int64_t integer;
        struct bytes text;
        const struct global *global;
        struct {
            uint32_t first, count;
        } items;
        struct {
            uint32_t first, last; /* 0: empty */
        } entries;
    };
};

struct dict_entry {
    uint32_t key, value, next;
};

struct numbers {
    uint32_t *list;
    size_t count, room;
};

struct machine {
    const unsigned char *at, *end;
    struct error *error;
    bool stopped;
    struct value *values;
    size_t value_count, value_room;
    struct dict_entry *entries;
    size_t entry_count, entry_room;
    struct numbers items, stack, memo;
};

/* Runs the pickle between at and end. The value it leaves is numbered stack.list[0]. */
int machine_run(struct machine *machine);
void machine_finish(struct machine *machine);

/* The item of a tuple, if it is there and of this kind, else NULL. */
const struct value *machine_item(const struct machine *machine, const struct value *tuple,
                                 uint32_t index, enum kind kind);

bool bytes_are(struct bytes bytes, const char *text);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The stack machine that runs a pickle (pickle_machine.c), and the values that it leaves behind, in
 * which pickle.c looks for tensors. A value is known by its number in one array, so that the memo
 * and the stack can share it, and nothing is walked recursively.
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

#define MARK 0u /* the number of a mark on the stack; no other value has it */

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

/* An integer has its value, a text its bytes, a global its row of the table in pickle_machine.c. A
 * tuple has items, and so have a storage and a tensor, which are kept as the tuples that describe
 * them. A dictionary has entries, linked from first to last. None, booleans and floats are plain,
 * for nothing depends on their values. */
struct value {
    enum kind kind;
    union {
        int64_t integer;
        struct bytes text;
        const struct global *global;
        struct {
            uint32_t first, count; /* in machine.items */
        } items;
        struct {
            uint32_t first, last; /* in machine.entries; 0 when it is empty */
        } entries;
    };
};

struct dict_entry {
    uint32_t key, value; /* numbers of values */
    uint32_t next;       /* entry of the same dictionary, 0 after the last */
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

/* Runs the pickle between at and end. Its result is the value with the number stack.list[0].
 * Returns 0, or -1; machine_finish() is to be called in either case. */
int machine_run(struct machine *machine);
void machine_finish(struct machine *machine);

/* An item of a tuple, or NULL when the tuple is shorter or the item of another kind. */
const struct value *machine_item(const struct machine *machine, const struct value *tuple,
                                 uint32_t index, enum kind kind);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * A pickle is a program for a stack machine. This machine runs the opcodes that torch.save (pickle
 * protocol 2) writes for a dictionary of tensors, and knows a few globals. It calls nothing, and
 * refuses everything else by name. An opcode makes at most one value, so that the size of the
 * pickle bounds the memory.
 */
#include "daemon/model/pickle_machine.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define STORAGE(class, name, size, floating, type)                                                 \
    {                                                                                              \
        "torch", class, ROLE_STORAGE, {                                                            \
            name, size, floating, type                                                             \
        }                                                                                          \
    }

static const struct global globals[] = {
    {"collections", "OrderedDict", ROLE_ORDERED_DICT, {0}},
    {"torch._utils", "_rebuild_tensor_v2", ROLE_TENSOR, {0}},
    {"torch._utils", "_rebuild_parameter", ROLE_PARAMETER, {0}},
    STORAGE("FloatStorage", "float32", 4, true, TENSOR_F32),
    STORAGE("HalfStorage", "float16", 2, true, TENSOR_F16),
    STORAGE("BFloat16Storage", "bfloat16", 2, true, TENSOR_BF16),
    STORAGE("DoubleStorage", "float64", 8, true, -1),
    STORAGE("LongStorage", "int64", 8, false, -1),
    STORAGE("IntStorage", "int32", 4, false, -1),
    STORAGE("ShortStorage", "int16", 2, false, -1),
    STORAGE("CharStorage", "int8", 1, false, -1),
    STORAGE("ByteStorage", "uint8", 1, false, -1),
    STORAGE("BoolStorage", "bool", 1, false, -1),
};

/* --- memory --- */

static int pickle_damaged(struct machine *machine, const char *reason) {
    error_set(machine->error, EX_CONFIG, "the pickle is damaged: %s", reason);
    return -1; /* a literal, so that compilers know that callers return here */
}

/* Makes room for one more item of `size` bytes. */
static int reserve_list(struct machine *machine, void **list, size_t count, size_t *room,
                        size_t size) {
    if (count < *room)
        return 0;
    size_t larger = *room ? 2 * *room : 256;
    void *grown = realloc(*list, larger * size);
    if (!grown)
        return error_set(machine->error, EX_SOFTWARE, "out of memory");
    *list = grown;
    *room = larger;
    return 0;
}

static int numbers_add(struct machine *machine, struct numbers *numbers, uint32_t number) {
    void *list = numbers->list;
    int result =
        reserve_list(machine, &list, numbers->count, &numbers->room, sizeof *numbers->list);
    numbers->list = list;
    if (result == 0)
        numbers->list[numbers->count++] = number;
    return result;
}

static int push(struct machine *machine, struct value value) {
    void *list = machine->values;
    int result =
        reserve_list(machine, &list, machine->value_count, &machine->value_room, sizeof value);
    machine->values = list;
    if (result < 0)
        return -1;
    machine->values[machine->value_count] = value;
    return numbers_add(machine, &machine->stack, (uint32_t)machine->value_count++);
}

static int push_integer(struct machine *machine, int64_t integer) {
    return push(machine, (struct value){.kind = KIND_INTEGER, .integer = integer});
}

static int push_plain(struct machine *machine) {
    return push(machine, (struct value){.kind = KIND_PLAIN});
}

/* Takes the value on top off the stack and gives its number. */
static int pop(struct machine *machine, uint32_t *number) {
    struct numbers *stack = &machine->stack;
    if (stack->count == 0 || stack->list[stack->count - 1] == MARK)
        return pickle_damaged(machine, "its stack runs empty");
    *number = stack->list[--stack->count];
    return 0;
}

/* Gives the value on top, which must be of this kind and stays there. */
static int top(struct machine *machine, enum kind kind, struct value **value) {
    const struct numbers *stack = &machine->stack;
    if (stack->count == 0 || machine->values[stack->list[stack->count - 1]].kind != kind)
        return pickle_damaged(machine, "an opcode meets a value it is not for");
    *value = &machine->values[stack->list[stack->count - 1]];
    return 0;
}

/* Takes all values above the topmost mark off the stack, and the mark too. Until the next push,
 * their numbers still lie in stack.list from stack.count + 1 on. */
static int pop_to_mark(struct machine *machine, size_t *count) {
    struct numbers *stack = &machine->stack;
    size_t at = stack->count;
    while (at > 0 && stack->list[at - 1] != MARK)
        at--;
    if (at == 0)
        return pickle_damaged(machine, "a mark is missing");
    *count = stack->count - at;
    stack->count = at - 1;
    return 0;
}

static int take_bytes(struct machine *machine, size_t size, const unsigned char **data) {
    if (size > (size_t)(machine->end - machine->at))
        return pickle_damaged(machine, "it is cut short");
    *data = machine->at;
    machine->at += size;
    return 0;
}

/* A little-endian unsigned number of up to 8 bytes. */
static int take_number(struct machine *machine, size_t size, uint64_t *number) {
    const unsigned char *data;
    if (take_bytes(machine, size, &data) < 0)
        return -1;
    *number = 0;
    for (size_t i = 0; i < size; i++)
        *number |= (uint64_t)data[i] << 8 * i;
    return 0;
}

static int take_line(struct machine *machine, struct bytes *line) {
    const unsigned char *end = memchr(machine->at, '\n', (size_t)(machine->end - machine->at));
    if (!end)
        return pickle_damaged(machine, "it is cut short");
    *line = (struct bytes){machine->at, (size_t)(end - machine->at)};
    machine->at = end + 1;
    return 0;
}

/* --- the opcodes --- */

static int run_proto(struct machine *machine) {
    uint64_t protocol;
    return take_number(machine, 1, &protocol);
}

static int run_stop(struct machine *machine) {
    machine->stopped = true;
    return 0;
}

static int run_mark(struct machine *machine) {
    return numbers_add(machine, &machine->stack, MARK);
}

static int run_integer(struct machine *machine, size_t size) {
    uint64_t number;
    return take_number(machine, size, &number) < 0 ? -1 : push_integer(machine, (int64_t)number);
}

static int run_binint1(struct machine *machine) {
    return run_integer(machine, 1);
}

static int run_binint2(struct machine *machine) {
    return run_integer(machine, 2);
}

static int run_binint(struct machine *machine) {
    uint64_t number;
    return take_number(machine, 4, &number) < 0 ? -1
                                                : push_integer(machine, (int32_t)(uint32_t)number);
}

static int run_long1(struct machine *machine) {
    uint64_t size, number;
    if (take_number(machine, 1, &size) < 0)
        return -1;
    if (size > 8)
        return pickle_damaged(machine, "an integer has more than 64 bits");
    if (take_number(machine, size, &number) < 0)
        return -1;
    if (size > 0 && size < 8 && number >> (8 * size - 1))
        number |= UINT64_MAX << 8 * size; /* extends the sign */
    return push_integer(machine, (int64_t)number);
}

static int run_binfloat(struct machine *machine) {
    const unsigned char *data;
    return take_bytes(machine, 8, &data) < 0 ? -1 : push_plain(machine);
}

static int run_binunicode(struct machine *machine) {
    uint64_t size;
    const unsigned char *data;
    if (take_number(machine, 4, &size) < 0 || take_bytes(machine, size, &data) < 0)
        return -1;
    return push(machine, (struct value){.kind = KIND_TEXT, .text = {data, size}});
}

static int run_empty_dict(struct machine *machine) {
    return push(machine, (struct value){.kind = KIND_DICT});
}

static int run_empty_list(struct machine *machine) {
    return push(machine, (struct value){.kind = KIND_LIST});
}

/* Makes a tuple of `count` numbers that were just taken off the stack at `from`. */
static int push_tuple(struct machine *machine, size_t from, size_t count) {
    struct value tuple = {.kind = KIND_TUPLE};
    tuple.items.first = (uint32_t)machine->items.count;
    tuple.items.count = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        if (numbers_add(machine, &machine->items, machine->stack.list[from + i]) < 0)
            return -1;
    return push(machine, tuple);
}

static int run_empty_tuple(struct machine *machine) {
    return push_tuple(machine, 0, 0);
}

static int run_tuple(struct machine *machine) {
    size_t count;
    if (pop_to_mark(machine, &count) < 0)
        return -1;
    return push_tuple(machine, machine->stack.count + 1, count);
}

static int run_tuple_of(struct machine *machine, size_t count) {
    uint32_t number;
    for (size_t i = 0; i < count; i++)
        if (pop(machine, &number) < 0)
            return -1;
    return push_tuple(machine, machine->stack.count, count);
}

static int run_tuple1(struct machine *machine) {
    return run_tuple_of(machine, 1);
}

static int run_tuple2(struct machine *machine) {
    return run_tuple_of(machine, 2);
}

static int run_tuple3(struct machine *machine) {
    return run_tuple_of(machine, 3);
}

static int put(struct machine *machine, size_t size) {
    uint64_t place;
    struct numbers *memo = &machine->memo, *stack = &machine->stack;
    if (take_number(machine, size, &place) < 0)
        return -1;
    if (stack->count == 0 || stack->list[stack->count - 1] == MARK)
        return pickle_damaged(machine, "its stack runs empty");
    if (place > memo->count)
        return pickle_damaged(machine, "its memo has a hole");
    if (place == memo->count && numbers_add(machine, memo, MARK) < 0)
        return -1;
    memo->list[place] = stack->list[stack->count - 1];
    return 0;
}

static int run_binput(struct machine *machine) {
    return put(machine, 1);
}

static int run_long_binput(struct machine *machine) {
    return put(machine, 4);
}

static int get_memo(struct machine *machine, size_t size) {
    uint64_t place;
    if (take_number(machine, size, &place) < 0)
        return -1;
    if (place >= machine->memo.count)
        return pickle_damaged(machine, "it asks its memo for what is not there");
    return numbers_add(machine, &machine->stack, machine->memo.list[place]);
}

static int run_binget(struct machine *machine) {
    return get_memo(machine, 1);
}

static int run_long_binget(struct machine *machine) {
    return get_memo(machine, 4);
}

/* A state dict has no use for lists, so what goes into one is dropped. */
static int run_append(struct machine *machine) {
    uint32_t number;
    struct value *list;
    return pop(machine, &number) < 0 ? -1 : top(machine, KIND_LIST, &list);
}

static int run_appends(struct machine *machine) {
    size_t count;
    struct value *list;
    return pop_to_mark(machine, &count) < 0 ? -1 : top(machine, KIND_LIST, &list);
}

static int dict_add(struct machine *machine, struct value *dict, uint32_t key, uint32_t value) {
    if (machine->entry_count == 0)
        machine->entry_count = 1; /* number 0 means none */
    void *list = machine->entries;
    int result = reserve_list(machine, &list, machine->entry_count, &machine->entry_room,
                              sizeof *machine->entries);
    machine->entries = list;
    if (result < 0)
        return -1;
    uint32_t number = (uint32_t)machine->entry_count++;
    machine->entries[number] = (struct dict_entry){key, value, 0};
    if (dict->entries.last)
        machine->entries[dict->entries.last].next = number;
    else
        dict->entries.first = number;
    dict->entries.last = number;
    return 0;
}

static int run_setitem(struct machine *machine) {
    uint32_t key, value;
    struct value *dict;
    if (pop(machine, &value) < 0 || pop(machine, &key) < 0 || top(machine, KIND_DICT, &dict) < 0)
        return -1;
    return dict_add(machine, dict, key, value);
}

static int run_setitems(struct machine *machine) {
    size_t count;
    struct value *dict;
    if (pop_to_mark(machine, &count) < 0 || top(machine, KIND_DICT, &dict) < 0)
        return -1;
    if (count % 2)
        return pickle_damaged(machine, "a key has no value");
    const uint32_t *pairs = machine->stack.list + machine->stack.count + 1;
    for (size_t i = 0; i < count; i += 2)
        if (dict_add(machine, dict, pairs[i], pairs[i + 1]) < 0)
            return -1;
    return 0;
}

/* Sets attributes of an OrderedDict (_metadata). Nothing here needs them, so they are dropped. */
static int run_build(struct machine *machine) {
    uint32_t state;
    struct value *dict;
    if (pop(machine, &state) < 0 || top(machine, KIND_DICT, &dict) < 0)
        return -1;
    return machine->values[state].kind == KIND_DICT
               ? 0
               : pickle_damaged(machine, "attributes of a kind that no state dict has");
}

static int run_global(struct machine *machine) {
    struct bytes module, name;
    if (take_line(machine, &module) < 0 || take_line(machine, &name) < 0)
        return -1;
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (bytes_are(module, globals[i].module) && bytes_are(name, globals[i].name))
            return push(machine, (struct value){.kind = KIND_GLOBAL, .global = &globals[i]});
    return error_set(machine->error, EX_CONFIG,
                     "the pickle asks for %.*s.%.*s, which no dictionary of tensors needs; it was "
                     "not run. If you trust the file, save its state_dict() alone",
                     (int)(module.size > 128 ? 128 : module.size), (const char *)module.data,
                     (int)(name.size > 128 ? 128 : name.size), (const char *)name.data);
}

const struct value *machine_item(const struct machine *machine, const struct value *tuple,
                                 uint32_t index, enum kind kind) {
    if (index >= tuple->items.count)
        return NULL;
    const struct value *value = &machine->values[machine->items.list[tuple->items.first + index]];
    return value->kind == kind ? value : NULL;
}

/* The persistent id of a storage: ("storage", class, key, location, elements). */
static int run_binpersid(struct machine *machine) {
    uint32_t number;
    if (pop(machine, &number) < 0)
        return -1;
    struct value value = machine->values[number];
    const struct value *class = NULL, *tag = NULL;
    if (value.kind == KIND_TUPLE && value.items.count == 5) {
        tag = machine_item(machine, &value, 0, KIND_TEXT);
        class = machine_item(machine, &value, 1, KIND_GLOBAL);
    }
    if (!tag || !bytes_are(tag->text, "storage") || !class || class->global->role != ROLE_STORAGE ||
        !machine_item(machine, &value, 2, KIND_TEXT) ||
        !machine_item(machine, &value, 3, KIND_TEXT) ||
        !machine_item(machine, &value, 4, KIND_INTEGER))
        return pickle_damaged(machine, "a storage is not described as torch does");
    value.kind = KIND_STORAGE;
    return push(machine, value);
}

/* A tuple of integers, at most a tensor's rank. */
static bool is_shape(const struct machine *machine, const struct value *shape) {
    if (!shape || shape->items.count > TENSOR_RANK_MAX)
        return false;
    for (uint32_t i = 0; i < shape->items.count; i++)
        if (!machine_item(machine, shape, i, KIND_INTEGER))
            return false;
    return true;
}

/* (storage, offset, shape, strides, requires_grad, hooks[, metadata]) */
static bool is_tensor(const struct machine *machine, const struct value *arguments) {
    const struct value *shape = machine_item(machine, arguments, 2, KIND_TUPLE);
    const struct value *strides = machine_item(machine, arguments, 3, KIND_TUPLE);
    return (arguments->items.count == 6 || arguments->items.count == 7) &&
           machine_item(machine, arguments, 0, KIND_STORAGE) &&
           machine_item(machine, arguments, 1, KIND_INTEGER) && is_shape(machine, shape) &&
           is_shape(machine, strides) && shape->items.count == strides->items.count;
}

static int run_reduce(struct machine *machine) {
    uint32_t arguments_number, callable_number;
    if (pop(machine, &arguments_number) < 0 || pop(machine, &callable_number) < 0)
        return -1;
    struct value arguments = machine->values[arguments_number];
    const struct value *callable = &machine->values[callable_number];
    if (callable->kind != KIND_GLOBAL || arguments.kind != KIND_TUPLE)
        return pickle_damaged(machine, "it calls what is no function");
    if (callable->global->role == ROLE_ORDERED_DICT && arguments.items.count == 0)
        return run_empty_dict(machine);
    if (callable->global->role == ROLE_TENSOR && is_tensor(machine, &arguments)) {
        arguments.kind = KIND_TENSOR;
        return push(machine, arguments);
    }
    if (callable->global->role == ROLE_PARAMETER &&
        machine_item(machine, &arguments, 0, KIND_TENSOR))
        return numbers_add(machine, &machine->stack, machine->items.list[arguments.items.first]);
    return error_set(machine->error, EX_CONFIG,
                     "the pickle is damaged: it calls %s.%s with what torch does not give it",
                     callable->global->module, callable->global->name);
}

/* Opcodes with a function are run. The others are refused, and have a name for the message. */
static const struct opcode {
    const char *name;
    int (*run)(struct machine *machine);
} opcodes[256] = {
    [0x80] = {"PROTO", run_proto},
    ['.'] = {"STOP", run_stop},
    ['('] = {"MARK", run_mark},
    ['K'] = {"BININT1", run_binint1},
    ['M'] = {"BININT2", run_binint2},
    ['J'] = {"BININT", run_binint},
    [0x8a] = {"LONG1", run_long1},
    ['G'] = {"BINFLOAT", run_binfloat},
    ['N'] = {"NONE", push_plain},
    [0x88] = {"NEWTRUE", push_plain},
    [0x89] = {"NEWFALSE", push_plain},
    ['X'] = {"BINUNICODE", run_binunicode},
    ['}'] = {"EMPTY_DICT", run_empty_dict},
    [']'] = {"EMPTY_LIST", run_empty_list},
    [')'] = {"EMPTY_TUPLE", run_empty_tuple},
    ['t'] = {"TUPLE", run_tuple},
    [0x85] = {"TUPLE1", run_tuple1},
    [0x86] = {"TUPLE2", run_tuple2},
    [0x87] = {"TUPLE3", run_tuple3},
    ['q'] = {"BINPUT", run_binput},
    ['r'] = {"LONG_BINPUT", run_long_binput},
    ['h'] = {"BINGET", run_binget},
    ['j'] = {"LONG_BINGET", run_long_binget},
    ['a'] = {"APPEND", run_append},
    ['e'] = {"APPENDS", run_appends},
    ['s'] = {"SETITEM", run_setitem},
    ['u'] = {"SETITEMS", run_setitems},
    ['b'] = {"BUILD", run_build},
    ['c'] = {"GLOBAL", run_global},
    ['Q'] = {"BINPERSID", run_binpersid},
    ['R'] = {"REDUCE", run_reduce},

    ['0'] = {"POP", NULL},
    ['1'] = {"POP_MARK", NULL},
    ['2'] = {"DUP", NULL},
    ['B'] = {"BINBYTES", NULL},
    ['C'] = {"SHORT_BINBYTES", NULL},
    ['F'] = {"FLOAT", NULL},
    ['I'] = {"INT", NULL},
    ['L'] = {"LONG", NULL},
    ['P'] = {"PERSID", NULL},
    ['S'] = {"STRING", NULL},
    ['T'] = {"BINSTRING", NULL},
    ['U'] = {"SHORT_BINSTRING", NULL},
    ['V'] = {"UNICODE", NULL},
    ['d'] = {"DICT", NULL},
    ['g'] = {"GET", NULL},
    ['i'] = {"INST", NULL},
    ['l'] = {"LIST", NULL},
    ['o'] = {"OBJ", NULL},
    ['p'] = {"PUT", NULL},
    [0x81] = {"NEWOBJ", NULL},
    [0x82] = {"EXT1", NULL},
    [0x83] = {"EXT2", NULL},
    [0x84] = {"EXT4", NULL},
    [0x8b] = {"LONG4", NULL},
    [0x8c] = {"SHORT_BINUNICODE", NULL},
    [0x8d] = {"BINUNICODE8", NULL},
    [0x8e] = {"BINBYTES8", NULL},
    [0x8f] = {"EMPTY_SET", NULL},
    [0x90] = {"ADDITEMS", NULL},
    [0x91] = {"FROZENSET", NULL},
    [0x92] = {"NEWOBJ_EX", NULL},
    [0x93] = {"STACK_GLOBAL", NULL},
    [0x94] = {"MEMOIZE", NULL},
    [0x95] = {"FRAME", NULL},
    [0x96] = {"BYTEARRAY8", NULL},
    [0x97] = {"NEXT_BUFFER", NULL},
    [0x98] = {"READONLY_BUFFER", NULL},
};

int machine_run(struct machine *machine) {
    /* Value 0 stands for a mark: its kind, which no other value has, keeps opcodes from using it.
     */
    if (push(machine, (struct value){.kind = KIND_MARK}) < 0)
        return -1;
    machine->stack.count = 0;
    while (!machine->stopped) {
        const unsigned char *code;
        if (take_bytes(machine, 1, &code) < 0)
            return -1;
        const struct opcode *opcode = &opcodes[*code];
        if (!opcode->run)
            return error_set(machine->error, EX_CONFIG,
                             "the pickle uses opcode %s (0x%02x), which torch.save does not write "
                             "for a dictionary of tensors; save it with torch's own default",
                             opcode->name ? opcode->name : "unknown", *code);
        if (opcode->run(machine) < 0)
            return -1;
    }
    if (machine->stack.count != 1 || machine->at != machine->end)
        return pickle_damaged(machine, "something is left over at its end");
    return 0;
}

void machine_finish(struct machine *machine) {
    free(machine->values);
    free(machine->entries);
    free(machine->items.list);
    free(machine->stack.list);
    free(machine->memo.list);
    *machine = (struct machine){0};
}

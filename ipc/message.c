/* SPDX-License-Identifier: Apache-2.0
 *
 * Control messages to and from bytes. Decoding instantiates msgpack-c's parser template with
 * callbacks that accept one flat map and store each value in its key's slot. The rows of keys.h say
 * what a key may hold, and a table here says which keys a kind of message must have. Encoding uses
 * msgpack-c's inline packer on the caller's buffer.
 */
#include "ipc/message.h"

#include "ipc/base/text.h"

/* How deep values may nest in a message of another protocol version, where they are passed over.
 * The messages of this version never nest. */
#define MSGPACK_EMBED_STACK_SIZE 8

#include <errno.h>
#include <msgpack/pack.h>
#include <msgpack/unpack.h>
#include <msgpack/unpack_define.h>
#include <string.h>

static const struct key_rule {
    enum value_type type;
    uint64_t least; /* of the number, or of the length */
    uint64_t most;
} key_rules[WIRE_KEYS] = {
#define SESSION_RULE(key, number, type, least, most) [key] = {type, least, most},
#define STATUS_RULE(key, number, type, least, most, ...) [key] = {type, least, most},
    WIRE_SESSION_ROWS(SESSION_RULE) WIRE_STATUS_ROWS(STATUS_RULE)};

#define KEY(name) (UINT64_C(1) << (name))
#define OR_KEY(key, ...) | KEY(key)
#define STATUS_KEYS (0 WIRE_STATUS_ROWS(OR_KEY))
#define MODEL_KEYS                                                                                 \
    (KEY(WIRE_DIGEST) | KEY(WIRE_PRECISION) | KEY(WIRE_BACKEND) | KEY(WIRE_MODEL) |                \
     KEY(WIRE_SYNTHETIC) | KEY(WIRE_HIDDEN) | KEY(WIRE_POSITIONS))

_Static_assert(WIRE_KEYS < 64, "message.present holds one bit per key");
_Static_assert((STATUS_KEYS WIRE_SESSION_ROWS(OR_KEY)) == KEY(WIRE_KEYS) - 1,
               "every number below WIRE_KEYS has exactly one row");

static const struct kind_rule {
    uint64_t required; /* beside KIND */
    uint64_t optional;
} kind_rules[] = {
    [WIRE_HELLO] = {KEY(WIRE_PROTOCOL_VERSION) | KEY(WIRE_PROGRAM) | KEY(WIRE_POOLING) |
                        KEY(WIRE_DTYPE),
                    KEY(WIRE_EXPECT)},
    [WIRE_WELCOME] = {MODEL_KEYS | KEY(WIRE_ALPHABET) | KEY(WIRE_RING_MAX) |
                          KEY(WIRE_ONE_SHOT_LIMIT),
                      0},
    [WIRE_REFUSED] = {KEY(WIRE_CODE) | KEY(WIRE_TEXT) | KEY(WIRE_RETRY), 0},
    [WIRE_SUBMIT] = {KEY(WIRE_TAG) | KEY(WIRE_SEQUENCE), 0},
    [WIRE_RESULT] = {KEY(WIRE_TAG) | KEY(WIRE_RECORD_STATUS) | KEY(WIRE_ROWS) | KEY(WIRE_DATA), 0},
    [WIRE_RING] = {KEY(WIRE_SUBMISSION_SIZE) | KEY(WIRE_COMPLETION_SIZE), 0},
    [WIRE_STATUS_QUERY] = {KEY(WIRE_PROTOCOL_VERSION), 0},
    [WIRE_STATUS] = {STATUS_KEYS & ~KEY(WIRE_DEVICE), KEY(WIRE_DEVICE)},
    [WIRE_STOP] = {KEY(WIRE_PROTOCOL_VERSION), 0},
    [WIRE_STOPPING] = {0, 0},
};

/* What the parser meets that is no value of a key, in addition to enum value_type. */
enum { PARSED_OTHER = 0, PARSED_MAP = VALUE_BYTES + 1 };

/* One parsed value, before it is known which key it belongs to. */
struct parsed {
    int type;
    struct message_value value;
};

struct parser {
    struct message *message;
    bool in_map;
    bool foreign; /* the message is of another protocol version, so what follows that is ignored */
};

static int parse_other(const struct parser *parser, struct parsed *out) {
    out->type = PARSED_OTHER;
    return parser->foreign ? 0 : -EBADMSG;
}

/* The template calls each of these by name. Those for types that no message may hold fail. */
static struct parsed wire_callback_root(struct parser *parser) {
    (void)parser;
    return (struct parsed){0};
}

#define ACCEPT_UNSIGNED(name, ctype)                                                               \
    static int wire_callback##name(struct parser *parser, ctype number, struct parsed *out) {      \
        (void)parser;                                                                              \
        *out = (struct parsed){VALUE_NUMBER, {.number = number}};                                  \
        return 0;                                                                                  \
    }
#define ACCEPT_VIEW(name, value_type)                                                              \
    static int wire_callback##name(struct parser *parser, const char *base, const char *bytes,     \
                                   unsigned length, struct parsed *out) {                          \
        (void)parser, (void)base;                                                                  \
        *out = (struct parsed){value_type, {.bytes = length ? bytes : "", .length = length}};      \
        return 0;                                                                                  \
    }
#define REJECT_VALUE(name, ctype)                                                                  \
    static int wire_callback##name(struct parser *parser, ctype value, struct parsed *out) {       \
        (void)value;                                                                               \
        return parse_other(parser, out);                                                           \
    }
#define REJECT_SIMPLE(name)                                                                        \
    static int wire_callback##name(struct parser *parser, struct parsed *out) {                    \
        return parse_other(parser, out);                                                           \
    }

ACCEPT_UNSIGNED(_uint8, uint8_t)
ACCEPT_UNSIGNED(_uint16, uint16_t)
ACCEPT_UNSIGNED(_uint32, uint32_t)
ACCEPT_UNSIGNED(_uint64, uint64_t)
ACCEPT_VIEW(_str, VALUE_TEXT)
ACCEPT_VIEW(_bin, VALUE_BYTES)
REJECT_VALUE(_int8, int8_t)
REJECT_VALUE(_int16, int16_t)
REJECT_VALUE(_int32, int32_t)
REJECT_VALUE(_int64, int64_t)
REJECT_VALUE(_float, float)
REJECT_VALUE(_double, double)
REJECT_VALUE(_array, unsigned)
REJECT_SIMPLE(_nil)
REJECT_SIMPLE(_true)
REJECT_SIMPLE(_false)

static int wire_callback_map(struct parser *parser, unsigned count, struct parsed *out) {
    (void)count;
    if (parser->in_map)
        return parse_other(parser, out);
    parser->in_map = true;
    out->type = PARSED_MAP;
    return 0;
}

static int wire_callback_array_item(struct parser *parser, struct parsed *array,
                                    struct parsed item) {
    (void)parser, (void)array, (void)item;
    return 0;
}

static int wire_callback_ext(struct parser *parser, const char *base, const char *bytes,
                             unsigned length, struct parsed *out) {
    (void)base, (void)bytes, (void)length;
    return parse_other(parser, out);
}

static bool value_fits(const struct key_rule *rule, const struct parsed *parsed) {
    uint64_t size = rule->type == VALUE_NUMBER ? parsed->value.number : parsed->value.length;
    return parsed->type == (int)rule->type && size >= rule->least && size <= rule->most;
}

static int wire_callback_map_item(struct parser *parser, struct parsed *map, struct parsed key,
                                  struct parsed value) {
    (void)map;
    struct message *message = parser->message;
    if (parser->foreign)
        return 0;
    if (key.type != VALUE_NUMBER || key.value.number >= WIRE_KEYS)
        return -EBADMSG;
    size_t index = (size_t)key.value.number;
    if ((message->present >> index) & 1 || !value_fits(&key_rules[index], &value))
        return -EBADMSG;
    message->present |= UINT64_C(1) << index;
    message->value[index] = value.value;
    parser->foreign = index == WIRE_PROTOCOL_VERSION && value.value.number != WIRE_PROTOCOL;
    return 0;
}

#define msgpack_unpack_struct(name) struct wire_unpack##name
#define msgpack_unpack_func(ret, name) static ret wire_unpack##name
#define msgpack_unpack_callback(name) wire_callback##name
#define msgpack_unpack_object struct parsed
#define msgpack_unpack_user struct parser
struct wire_unpack_context;
static void wire_unpack_init(struct wire_unpack_context *ctx);
static struct parsed wire_unpack_data(struct wire_unpack_context *ctx) __attribute__((unused));
static int wire_unpack_execute(struct wire_unpack_context *ctx, const char *data, size_t len,
                               size_t *off);
#include <msgpack/unpack_template.h>

int message_decode(struct message *message, const void *data, size_t size) {
    message->present = 0;
    if (size > WIRE_MESSAGE_MAX)
        return -EBADMSG;
    size_t end = 0;
    struct wire_unpack_context context;
    context.user = (struct parser){.message = message};
    wire_unpack_init(&context);
    if (wire_unpack_execute(&context, data, size, &end) != 1 || end != size)
        return -EBADMSG;
    if (!context.user.in_map || !message_has(message, WIRE_KIND))
        return -EBADMSG;
    message->kind = (enum wire_kind)message->value[WIRE_KIND].number;
    const struct kind_rule *rule = &kind_rules[message->kind];
    uint64_t keys = message->present & ~KEY(WIRE_KIND);
    if (context.user.foreign) {
        message->present = KEY(WIRE_KIND) | KEY(WIRE_PROTOCOL_VERSION);
        return rule->required & KEY(WIRE_PROTOCOL_VERSION) ? 0 : -EBADMSG;
    }
    if ((keys & rule->required) != rule->required || keys & ~(rule->required | rule->optional))
        return -EBADMSG;
    return 0;
}

void message_copy_text(const struct message *message, enum wire_key key, char *text,
                       size_t capacity) {
    const struct message_value *value = &message->value[key];
    size_t length = message_has(message, key) ? value->length : 0;
    if (length > capacity - 1)
        length = capacity - 1;
    if (length > 0)
        memcpy(text, value->bytes, length);
    text[length] = '\0';
    text_make_printable(text, length);
}

static int writer_append(void *context, const char *bytes, size_t length) {
    struct message_writer *writer = context;
    if (length > writer->capacity - writer->size) {
        writer->overflow = true;
        return -1;
    }
    if (length > 0) /* empty values may be NULL */
        memcpy(writer->data + writer->size, bytes, length);
    writer->size += length;
    return 0;
}

/* How many keys there will be is not known at the beginning, so a map header with a 16-bit count is
 * written first and patched at the end. */
#define MAP_HEADER_SIZE 3

void message_begin(struct message_writer *writer, void *buffer, size_t capacity,
                   enum wire_kind kind) {
    *writer = (struct message_writer){.data = buffer, .capacity = capacity};
    msgpack_packer packer = {.data = writer, .callback = writer_append};
    msgpack_pack_map(&packer, UINT16_MAX);
    message_put_number(writer, WIRE_KIND, kind);
}

static msgpack_packer put_key(struct message_writer *writer, enum wire_key key) {
    msgpack_packer packer = {.data = writer, .callback = writer_append};
    msgpack_pack_uint8(&packer, (uint8_t)key);
    writer->count++;
    return packer;
}

void message_put_number(struct message_writer *writer, enum wire_key key, uint64_t number) {
    msgpack_packer packer = put_key(writer, key);
    msgpack_pack_uint64(&packer, number);
}

void message_put_text(struct message_writer *writer, enum wire_key key, const char *text) {
    msgpack_packer packer = put_key(writer, key);
    msgpack_pack_str_with_body(&packer, text, strlen(text));
}

void message_put_bytes(struct message_writer *writer, enum wire_key key, const void *bytes,
                       size_t length) {
    msgpack_packer packer = put_key(writer, key);
    msgpack_pack_bin_with_body(&packer, bytes, length);
}

long message_end(struct message_writer *writer) {
    if (writer->overflow || writer->size < MAP_HEADER_SIZE)
        return -EMSGSIZE;
    writer->data[1] = (char)(writer->count >> 8);
    writer->data[2] = (char)(writer->count & 0xff);
    return (long)writer->size;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Control messages to and from bytes. Decoding instantiates msgpack-c's parser template with
 * callbacks that accept one flat map and store each value in its key's slot; what a key and a kind
 * may hold stands in two tables. Encoding uses msgpack-c's inline packer on the caller's buffer.
 */
#include "ipc/message.h"

#include "ipc/base/text.h"

/* How deep values of another protocol version may nest, which are passed over; ours never do. */
#define MSGPACK_EMBED_STACK_SIZE 8

#include <errno.h>
#include <msgpack/pack.h>
#include <msgpack/unpack.h>
#include <msgpack/unpack_define.h>
#include <string.h>

enum value_type { VALUE_NUMBER, VALUE_TEXT, VALUE_BYTES };

#define TEXT_MAX 1024u

static const struct key_rule {
    enum value_type type;
    uint64_t least; /* of the number, or of the length */
    uint64_t most;
} key_rules[WIRE_KEYS] = {
    [WIRE_KIND] = {VALUE_NUMBER, WIRE_HELLO, WIRE_STOPPING},
    [WIRE_PROTOCOL_VERSION] = {VALUE_NUMBER, 0, UINT32_MAX},
    [WIRE_PROGRAM] = {VALUE_TEXT, 0, 64},
    [WIRE_POOLING] = {VALUE_NUMBER, POOLING_NONE, POOLING_BOS},
    [WIRE_DTYPE] = {VALUE_NUMBER, DTYPE_F32, DTYPE_F16},
    [WIRE_EXPECT] = {VALUE_TEXT, 1, WIRE_DIGEST_CHARS},
    [WIRE_DIGEST] = {VALUE_TEXT, WIRE_DIGEST_CHARS, WIRE_DIGEST_CHARS},
    [WIRE_PRECISION] = {VALUE_TEXT, 1, 15},
    [WIRE_BACKEND] = {VALUE_TEXT, 1, 15},
    [WIRE_MODEL] = {VALUE_TEXT, 1, 127},
    [WIRE_SYNTHETIC] = {VALUE_NUMBER, 0, 1},
    [WIRE_HIDDEN] = {VALUE_NUMBER, 1, UINT16_MAX},
    [WIRE_POSITIONS] = {VALUE_NUMBER, 3, WIRE_POSITIONS_MAX},
    [WIRE_ALPHABET] = {VALUE_BYTES, WIRE_ALPHABET_BYTES, WIRE_ALPHABET_BYTES},
    [WIRE_RING_MAX] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_ONE_SHOT_LIMIT] = {VALUE_NUMBER, 0, WIRE_ONE_SHOT_MAX},
    [WIRE_TAG] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_SEQUENCE] = {VALUE_BYTES, 1, WIRE_POSITIONS_MAX},
    [WIRE_RECORD_STATUS] = {VALUE_NUMBER, RECORD_OK, RECORD_ENGINE},
    [WIRE_ROWS] = {VALUE_NUMBER, 0, 1},
    [WIRE_DATA] = {VALUE_BYTES, 0, WIRE_MESSAGE_MAX},
    [WIRE_TEXT] = {VALUE_TEXT, 0, TEXT_MAX},
    [WIRE_CODE] = {VALUE_NUMBER, WIRE_REFUSED_PROTOCOL, WIRE_REFUSED_DENIED},
    [WIRE_RETRY] = {VALUE_NUMBER, 0, 1},
    [WIRE_SUBMISSION_SIZE] = {VALUE_NUMBER, 1, UINT32_MAX},
    [WIRE_COMPLETION_SIZE] = {VALUE_NUMBER, 1, UINT32_MAX},
    [WIRE_VERSION] = {VALUE_TEXT, 1, 31},
    [WIRE_PID] = {VALUE_NUMBER, 0, UINT32_MAX},
    [WIRE_UPTIME] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_LOOP] = {VALUE_TEXT, 1, 127},
    [WIRE_INSTRUCTIONS] = {VALUE_TEXT, 1, 31},
    [WIRE_THREADS] = {VALUE_NUMBER, 0, UINT32_MAX},
    [WIRE_PARAMETERS] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_CLIENTS] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_CLIENTS_TOTAL] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_RECORDS] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_RECORDS_FAILED] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_RESIDUES] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_BATCHES] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_QUEUED_RESIDUES] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_PINNED_BYTES] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_DEVICE] = {VALUE_TEXT, 1, 127},
    [WIRE_GENERATION] = {VALUE_NUMBER, 1, UINT32_MAX},
    [WIRE_CLIENTS_BEFORE] = {VALUE_NUMBER, 0, UINT64_MAX},
    [WIRE_NOTE] = {VALUE_TEXT, 0, TEXT_MAX},
};

#define KEY(name) (UINT64_C(1) << (name))
#define STATUS_KEYS                                                                                \
    (KEY(WIRE_DIGEST) | KEY(WIRE_PRECISION) | KEY(WIRE_BACKEND) | KEY(WIRE_MODEL) |                \
     KEY(WIRE_SYNTHETIC) | KEY(WIRE_HIDDEN) | KEY(WIRE_POSITIONS) |                                \
     (KEY(WIRE_DEVICE) - KEY(WIRE_VERSION)) | KEY(WIRE_GENERATION) | KEY(WIRE_CLIENTS_BEFORE) |    \
     KEY(WIRE_NOTE))

_Static_assert(WIRE_KEYS < 64, "message.present holds one bit per key");

static const struct kind_rule {
    uint64_t required; /* beside KIND */
    uint64_t optional;
} kind_rules[] = {
    [WIRE_HELLO] = {KEY(WIRE_PROTOCOL_VERSION) | KEY(WIRE_PROGRAM) | KEY(WIRE_POOLING) |
                        KEY(WIRE_DTYPE),
                    KEY(WIRE_EXPECT)},
    [WIRE_WELCOME] = {KEY(WIRE_DIGEST) | KEY(WIRE_PRECISION) | KEY(WIRE_BACKEND) | KEY(WIRE_MODEL) |
                          KEY(WIRE_SYNTHETIC) | KEY(WIRE_HIDDEN) | KEY(WIRE_POSITIONS) |
                          KEY(WIRE_ALPHABET) | KEY(WIRE_RING_MAX) | KEY(WIRE_ONE_SHOT_LIMIT),
                      0},
    [WIRE_REFUSED] = {KEY(WIRE_CODE) | KEY(WIRE_TEXT) | KEY(WIRE_RETRY), 0},
    [WIRE_SUBMIT] = {KEY(WIRE_TAG) | KEY(WIRE_SEQUENCE), 0},
    [WIRE_RESULT] = {KEY(WIRE_TAG) | KEY(WIRE_RECORD_STATUS) | KEY(WIRE_ROWS) | KEY(WIRE_DATA), 0},
    [WIRE_RING] = {KEY(WIRE_SUBMISSION_SIZE) | KEY(WIRE_COMPLETION_SIZE), 0},
    [WIRE_STATUS_QUERY] = {KEY(WIRE_PROTOCOL_VERSION), 0},
    [WIRE_STATUS] = {STATUS_KEYS, KEY(WIRE_DEVICE)},
    [WIRE_STOP] = {KEY(WIRE_PROTOCOL_VERSION), 0},
    [WIRE_STOPPING] = {0, 0},
};

/* One parsed value, before it is known which key it belongs to. */
struct parsed {
    enum { PARSED_OTHER, PARSED_NUMBER, PARSED_TEXT, PARSED_BYTES, PARSED_MAP } type;
    struct message_value value;
};

struct parser {
    struct message *message;
    bool in_map;
    bool foreign; /* of another protocol version: what follows that is not looked at */
};

static int parse_number(uint64_t number, struct parsed *out) {
    out->type = PARSED_NUMBER;
    out->value.number = number;
    return 0;
}

static int parse_other(const struct parser *parser, struct parsed *out) {
    out->type = PARSED_OTHER;
    return parser->foreign ? 0 : -EBADMSG;
}

static int parse_view(int type, const char *bytes, size_t length, struct parsed *out) {
    out->type = type;
    out->value.bytes = length ? bytes : "";
    out->value.length = length;
    return 0;
}

/* The template calls each of these by name; the ones that no message may hold fail. */
static struct parsed wire_callback_root(struct parser *parser) {
    (void)parser;
    return (struct parsed){0};
}

#define ACCEPT_UNSIGNED(name, ctype)                                                               \
    static int wire_callback##name(struct parser *parser, ctype number, struct parsed *out) {      \
        (void)parser;                                                                              \
        return parse_number(number, out);                                                          \
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

static int wire_callback_str(struct parser *parser, const char *base, const char *bytes,
                             unsigned length, struct parsed *out) {
    (void)parser, (void)base;
    return parse_view(PARSED_TEXT, bytes, length, out);
}

static int wire_callback_bin(struct parser *parser, const char *base, const char *bytes,
                             unsigned length, struct parsed *out) {
    (void)parser, (void)base;
    return parse_view(PARSED_BYTES, bytes, length, out);
}

static int wire_callback_ext(struct parser *parser, const char *base, const char *bytes,
                             unsigned length, struct parsed *out) {
    (void)base, (void)bytes, (void)length;
    return parse_other(parser, out);
}

static bool value_fits(const struct key_rule *rule, const struct parsed *parsed) {
    switch (rule->type) {
    case VALUE_NUMBER:
        return parsed->type == PARSED_NUMBER && parsed->value.number >= rule->least &&
               parsed->value.number <= rule->most;
    case VALUE_TEXT:
        return parsed->type == PARSED_TEXT && parsed->value.length >= rule->least &&
               parsed->value.length <= rule->most;
    case VALUE_BYTES:
        return parsed->type == PARSED_BYTES && parsed->value.length >= rule->least &&
               parsed->value.length <= rule->most;
    }
    return false;
}

static int wire_callback_map_item(struct parser *parser, struct parsed *map, struct parsed key,
                                  struct parsed value) {
    (void)map;
    struct message *message = parser->message;
    if (parser->foreign)
        return 0;
    if (key.type != PARSED_NUMBER || key.value.number >= WIRE_KEYS)
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
    struct wire_unpack_context context;
    size_t end = 0;

    message->present = 0;
    if (size > WIRE_MESSAGE_MAX)
        return -EBADMSG;
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

static msgpack_packer writer_packer(struct message_writer *writer) {
    return (msgpack_packer){.data = writer, .callback = writer_append};
}

/* The count of keys is not known yet: a 16-bit map header is written and patched at the end. */
#define MAP_HEADER_SIZE 3

void message_begin(struct message_writer *writer, void *buffer, size_t capacity,
                   enum wire_kind kind) {
    *writer = (struct message_writer){.data = buffer, .capacity = capacity};
    msgpack_packer packer = writer_packer(writer);
    msgpack_pack_map(&packer, UINT16_MAX);
    message_put_number(writer, WIRE_KIND, kind);
}

void message_put_number(struct message_writer *writer, enum wire_key key, uint64_t number) {
    msgpack_packer packer = writer_packer(writer);
    msgpack_pack_uint8(&packer, (uint8_t)key);
    msgpack_pack_uint64(&packer, number);
    writer->count++;
}

void message_put_text(struct message_writer *writer, enum wire_key key, const char *text) {
    msgpack_packer packer = writer_packer(writer);
    msgpack_pack_uint8(&packer, (uint8_t)key);
    msgpack_pack_str_with_body(&packer, text, strlen(text));
    writer->count++;
}

void message_put_bytes(struct message_writer *writer, enum wire_key key, const void *bytes,
                       size_t length) {
    msgpack_packer packer = writer_packer(writer);
    msgpack_pack_uint8(&packer, (uint8_t)key);
    msgpack_pack_bin_with_body(&packer, bytes, length);
    writer->count++;
}

long message_end(struct message_writer *writer) {
    if (writer->overflow || writer->size < MAP_HEADER_SIZE)
        return -EMSGSIZE;
    writer->data[1] = (char)(writer->count >> 8);
    writer->data[2] = (char)(writer->count & 0xff);
    return (long)writer->size;
}

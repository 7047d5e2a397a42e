/* SPDX-License-Identifier: Apache-2.0
 *
 * MessagePack, a map for every record, also for those that failed: the keys of jsonl, with the
 * values as bytes and, in NumPy's words, how to read them: numpy.frombuffer(embedding,
 * dtype).reshape(shape). msgpack-c's inline packer writes straight into the target.
 */
#include "client/filter/output/output.h"

#include <msgpack/pack.h>
#include <string.h>

/* Once a write has failed, nothing more is written. */
struct sink {
    struct target *target;
    int result;
};

static int sink_append(void *data, const char *bytes, size_t size) {
    struct sink *sink = data;
    if (sink->result == 0)
        sink->result = target_write(sink->target, bytes, size);
    return sink->result;
}

static void pack_text(msgpack_packer *packer, const char *text, size_t size) {
    msgpack_pack_str(packer, size);
    msgpack_pack_str_body(packer, text, size);
}

static void pack_key(msgpack_packer *packer, const char *key) {
    pack_text(packer, key, strlen(key));
}

static void pack_count(msgpack_packer *packer, const char *key, uint64_t count) {
    pack_key(packer, key);
    msgpack_pack_uint64(packer, count);
}

static void pack_id(msgpack_packer *packer, const struct record *record) {
    pack_key(packer, "id");
    pack_text(packer, record->id, record->id_size);
}

static void pack_embedding(msgpack_packer *packer, struct sink *sink, const struct output *output,
                           const struct esm1nv_result *answer) {
    bool list = output->pooling == ESM1NV_POOL_NONE;
    pack_key(packer, "dtype");
    pack_text(packer, output->dtype == ESM1NV_F16 ? "<f2" : "<f4", 3);
    pack_key(packer, "shape");
    msgpack_pack_array(packer, list ? 2 : 1);
    if (list)
        msgpack_pack_uint32(packer, answer->row_count);
    msgpack_pack_uint32(packer, output->hidden);
    pack_key(packer, "embedding");
    msgpack_pack_bin(packer, answer->bytes);
    if (sink->result == 0)
        sink->result = target_refer(sink->target, answer->rows, answer->bytes);
}

static int msgpack_rows(struct output *output, const struct record *record,
                        const struct esm1nv_result *answer) {
    struct sink sink = {.target = &output->target};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &sink, sink_append);
    msgpack_pack_map(&packer, record->truncated ? 7 : 6);
    pack_id(&packer, record);
    pack_count(&packer, "length", record->length);
    pack_count(&packer, "rows", answer->row_count);
    pack_embedding(&packer, &sink, output, answer);
    if (record->truncated) {
        pack_key(&packer, "truncated");
        msgpack_pack_true(&packer);
    }
    return sink.result;
}

static int msgpack_failed(struct output *output, const struct record *record) {
    struct sink sink = {.target = &output->target};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &sink, sink_append);
    msgpack_pack_map(&packer, 2);
    pack_id(&packer, record);
    pack_key(&packer, "error");
    pack_text(&packer, record->failure, strlen(record->failure));
    return sink.result;
}

static uint64_t msgpack_bytes(const struct record *record, uint64_t rows) {
    return record->id_size + (rows > 0 ? 51 : 60);
}

const struct output_format output_msgpack = {.name = "msgpack",
                                             .binary = true,
                                             .bytes_beside = msgpack_bytes,
                                             .rows = msgpack_rows,
                                             .failed = msgpack_failed};

/* SPDX-License-Identifier: Apache-2.0
 *
 * MessagePack: one map per record, also for a record that failed. The keys are those of jsonl. The
 * values of an embedding are raw bytes, and two more keys say in NumPy's terms how to read them:
 * numpy.frombuffer(embedding, dtype).reshape(shape). msgpack-c's inline packer writes straight into
 * the target.
 */
#include "client/filter/output/output.h"

#include <msgpack/pack.h>
#include <string.h>

static int pack_append(void *target, const char *bytes, size_t size) {
    target_write(target, bytes, size);
    return 0;
}

static void pack_key(msgpack_packer *packer, const char *key) {
    msgpack_pack_str_with_body(packer, key, strlen(key));
}

/* Begins the map of a record with its id. */
static msgpack_packer pack_record(struct output *output, const struct record *record, size_t keys) {
    msgpack_packer packer = {.data = &output->target, .callback = pack_append};
    msgpack_pack_map(&packer, keys);
    pack_key(&packer, "id");
    msgpack_pack_str_with_body(&packer, record->id, record->id_size);
    return packer;
}

static void pack_embedding(msgpack_packer *packer, struct output *output,
                           const struct esm1nv_result *answer) {
    bool list = output->pooling == ESM1NV_POOL_NONE;
    pack_key(packer, "dtype");
    msgpack_pack_str_with_body(packer, output->dtype == ESM1NV_F16 ? "<f2" : "<f4", 3);
    pack_key(packer, "shape");
    msgpack_pack_array(packer, list ? 2 : 1);
    if (list)
        msgpack_pack_uint32(packer, answer->row_count);
    msgpack_pack_uint32(packer, output->hidden);
    pack_key(packer, "embedding");
    msgpack_pack_bin(packer, answer->bytes);
    target_refer(&output->target, answer->rows, answer->bytes);
}

static void msgpack_rows(struct output *output, const struct record *record,
                         const struct esm1nv_result *answer) {
    msgpack_packer packer = pack_record(output, record, record->truncated ? 7 : 6);
    pack_key(&packer, "length");
    msgpack_pack_uint64(&packer, record->length);
    pack_key(&packer, "rows");
    msgpack_pack_uint64(&packer, answer->row_count);
    pack_embedding(&packer, output, answer);
    if (record->truncated) {
        pack_key(&packer, "truncated");
        msgpack_pack_true(&packer);
    }
}

static void msgpack_failed(struct output *output, const struct record *record) {
    msgpack_packer packer = pack_record(output, record, 2);
    pack_key(&packer, "error");
    msgpack_pack_str_with_body(&packer, record->failure, strlen(record->failure));
}

static uint64_t msgpack_bytes(const struct record *record, uint64_t rows) {
    return record->id_size + (rows > 0 ? 51 : 60);
}

const struct output_format output_msgpack = {.name = "msgpack",
                                             .binary = true,
                                             .bytes_beside = msgpack_bytes,
                                             .rows = msgpack_rows,
                                             .failed = msgpack_failed};

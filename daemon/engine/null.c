/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine that does none of the model's arithmetic, for measuring and testing everything around
 * it. It fills rows with a known pattern of small whole numbers: for n residues whose tokens add up
 * to s, column 0 of row r (from 0) holds s mod 2048, column 1 holds r mod 2048, and all others hold
 * n mod 2048, which is exact in float32 and float16. Batches are run within submit(), in the
 * caller's thread, so the completion descriptor never becomes readable.
 */
#include "daemon/base/clock.h"
#include "daemon/engine/chooser.h"
#include "daemon/engine/queued.h"
#include "ipc/base/half.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <wchar.h>

#define DEPTH 2
#define MODULUS 2048

static int null_probe(struct error *error) {
    (void)error;
    return 0;
}

static void null_close(struct engine *engine) {
    if (!engine)
        return;
    engine_queue_finish(&engine->queue);
    free(engine);
}

static int null_open(struct engine **out, const struct model *model,
                     const struct engine_options *options, struct error *error) {
    enum precision precision = options->precision ? options->precision : PRECISION_F32;
    *out = NULL;
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return error_set(error, EX_SOFTWARE, "out of memory");
    if (engine_queue_init(&engine->queue, DEPTH, &model->config, options->max_batch_tokens, error) <
        0) {
        null_close(engine);
        return -1;
    }
    engine->info = (struct engine_info){.backend = "null",
                                        .precision = engine_precisions[precision],
                                        .instructions = "none",
                                        .threads = 1,
                                        .depth = DEPTH,
                                        .batch_tokens = options->max_batch_tokens};
    *out = engine;
    return 0;
}

/* The bits of a whole number as a value of a row; those of a float16 twice, to fill 32 bits. */
static uint32_t value_bits(enum dtype dtype, uint32_t number) {
    if (dtype == DTYPE_F16)
        return f16_from_float((float)number) * UINT32_C(0x10001);
    return float_bits((float)number);
}

static void item_run(const struct engine *engine, const uint16_t *ids, struct engine_item *item) {
    if (item->pooling == POOLING_BOS && item->first_residue == 0) {
        item->status = RECORD_NO_BOS;
        return;
    }
    const uint16_t *residues = ids + item->first_token + item->first_residue;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < item->residues; i++)
        sum += residues[i];
    sum = value_bits(item->dtype, sum % MODULUS);
    uint32_t count = value_bits(item->dtype, item->residues % MODULUS);
    uint32_t rows = item->pooling == POOLING_NONE ? item->residues : 1;
    size_t size = dtype_size(item->dtype), row_bytes = engine->queue.config->hidden * size;
    for (uint32_t row = 0; row < rows; row++) {
        char *at = (char *)item->rows + row * row_bytes;
        uint32_t number = value_bits(item->dtype, row % MODULUS);
        wmemset((wchar_t *)(void *)at, (wchar_t)count, row_bytes / sizeof(wchar_t));
        memcpy(at, &sum, size);
        memcpy(at + size, &number, size);
    }
    item->status = RECORD_OK;
}

static void null_submit(struct engine *engine, struct engine_batch *batch) {
    double start = clock_seconds();
    for (uint32_t i = 0; i < batch->count; i++)
        item_run(engine, batch->ids, &batch->items[i]);
    batch->failure[0] = '\0';
    batch->seconds = clock_seconds() - start;
    engine_queue_submit_done(&engine->queue, batch);
}

const struct engine_table null_engine_table = {
    .abi = ENGINE_ABI,
    .name = "null",
    .default_batch_tokens = 2048,
    .probe = null_probe,
    .open = null_open,
    .info = queued_info,
    .submit = null_submit,
    .completion_fd = queued_completion_fd,
    .reap = queued_reap,
    .broken = queued_broken,
    .close = null_close,
};

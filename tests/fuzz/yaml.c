/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: model_config.yaml. A configuration that is accepted must be one that can be
 * computed.
 */
#include "daemon/model/loader.h"
#include "tests/fuzz/refusal.h"

static void check_config(const struct model_config *config) {
    REQUIRE(config->layers > 0 && config->hidden > 0, "%u layers of %u", config->layers,
            config->hidden);
    REQUIRE(config->hidden % HEAD_SIZE == 0 && config->heads == config->hidden / HEAD_SIZE,
            "%u heads of %u", config->heads, config->hidden);
    REQUIRE(config->ffn > 0 && config->ffn % config->hidden == 0, "ffn %u", config->ffn);
    REQUIRE(config->positions >= 3 && config->positions <= WIRE_POSITIONS_MAX, "%u positions",
            config->positions);
    REQUIRE(config->epsilon > 0 && config->epsilon < 1, "epsilon %g", (double)config->epsilon);
    REQUIRE(config->gelu == GELU_TANH || config->gelu == GELU_ERF, "gelu %d", config->gelu);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct model_config config;
    char tokenizer[256];
    struct error error = {0};
    memset(tokenizer, 'x', sizeof tokenizer);
    if (config_read(&config, tokenizer, (struct bytes){data, size}, &error) < 0) {
        check_refusal(&error, data, size);
        return 0;
    }
    check_config(&config);
    REQUIRE(memchr(tokenizer, 0, sizeof tokenizer), "the tokenizer's name has no end");
    return 0;
}

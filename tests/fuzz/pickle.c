/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: the pickle of a checkpoint. Every tensor that it describes must be complete, and its
 * texts must lie inside of the input.
 */
#include "daemon/model/container.h"
#include "tests/fuzz/refusal.h"

static void check_tensor(const struct pickle_tensor *tensor, const uint8_t *data, size_t size) {
    REQUIRE(is_inside(tensor->name.data, tensor->name.size, data, size), "the name");
    REQUIRE(is_inside(tensor->key.data, tensor->key.size, data, size), "the key");
    REQUIRE(tensor->storage && tensor->storage->name && tensor->storage->item_size, "the storage");
    REQUIRE(tensor->rank >= 0 && tensor->rank <= TENSOR_RANK_MAX, "rank %d", tensor->rank);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pickle_tensor *tensors;
    size_t count;
    struct error error = {0};
    if (pickle_read(&tensors, &count, (struct bytes){data, size}, &error) < 0) {
        check_refusal(&error, data, size);
        REQUIRE(!tensors, "a refused pickle leaves tensors");
        return 0;
    }
    REQUIRE(count <= size, "%zu tensors in %zu bytes", count, size);
    for (size_t i = 0; i < count; i++)
        check_tensor(&tensors[i], data, size);
    free(tensors);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: the zip of a checkpoint, and the tensors that its pickle lays over the members. All
 * members must lie inside of the input, share no bytes, and be found by name; every corner of every
 * tensor may be read.
 */
#include "daemon/model/container.h"
#include "tests/fuzz/refusal.h"

static void check_member(const struct zip *zip, const struct zip_member *member,
                         const uint8_t *data, size_t size) {
    REQUIRE(is_inside(member->name.data, member->name.size, data, size), "the name");
    REQUIRE(is_inside(member->content.data, member->content.size, data, size), "the content");
    REQUIRE(zip_find(zip, (const char *)member->name.data, member->name.size) == member,
            "found is another");
}

static bool members_overlap(struct bytes a, struct bytes b) {
    return a.size > 0 && b.size > 0 && a.data < b.data + b.size && b.data < a.data + a.size;
}

static void check_zip(struct bytes file) {
    struct zip zip;
    struct error error = {0};
    if (zip_open(&zip, file, &error) < 0) {
        check_refusal(&error, file.data, file.size);
        return;
    }
    REQUIRE(zip.count <= file.size, "%zu members in %zu bytes", zip.count, file.size);
    for (size_t i = 0; i < zip.count; i++)
        check_member(&zip, &zip.members[i], file.data, file.size);
    for (size_t i = 0; i < zip.count && zip.count < 100; i++)
        for (size_t j = 0; j < i; j++)
            REQUIRE(!members_overlap(zip.members[i].content, zip.members[j].content),
                    "members %zu and %zu share bytes", i, j);
    zip_close(&zip);
}

/* Reads one corner of a tensor: the last index in each dimension of the mask, the first in the
 * others. */
static void touch(const struct checkpoint_tensor *tensor, unsigned mask) {
    static volatile uint8_t sum;
    const struct pickle_tensor *description = &tensor->description;
    const unsigned item_size = description->storage->item_size;
    int64_t at = 0;
    for (int i = 0; i < description->rank; i++)
        if (mask >> i & 1)
            at += (description->shape[i] - 1) * description->stride[i];
    for (unsigned i = 0; i < item_size; i++)
        sum = sum ^ tensor->data[at * item_size + i];
}

static void check_tensor(const struct checkpoint_tensor *tensor, struct bytes file) {
    const struct pickle_tensor *description = &tensor->description;
    int64_t elements = 1;
    for (int i = 0; i < description->rank; i++)
        elements *= description->shape[i];
    REQUIRE(elements == tensor->elements, "%lld elements", (long long)tensor->elements);
    REQUIRE(tensor->data >= file.data && tensor->data <= file.data + file.size, "outside");
    for (unsigned mask = 0; elements > 0 && mask < 1u << description->rank; mask++)
        touch(tensor, mask);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct bytes file = {data, size};
    struct checkpoint checkpoint;
    struct error error = {0};
    check_zip(file);
    if (checkpoint_open(&checkpoint, file, &error) < 0) {
        check_refusal(&error, data, size);
        return 0;
    }
    for (size_t i = 0; i < checkpoint.count; i++)
        check_tensor(&checkpoint.tensors[i], file);
    checkpoint_close(&checkpoint);
    return 0;
}

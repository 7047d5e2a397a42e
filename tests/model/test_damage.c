/* SPDX-License-Identifier: Apache-2.0
 *
 * Good model files, damaged at every place that has structure and at a sample of the others: cut
 * short, and with single bytes changed. Every layer must refuse, or load something that stays
 * within bounds; sanitizers see whether it does. Parts are copied to memory of their exact size.
 *
 *     test_damage FILE.nemo FILE.ckpt tokenizer.model
 */
#include "daemon/model/loader.h"
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

static struct bytes read_file(const char *path) {
    struct bytes bytes = {0};
    FILE *file = fopen(path, "rb");
    struct stat status;
    if (!file || fstat(fileno(file), &status) < 0) {
        perror(path);
        exit(1);
    }
    unsigned char *data = malloc((size_t)status.st_size + 1);
    bytes.size = data ? fread(data, 1, (size_t)status.st_size, file) : 0;
    bytes.data = data;
    fclose(file);
    return bytes;
}

/* A layer under test: 0 when it took the bytes. */
typedef int layer_function(struct bytes bytes, struct error *error);

/* The last element of a tensor, as far as it has any. */
static unsigned touch(const struct checkpoint_tensor *tensor) {
    const struct pickle_tensor *description = &tensor->description;
    int64_t last = 0;
    for (int i = 0; i < description->rank; i++)
        last += (description->shape[i] - 1) * description->stride[i];
    const unsigned size = description->storage->item_size;
    return tensor->elements ? tensor->data[0] + tensor->data[last * size + size - 1] : 0u;
}

static unsigned touched; /* so that no compiler leaves the reads out */

static int try_checkpoint(struct bytes bytes, struct error *error) {
    struct checkpoint checkpoint;
    if (checkpoint_open(&checkpoint, bytes, error) < 0)
        return -1;
    for (size_t i = 0; i < checkpoint.count; i++)
        touched += touch(&checkpoint.tensors[i]);
    checkpoint_close(&checkpoint);
    return 0;
}

static int try_pickle(struct bytes bytes, struct error *error) {
    struct pickle_tensor *tensors;
    size_t count;
    int result = pickle_read(&tensors, &count, bytes, error);
    free(tensors);
    return result;
}

static int try_config(struct bytes bytes, struct error *error) {
    struct model_config config;
    char tokenizer[256];
    return config_read(&config, tokenizer, bytes, error);
}

static int try_tokenizer(struct bytes bytes, struct error *error) {
    struct pieces pieces;
    struct tokenizer tokenizer;
    if (pieces_read(&pieces, bytes, error) < 0)
        return -1;
    int result = tokenizer_init(&tokenizer, &pieces, error);
    pieces_finish(&pieces);
    return result;
}

/* Whether the layer took the bytes; a refusal must be one line of the right status. */
static bool takes(layer_function *layer, struct bytes bytes, size_t place) {
    struct error error = {0};
    if (layer(bytes, &error) == 0)
        return true;
    CHECK(error.status == EX_CONFIG && error.text[0] && !strchr(error.text, '\n'),
          "at %zu: status %d: %s", place, error.status, error.text);
    return false;
}

static void cut(layer_function *layer, struct bytes good, size_t at, unsigned *taken) {
    unsigned char *copy = malloc(at ? at : 1);
    memcpy(copy, good.data, at);
    *taken += takes(layer, (struct bytes){copy, at}, at);
    free(copy);
}

static void change(layer_function *layer, struct bytes copy, size_t at, unsigned *taken) {
    static const unsigned char changes[] = {0x01, 0x80, 0xff, 0x10};
    unsigned char *byte = (unsigned char *)copy.data + at, good = *byte;
    for (size_t i = 0; i < sizeof changes; i++) {
        *byte = good ^ changes[i];
        *taken += takes(layer, copy, at);
    }
    *byte = good;
}

/* Everything within `head` of the beginning and `tail` of the end, the rest at every step-th. */
static bool is_chosen(size_t at, size_t size, size_t head, size_t tail, size_t step) {
    return at < head || at + tail >= size || at % step == 0;
}

static void damage(const char *name, layer_function *layer, struct bytes good, size_t head,
                   size_t tail) {
    char title[128];
    unsigned taken = 0;
    snprintf(title, sizeof title, "%s, cut short", name);
    test_case(title);
    CHECK(takes(layer, good, good.size), "the whole one is refused");
    for (size_t at = 0; at < good.size; at++)
        if (is_chosen(at, good.size, head, tail, 1009))
            cut(layer, good, at, &taken);
    printf("# taken: %u\n", taken);
    CHECK(taken < good.size / 4, "%u cut ones were taken", taken);

    unsigned char *data = malloc(good.size);
    struct bytes copy = {memcpy(data, good.data, good.size), good.size};
    snprintf(title, sizeof title, "%s, bytes changed", name);
    test_case(title);
    for (size_t at = 0; at < good.size; at++)
        if (is_chosen(at, good.size, head, tail, 1009))
            change(layer, copy, at, &taken);
    printf("# taken: %u\n", taken);
    free(data);
}

static struct bytes find_pickle(struct bytes checkpoint) {
    struct zip zip;
    struct error error;
    struct bytes found = {0};
    if (zip_open(&zip, checkpoint, &error) < 0)
        return found;
    for (size_t i = 0; i < zip.count; i++)
        if (memmem(zip.members[i].name.data, zip.members[i].name.size, "/data.pkl", 9))
            found = zip.members[i].content;
    zip_close(&zip);
    return found;
}

static void check_file(const char *path, size_t size, size_t *smallest_whole) {
    struct model *model;
    struct error error = {0};
    if (model_open(&model, path, &error) == 0) {
        CHECK(*smallest_whole == size + 1, "loads at %zu, not at %zu", size, *smallest_whole);
        *smallest_whole = size;
    } else {
        CHECK(error.status == EX_CONFIG && strncmp(error.text, path, strlen(path)) == 0 &&
                  error.text[strlen(path)] == ':' && !strchr(error.text, '\n') && !model,
              "at %zu: %d: %s", size, error.status, error.text);
    }
    model_destroy(model);
}

/* The file is cut from its end on, at every byte of the tar's last blocks, of the first members and
 * around every block. Only the padding behind the two blocks that end a tar may be missing. */
static void cut_file(struct bytes good) {
    const char *folder = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/esm1nv-damage-XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, good.data, good.size) != (ssize_t)good.size) {
        perror(path);
        exit(1);
    }
    test_case("a .nemo, cut short");
    size_t smallest_whole = good.size + 1, last = good.size;
    while (last > 0 && !good.data[last - 1])
        last--;
    for (size_t size = good.size;; size--) {
        bool chosen = size + 1 >= smallest_whole || is_chosen(size, good.size, 1024, 12288, 8191) ||
                      (size + 1) % 512 <= 2;
        if (chosen && ftruncate(fd, (off_t)size) == 0)
            check_file(path, size, &smallest_whole);
        if (size == 0)
            break;
    }
    CHECK(smallest_whole % 512 == 0 && smallest_whole >= last + 1024 &&
              smallest_whole < last + 1024 + 1024,
          "loads from %zu bytes on, its data end at %zu", smallest_whole, last);
    close(fd);
    unlink(path);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: test_damage FILE.nemo FILE.ckpt tokenizer.model\n");
        return 1;
    }
    struct bytes file = read_file(argv[1]), checkpoint = read_file(argv[2]);
    struct bytes tokenizer = read_file(argv[3]);
    struct nemo nemo;
    struct bytes config = {0};
    struct error error;
    if (nemo_open(&nemo, argv[1], &error) == 0 &&
        nemo_find(&nemo, "model_config.yaml", &config, &error) == 0)
        damage("a configuration", try_config, config, config.size, 0);
    CHECK(config.size > 0, "%s", error.text);
    nemo_close(&nemo);
    struct bytes pickle = find_pickle(checkpoint);
    damage("a pickle", try_pickle, pickle, pickle.size, 0);
    damage("a checkpoint", try_checkpoint, checkpoint, 1024, 3072);
    damage("a tokenizer", try_tokenizer, tokenizer, tokenizer.size, 0);
    cut_file(file);
    printf("# touched: %u\n", touched);
    free((void *)file.data);
    free((void *)checkpoint.data);
    free((void *)tokenizer.data);
    return test_done();
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a fuzz target over the files of a directory, in place of libFuzzer: in every build, corpora
 * are tests. Then it runs each input again as often as it allocates, and lets one allocation after
 * the other fail.
 *
 *     replay CORPUS           prints TAP
 */
#include "tests/check.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/refuse.h"

#include <err.h>

/* Returns the content of a file, in memory that ends with it. */
static uint8_t *read_content(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) < 0)
        err(1, "%s", path);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(*size ? *size : 1);
    if (!data || fread(data, 1, *size, file) != *size)
        err(1, "%s", path);
    fclose(file);
    return data;
}

/* Runs the target once with the n-th allocation failing; 0: none fails. Returns how many were
 * made. */
static unsigned run_once(const uint8_t *data, size_t size, unsigned n) {
    refuse_call(n);
    refuse_kinds = REFUSE_MEMORY;
    LLVMFuzzerTestOneInput(data, size);
    refuse_kinds = 0;
    return atomic_load(&refuse_calls);
}

static int is_input(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv) {
    struct dirent **entries;
    int count = argc == 2 ? scandir(argv[1], &entries, is_input, alphasort) : -1;
    if (count < 0)
        err(1, "usage: replay CORPUS");
    unsigned failed = 0;
    test_case("every input of the corpus, and every allocation failing once");
    for (int i = 0; i < count; i++) {
        char path[4096];
        size_t size;
        snprintf(path, sizeof path, "%s/%s", argv[1], entries[i]->d_name);
        free(entries[i]);
        uint8_t *data = read_content(path, &size);
        fprintf(stderr, "%s\n", path); /* the last one is to blame when the program ends here */
        run_once(data, size, 0);
        for (unsigned n = 1; run_once(data, size, n) >= n; n++)
            failed++;
        free(data);
    }
    free(entries);
    CHECK(count >= 5, "only %d inputs in %s", count, argv[1]);
    printf("# %d inputs, %u failed allocations\n", count, failed);
    return test_done();
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a fuzz target over the files of a directory, in place of libFuzzer: in every build, corpora
 * are tests. Then it runs each input again as often as it allocates, and lets one allocation after
 * the other fail. Linked with --wrap, it sees those of our code, not those inside of libraries.
 *
 *     replay CORPUS           prints TAP
 */
#include "tests/check.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

/* The number of allocations made so far, and of the one that fails; 0: none fails. */
static size_t allocations, failing;

static bool allocation_fails(void) {
    return ++allocations == failing;
}

/* These are the linker's names for the allocator, and for what takes its place. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t size) {
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return allocation_fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text) {
    return allocation_fails() ? NULL : __real_strdup(text);
}

struct content {
    uint8_t *data;
    size_t size;
};

static struct content read_content(const char *path) {
    struct content content = {0};
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) < 0) {
        perror(path);
        exit(1);
    }
    content.size = (size_t)ftell(file);
    rewind(file);
    content.data = malloc(content.size ? content.size : 1);
    if (!content.data || fread(content.data, 1, content.size, file) != content.size) {
        perror(path);
        exit(1);
    }
    fclose(file);
    return content;
}

/* Runs the target once with the n-th allocation failing; 0: none fails. Returns how many were
 * made. */
static size_t run_once(struct content content, size_t n) {
    allocations = 0;
    failing = n;
    LLVMFuzzerTestOneInput(content.data, content.size);
    failing = 0;
    return allocations;
}

/* Returns how many allocations were failed. */
static size_t fail_each_allocation(struct content content) {
    size_t n = 1;
    while (run_once(content, n) >= n)
        n++;
    return n - 1;
}

static int compare_entries(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_input(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv) {
    struct dirent **entries;
    int count = argc == 2 ? scandir(argv[1], &entries, is_input, compare_entries) : -1;
    if (count < 0) {
        fprintf(stderr, "usage: replay CORPUS: %s\n", strerror(errno));
        return 1;
    }
    size_t failed = 0;
    test_case("every input of the corpus, and every allocation failing once");
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[1], entries[i]->d_name);
        free(entries[i]);
        struct content content = read_content(path);
        fprintf(stderr, "%s\n", path); /* the last one is to blame when the program ends here */
        run_once(content, 0);
        failed += fail_each_allocation(content);
        free(content.data);
    }
    free(entries);
    CHECK(count >= 5, "only %d inputs in %s", count, argv[1]);
    printf("# %d inputs, %zu failed allocations\n", count, failed);
    return test_done();
}

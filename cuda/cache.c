/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps the measured choice of algorithms in a file for each card, version of the library and shape
 * of model. The next start then measures nothing, and its results have the same bytes as before. A
 * file that is damaged, has another key, or names an algorithm that no longer works, is ignored.
 * That a file cannot be written is not reported, because it only makes the next start take a second
 * longer.
 */
#include "cuda/call.h"
#include "cuda/gemm.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct cache_file {
    char key[240]; /* text, padded with zeros */
    struct choices choices;
    uint64_t sum; /* of everything before it */
};

static uint64_t fnv(const void *data, size_t bytes) {
    const unsigned char *at = data;
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes; i++)
        sum = (sum ^ at[i]) * UINT64_C(0x100000001b3);
    return sum;
}

/* Makes the key, and the path of its file. In CACHE_DIRECTORY, systemd names the folder of the
 * service, or several. Returns false when the path is too long. */
static bool path_make(char path[PATH_MAX], char key[240], const struct gemm *gemm,
                      const char *card) {
    const struct sizes *sizes = gemm->sizes;
    const char *given = getenv("CACHE_DIRECTORY"), *cache = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    char folder[PATH_MAX] = "/var/cache/esm1nv";
    if (given && *given)
        snprintf(folder, sizeof folder, "%.*s", (int)strcspn(given, ":"), given);
    else if (cache && *cache == '/')
        snprintf(folder, sizeof folder, "%s/esm1nv", cache);
    else if (home && *home == '/')
        snprintf(folder, sizeof folder, "%s/.cache/esm1nv", home);
    memset(key, 0, 240);
    snprintf(key, 240, "esm1nv-cuda algorithms 1, %s, sm %u, cublasLt %zu, %s, H %u, ffn %u, %s",
             card, sizes->sm, cublasLtGetVersion(), sizes->type == GPU_BF16 ? "bf16" : "f16",
             sizes->model.hidden, sizes->model.ffn,
             sizes->model.gelu == GELU_TANH ? "tanh" : "erf");
    return snprintf(path, PATH_MAX, "%s/cuda-%016llx", folder,
                    (unsigned long long)fnv(key, strlen(key))) < PATH_MAX;
}

/* Makes the folder of a file and the one above it, where they are missing and can be made. */
static void folders_create(const char *path) {
    char folder[PATH_MAX], above[PATH_MAX];
    stpcpy(folder, path);
    stpcpy(above, path);
    mkdir(dirname(dirname(above)), 0700);
    mkdir(dirname(folder), 0700);
}

void choices_load(struct choices *choices, const struct gemm *gemm, const char *card) {
    char path[PATH_MAX], key[240];
    struct cache_file file;
    FILE *stream = path_make(path, key, gemm, card) ? fopen(path, "re") : NULL;
    if (!stream)
        return;
    bool whole = fread(&file, sizeof file, 1, stream) == 1 && fgetc(stream) == EOF;
    fclose(stream);
    if (!whole || memcmp(file.key, key, sizeof key) != 0 ||
        file.sum != fnv(&file, offsetof(struct cache_file, sum)))
        return;
    for (int i = 0; i < PRODUCTS; i++)
        if (!gemm_choice_works(gemm, (enum product)i, &file.choices.products[i]))
            return;
    *choices = file.choices;
}

static bool file_write(int fd, const struct cache_file *file) {
    bool written = write(fd, file, sizeof *file) == (ssize_t)sizeof *file;
    return close(fd) == 0 && written;
}

void choices_save(const struct choices *choices, const struct gemm *gemm, const char *card) {
    char path[PATH_MAX], temporary[PATH_MAX];
    struct cache_file file = {.choices = *choices};
    if (!path_make(path, file.key, gemm, card) ||
        snprintf(temporary, PATH_MAX, "%s.XXXXXX", path) >= PATH_MAX)
        return;
    file.sum = fnv(&file, offsetof(struct cache_file, sum));
    folders_create(path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd >= 0 && (!file_write(fd, &file) || rename(temporary, path) < 0))
        unlink(temporary);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps the measured choice of algorithms in a file, one for each card, version of the library and
 * shape of model: a start then measures nothing, and gives the same bytes as the one before. What
 * is damaged, or of another key, or no longer possible, is as if it were not there; a cache that
 * cannot be written costs the next start a second and is nothing to complain about.
 */
#include "cuda/call.h"
#include "cuda/gemm.h"

#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct cache_file {
    char key[240]; /* text, zeros behind */
    struct choices choices;
    uint64_t sum; /* of all before */
};

static uint64_t fnv(const void *data, size_t bytes) {
    const unsigned char *at = data;
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes; i++)
        sum = (sum ^ at[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static void key_make(char key[240], const struct gemm *gemm, const char *card) {
    const struct sizes *sizes = gemm->sizes;
    memset(key, 0, 240);
    snprintf(key, 240, "esm1nv-cuda algorithms 1, %s, sm %u, cublasLt %zu, %s, H %u, ffn %u, %s",
             card, sizes->sm, cublasLtGetVersion(), sizes->type == GPU_BF16 ? "bf16" : "f16",
             sizes->model.hidden, sizes->model.ffn,
             sizes->model.gelu == GELU_TANH ? "tanh" : "erf");
}

/* systemd names the service's own; it may name several. */
static void folder_make(char folder[PATH_MAX]) {
    const char *given = getenv("CACHE_DIRECTORY"), *cache = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    if (given && *given)
        snprintf(folder, PATH_MAX, "%.*s", (int)strcspn(given, ":"), given);
    else if (cache && *cache == '/')
        snprintf(folder, PATH_MAX, "%s/esm1nv", cache);
    else if (home && *home == '/')
        snprintf(folder, PATH_MAX, "%s/.cache/esm1nv", home);
    else
        snprintf(folder, PATH_MAX, "/var/cache/esm1nv");
}

/* Makes the folder and the one above it, where they are missing and can be made. */
static void folder_create(const char *folder) {
    char above[PATH_MAX];
    snprintf(above, sizeof above, "%s", folder);
    char *slash = strrchr(above, '/');
    if (slash && slash != above) {
        *slash = '\0';
        mkdir(above, 0700);
    }
    mkdir(folder, 0700);
}

static bool path_make(char path[PATH_MAX], const char *folder, const char *key) {
    return snprintf(path, PATH_MAX, "%s/cuda-%016llx", folder,
                    (unsigned long long)fnv(key, strlen(key))) < PATH_MAX;
}

void choices_load(struct choices *choices, const struct gemm *gemm, const char *card) {
    char folder[PATH_MAX], path[PATH_MAX], key[240];
    struct cache_file file;
    folder_make(folder);
    key_make(key, gemm, card);
    FILE *stream = path_make(path, folder, key) ? fopen(path, "re") : NULL;
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
    char folder[PATH_MAX], path[PATH_MAX], temporary[PATH_MAX];
    struct cache_file file = {.choices = *choices};
    folder_make(folder);
    key_make(file.key, gemm, card);
    file.sum = fnv(&file, offsetof(struct cache_file, sum));
    if (!path_make(path, folder, file.key) ||
        snprintf(temporary, PATH_MAX, "%s.XXXXXX", path) >= PATH_MAX)
        return;
    folder_create(folder);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd >= 0 && (!file_write(fd, &file) || rename(temporary, path) < 0))
        unlink(temporary);
}

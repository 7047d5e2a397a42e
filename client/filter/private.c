/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a private daemon listens: in $XDG_RUNTIME_DIR/esm1nv, or, without that variable, in
 * /run/user/UID/esm1nv or /tmp/esm1nv-UID. The socket's name is a hash of what identifies the model
 * file (device, inode, size and time of the last change), so that two files never share a daemon
 * and a file that was replaced gets a new one.
 */
#include "client/filter/autostart.h"

#include "client/filter/report.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* FNV-1a, 64 bits. It makes names and need not withstand an attacker. */
static uint64_t hash_text(const char *text) {
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001B3);
    return hash;
}

static bool is_synthetic(const char *model) {
    return strncmp(model, "synthetic", 9) == 0 && (model[9] == '\0' || model[9] == ':');
}

/* Makes the name of the model absolute, and hashes what identifies its file. */
static int identify_model(struct private_daemon *daemon, const char *model, uint64_t *identity) {
    char text[128];
    struct stat status;
    if (is_synthetic(model)) {
        if (snprintf(daemon->model, sizeof daemon->model, "%s", model) >= (int)sizeof text) {
            report("--model %.40s...: no such seed", model);
            return -EX_CONFIG;
        }
        *identity = hash_text(model);
        return 0;
    }
    if (!realpath(model, daemon->model) || stat(daemon->model, &status) < 0) {
        report("model %s: %s; name a .nemo file with --model or $ESM1NV_MODEL, or --model "
               "synthetic to try the software",
               model, strerror(errno));
        return -EX_CONFIG;
    }
    snprintf(text, sizeof text, "%llx %llx %llx %llx %lx", (unsigned long long)status.st_dev,
             (unsigned long long)status.st_ino, (unsigned long long)status.st_size,
             (unsigned long long)status.st_mtim.tv_sec, (unsigned long)status.st_mtim.tv_nsec);
    *identity = hash_text(text);
    return 0;
}

/* Whether it is a directory of the user's that nobody else can write to. */
static bool is_own(const struct stat *status) {
    return S_ISDIR(status->st_mode) && status->st_uid == geteuid() && !(status->st_mode & 022);
}

static bool is_own_directory(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && is_own(&status);
}

/* A runtime directory of another user, which su or sudo left in the environment, is not used. */
static void choose_directory(char directory[PATH_MAX]) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char usual[64];
    snprintf(usual, sizeof usual, "/run/user/%u", (unsigned)geteuid());
    if (!runtime || runtime[0] != '/' || !is_own_directory(runtime))
        runtime = is_own_directory(usual) ? usual : NULL;
    if (runtime)
        snprintf(directory, PATH_MAX, "%s/esm1nv", runtime);
    else
        snprintf(directory, PATH_MAX, "/tmp/esm1nv-%u", (unsigned)geteuid());
}

/* In /tmp, another user may have made the directory first. */
static int check_directory(const char *directory) {
    struct stat status;
    if (lstat(directory, &status) < 0) {
        if (errno == ENOENT)
            return 0;
        report("directory %s: %s", directory, strerror(errno));
        return -EX_UNAVAILABLE;
    }
    if (is_own(&status))
        return 0;
    report("%s is not a directory that only you can write to: remove it, or name a socket with "
           "--socket",
           directory);
    return -EX_UNAVAILABLE;
}

int private_make_directory(const struct private_daemon *daemon) {
    if (mkdir(daemon->directory, 0700) < 0 && errno != EEXIST) {
        report("cannot make the directory %s for a private esm1nvd: %s; set XDG_RUNTIME_DIR, or "
               "name a socket with --socket",
               daemon->directory, strerror(errno));
        return -EX_UNAVAILABLE;
    }
    return check_directory(daemon->directory);
}

int private_locate(struct private_daemon *daemon, const char *model) {
    uint64_t identity;
    int result = identify_model(daemon, model, &identity);
    if (result < 0)
        return result;
    choose_directory(daemon->directory);
    result = check_directory(daemon->directory);
    if (result < 0)
        return result;
    char stem[PATH_MAX];
    int size = snprintf(stem, sizeof stem, "%s/model-%016llx", daemon->directory,
                        (unsigned long long)identity);
    if (size >= (int)(PRIVATE_PATH_MAX - sizeof ".lock")) {
        report("directory %s: its name is too long for a socket; set XDG_RUNTIME_DIR to a shorter "
               "one",
               daemon->directory);
        return -EX_UNAVAILABLE;
    }
    snprintf(daemon->socket, sizeof daemon->socket, "%.*s", size, stem);
    snprintf(daemon->log, sizeof daemon->log, "%s.log", daemon->socket);
    return 0;
}

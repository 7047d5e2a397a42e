/* SPDX-License-Identifier: Apache-2.0
 *
 * The search starts from /proc/self/exe, the program's own file, which the kernel knows under
 * whatever name the program was started.
 */
#include "ipc/base/beside.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool beside_find(char path[PATH_MAX], const char *room, const char *name) {
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (size <= 0)
        return false;
    path[size] = '\0';
    char *end = strrchr(path, '/');
    size_t tail = strlen(room);
    if (!end || (size_t)(end - path) < tail || strncmp(end - tail, room, tail) != 0)
        return false;
    end -= tail;
    size_t left = PATH_MAX - (size_t)(end - path);
    return (size_t)snprintf(end, left, "/%s", name) < left && access(path, F_OK) == 0;
}

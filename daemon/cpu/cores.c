/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts the cores that this process may use: those of its affinity mask, but no more than the CPU
 * quota of its cgroup, and of every cgroup above it, allows. It reads the files of cgroup v2
 * (cpu.max) and v1 (cpu.cfs_*).
 */
#include "daemon/cpu/cpu_features.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#define CPUS_MAX 8192

static unsigned affinity_cores(void) {
    size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
    cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
    int count = set && sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : get_nprocs();
    if (set)
        CPU_FREE(set);
    return count > 0 ? (unsigned)count : 1;
}

/* Reads the first line of directory/name. Returns false when there is none. */
static bool line_read(char *line, int size, const char *directory, const char *name) {
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "re");
    bool read = file && fgets(line, size, file);
    if (file)
        fclose(file);
    return read;
}

/* The cores that a cgroup's directory allows, rounded up, or 0 when it sets no limit. */
static unsigned directory_quota(const char *directory) {
    char line[128], period_line[128];
    long long quota, period;
    if (line_read(line, sizeof line, directory, "cpu.max")) {
        if (sscanf(line, "%lld %lld", &quota, &period) != 2)
            return 0; /* "max" */
    } else if (line_read(line, sizeof line, directory, "cpu.cfs_quota_us") &&
               line_read(period_line, sizeof period_line, directory, "cpu.cfs_period_us")) {
        quota = atoll(line);
        period = atoll(period_line);
    } else {
        return 0;
    }
    if (quota <= 0 || period <= 0)
        return 0;
    return (unsigned)((quota + period - 1) / period);
}

/* The least quota of the directories from root/path up to root, or 0. */
static unsigned path_quota(const char *root, const char *path) {
    char directory[4096];
    unsigned least = 0;
    size_t base = strlen(root);
    snprintf(directory, sizeof directory, "%s%s", root, path);
    for (;;) {
        unsigned quota = directory_quota(directory);
        if (quota && (!least || quota < least))
            least = quota;
        char *slash = strrchr(directory, '/');
        if (!slash || strlen(directory) <= base)
            return least;
        *slash = '\0';
    }
}

/* A line of /proc/self/cgroup is "0::PATH" (v2) or "N:CONTROLLER,...:PATH" (v1). */
static unsigned line_quota(char *line) {
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return 0;
    *path++ = '\0';
    if (controllers[1] == '\0')
        return path_quota("/sys/fs/cgroup", path);
    char *rest = NULL;
    for (char *name = strtok_r(controllers + 1, ",", &rest); name;
         name = strtok_r(NULL, ",", &rest))
        if (strcmp(name, "cpu") == 0)
            return path_quota("/sys/fs/cgroup/cpu", path);
    return 0;
}

unsigned usable_cores(void) {
    unsigned cores = affinity_cores();
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[4096];
    while (file && fgets(line, sizeof line, file)) {
        unsigned quota = line_quota(line);
        if (quota && quota < cores)
            cores = quota;
    }
    if (file)
        fclose(file);
    return cores;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * usage: planted NAME whole|broken
 *
 * Runs one of the small programs. Exit status 0: the result is right; 1: it is not; 2: a call
 * failed, or there is no such program; else what the emulation or a sanitizer ends a program with.
 */
#include "planted.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

void must(cudaError_t code) {
    if (code == cudaSuccess)
        return;
    fprintf(stderr, "planted: %s\n", cudaGetErrorName(code));
    exit(2);
}

int main(int count, char **arguments) {
    std::vector<planted> all = planted_kernels;
    all.insert(all.end(), planted_tensors.begin(), planted_tensors.end());
    all.insert(all.end(), planted_hosts.begin(), planted_hosts.end());
    if (count != 3)
        return 2;
    for (const planted &planted : all)
        if (strcmp(planted.name, arguments[1]) == 0) {
            if (planted.run(strcmp(arguments[2], "broken") == 0))
                return 0;
            fprintf(stderr, "planted: wrong result\n");
            return 1;
        }
    fprintf(stderr, "planted: no program of that name\n");
    return 2;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a program to which the kernel refuses some system calls, as containers do: deny
 * SYSCALL=ERROR... PROGRAM [ARGUMENT]... with numbers for both.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RULES_MAX 8

int main(int argc, char **argv) {
    struct sock_filter filter[2 * RULES_MAX + 2] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    struct sock_fprog program = {.len = 1, .filter = filter};
    int next = 1;

    for (; next < argc && next <= RULES_MAX && strchr(argv[next], '='); next++) {
        unsigned number = (unsigned)strtoul(argv[next], NULL, 10);
        unsigned error = (unsigned)strtoul(strchr(argv[next], '=') + 1, NULL, 10);

        filter[program.len++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
        filter[program.len++] =
            (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
    }
    filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    if (next >= argc || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) {
        perror("deny");
        return 71;
    }
    execv(argv[next], argv + next);
    perror(argv[next]);
    return 71;
}

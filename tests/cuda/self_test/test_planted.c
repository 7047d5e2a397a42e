/* SPDX-License-Identifier: Apache-2.0
 *
 * usage: test_planted PLANTED
 *
 * Whether the emulation notices what it is there to notice: each small program of planted.h passes
 * as it is, in every order, and fails with its bug, in at least one order and in a way that this
 * kind of build is expected to find.
 */
#include "../../check.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum build { PLAIN, ADDRESS, THREAD };

#if defined(EMULATION_ASAN)
static const enum build build = ADDRESS;
#elif defined(EMULATION_TSAN)
static const enum build build = THREAD;
#else
static const enum build build = PLAIN;
#endif

#define WRONG "wrong result"
#define RACE "data race"
#define POISON "use-after-poison"
#define EVERYWHERE(text)                                                                           \
    { text, text, text }

/* What the broken program says, by build; NULL: such a build sees nothing. */
static const struct {
    const char *name, *says[3];
} programs[] = {
    {"barrier missing", {WRONG, WRONG, RACE}},
    {"barrier missing in a loop", {WRONG, WRONG, RACE}},
    {"barrier in divergent code", EVERYWHERE("divergent barrier")},
    {"__syncwarp missing", {NULL, NULL, RACE}},
    {"write past a shared array",
     {"past the end of shared memory", "out of bounds", "past the end"}},
    {"write past an allocation", {"outside an allocation", POISON, "outside an allocation"}},
    {"read past an allocation", {NULL, POISON, NULL}},
    {"blocks race", {WRONG, WRONG, RACE}},
    {"lanes returned before a shuffle", EVERYWHERE("12 have returned")},
    {"shuffle from unnamed lanes", EVERYWHERE(WRONG)},
    {"cp.async not waited for", EVERYWHERE(WRONG)},
    {"cp.async without a barrier", {NULL, NULL, RACE}},
    {"ldmatrix not aligned", EVERYWHERE("not aligned to 16")},
    {"ldmatrix outside", EVERYWHERE("not within shared memory")},
    {"ldmatrix of the wrong rows", EVERYWHERE(WRONG)},
    {"ldmatrix not transposed", EVERYWHERE(WRONG)},
    {"wmma mapping assumed", EVERYWHERE(WRONG)},
    {"__syncwarp missing before a wmma load", {NULL, NULL, RACE}},
    {"instruction that the device lacks", EVERYWHERE("needs sm_80")},
    {"host reads too early", EVERYWHERE(WRONG)},
    {"host buffer used again too early", EVERYWHERE(WRONG)},
    {"event not waited for", EVERYWHERE(WRONG)},
    {"event not waited for before reuse", EVERYWHERE(WRONG)},
    {"asynchronous copy of pageable memory", EVERYWHERE("pageable memory")},
    {"copy past an allocation", EVERYWHERE("1028 bytes to offset 0 of 1024")},
    {"host reads device memory", {NULL, POISON, NULL}},
    {"copy into freed memory", EVERYWHERE("or what was freed")},
    {"more shared memory than allowed", EVERYWHERE("49152 are allowed")},
    {"capture not joined", EVERYWHERE("cudaErrorStreamCaptureUnjoined")},
    {"wait within a capture", EVERYWHERE("is being captured")},
    {"epilogue without bias", EVERYWHERE(WRONG)},
    {"leading dimension too large", EVERYWHERE("of an allocation of")},
    {"algorithm by the batch's size", EVERYWHERE(WRONG)},
};

static const char *const orders[] = {"forward", "backward", "rotated"};

/* The child's part: stderr into the pipe, and no life after its parent's. */
static void become(const char *program, const char *name, const char *how, const char *order,
                   int output) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (setenv("EMULATION_ORDER", order, 1) < 0 || dup2(output, STDERR_FILENO) < 0)
        _exit(2);
    execl(program, program, name, how, (char *)NULL);
    _exit(2);
}

/* Runs one program to its end. Returns its exit status, 128 and more for a signal, and what it said
 * on stderr. */
static int run(const char *program, const char *name, const char *how, const char *order,
               char said[16384]) {
    int ends[2], status;
    size_t used = 0;
    ssize_t got;
    if (pipe(ends) < 0)
        return -1;
    pid_t child = fork();
    if (child == 0)
        become(program, name, how, order, ends[1]);
    close(ends[1]);
    char discarded[4096];
    do {
        bool room = used < 16383;
        got = read(ends[0], room ? said + used : discarded, room ? 16383 - used : sizeof discarded);
        used += room && got > 0 ? (size_t)got : 0;
    } while (got > 0);
    said[used] = '\0';
    close(ends[0]);
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int count, char **arguments) {
    static char said[16384];
    if (count != 2) {
        fprintf(stderr, "usage: test_planted PLANTED\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        const char *name = programs[i].name, *expected = programs[i].says[build];
        test_case(name);
        for (size_t order = 0; order < 3; order++) {
            int status = run(arguments[1], name, "whole", orders[order], said);
            CHECK(status == 0, "whole, %s: exit status %d: %s", orders[order], status, said);
        }
        bool caught = !expected;
        for (size_t order = 0; order < 3 && !caught; order++)
            caught = run(arguments[1], name, "broken", orders[order], said) != 0 &&
                     strstr(said, expected);
        CHECK(caught, "its bug goes unnoticed, \"%s\" was expected, not: %s", expected, said);
    }
    return test_done();
}

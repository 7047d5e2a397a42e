/* SPDX-License-Identifier: Apache-2.0
 *
 * The programs that benchmarks measure, and what these read, are found through variables that the
 * build sets. Files go to a folder that is removed at the end.
 */
#include "tests/bench/bench.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 16
#define POSITIONS 512
#define WAIT_SECONDS 60

static char folder[64];
static pid_t folder_owner;

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static void folder_remove(void) {
    if (getpid() == folder_owner)
        nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *bench_folder(void) {
    if (!folder[0]) {
        strcpy(folder, "/tmp/esm1nv-bench-XXXXXX");
        if (!mkdtemp(folder))
            err(1, "%s", folder);
        folder_owner = getpid();
        atexit(folder_remove);
    }
    return folder;
}

static const char *from_environment(const char *name) {
    const char *value = getenv(name);
    if (!value)
        errx(1, "%s is not set: run it by ./dev bench", name);
    return value;
}

/* --- sequences --- */

static void sequence_add(struct bench_sequences *s, const char *residues, uint32_t length) {
    s->residues = realloc(s->residues, (s->count + 1) * sizeof *s->residues);
    s->lengths = realloc(s->lengths, (s->count + 1) * sizeof *s->lengths);
    if (!s->residues || !s->lengths)
        errx(1, "out of memory");
    s->residues[s->count] = strndup(residues, length);
    s->lengths[s->count++] = length;
    s->total += length;
}

void bench_proteins_read(struct bench_sequences *sequences, uint64_t enough) {
    const char *path = from_environment("ESM1NV_PROTEINS");
    char *line = NULL, residues[POSITIONS + 1] = {0};
    size_t capacity = 0, length = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        err(1, "%s", path);
    *sequences = (struct bench_sequences){0};
    for (;;) {
        ssize_t size = getline(&line, &capacity, file);
        if (size <= 0 || line[0] == '>') {
            if (length)
                sequence_add(sequences, residues, (uint32_t)length);
            length = 0;
        }
        if (size <= 0 || sequences->total >= enough)
            break;
        for (char *at = line; *at > ' ' && line[0] != '>' && length < POSITIONS; at++)
            residues[length++] = *at;
    }
    free(line);
    fclose(file);
}

const char *bench_fasta_write(const char *name, unsigned count, unsigned length) {
    static const char letters[] = "ACDEFGHIKLMNPQRSTVWY";
    char *path;
    uint32_t random = 1;
    if (asprintf(&path, "%s/%s", bench_folder(), name) < 0)
        errx(1, "out of memory");
    FILE *file = fopen(path, "we");
    if (!file)
        err(1, "%s", path);
    for (unsigned i = 0; i < count; i++) {
        fprintf(file, ">r%u\n", i);
        for (unsigned r = 0; r < length; r++) {
            random = random * 1664525 + 1013904223;
            putc(letters[(random >> 16) % 20], file);
        }
        putc('\n', file);
    }
    if (fclose(file) != 0)
        err(1, "%s", path);
    return path;
}

/* --- processes --- */

static void redirect(int from, int flags, int to) {
    int fd = from >= 0 ? from : open("/dev/null", flags);
    if (fd < 0 || dup2(fd, to) < 0)
        err(126, "/dev/null");
}

pid_t bench_spawn(int input, int output, const char *program, ...) {
    const char *arguments[ARGUMENTS_MAX] = {program};
    va_list more;
    va_start(more, program);
    for (int i = 0; i + 1 < ARGUMENTS_MAX && arguments[i]; i++)
        arguments[i + 1] = va_arg(more, const char *);
    va_end(more);
    pid_t pid = fork();
    if (pid < 0)
        err(1, "fork");
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    redirect(input, O_RDONLY, STDIN_FILENO);
    redirect(output, O_WRONLY, STDOUT_FILENO);
    execv(program, (char *const *)(uintptr_t)arguments);
    warn("%s", program);
    _exit(127);
}

void bench_await(pid_t pid, const char *name) {
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            err(1, "%s", name);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        errx(1, "%s: ended with wait status 0x%x", name, (unsigned)status);
}

pid_t bench_filter_start(const struct bench_daemon *daemon, const char *format, const char *pooling,
                         const char *input, int output) {
    return bench_spawn(-1, output, from_environment("ESM1NV_FILTER"), "-s", daemon->socket, "-f",
                       format, "-p", pooling, input, NULL);
}

/* --- the daemon --- */

struct wanted_fact {
    const char *name;
    uint64_t number;
    bool found;
};

static void take_fact(void *context, const char *name, const char *text, uint64_t number) {
    struct wanted_fact *fact = context;
    if (!text && strcmp(name, fact->name) == 0)
        *fact = (struct wanted_fact){name, number, true};
}

void bench_daemon_start(struct bench_daemon *daemon, const char *backend, const char *precision) {
    static unsigned number;
    struct wanted_fact fact = {.name = "pid"};
    char text[256];
    snprintf(daemon->socket, sizeof daemon->socket, "%s/socket%u", bench_folder(), number++);
    daemon->pid = bench_spawn(-1, -1, from_environment("ESM1NV_DAEMON"), "--socket", daemon->socket,
                              "--model", "synthetic:1", "--log-level", "error", "--backend",
                              backend, precision ? "--precision" : NULL, precision, NULL);
    for (int i = 0; esm1nv_status(daemon->socket, take_fact, &fact, text) < 0; i++) {
        if (i == 200 * WAIT_SECONDS || waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid)
            errx(1, "esm1nvd does not serve: %s", text);
        usleep(5000);
    }
    if (chmod(folder, 0711) < 0 || chmod(daemon->socket, 0666) < 0)
        err(1, "%s", daemon->socket);
}

void bench_daemon_stop(struct bench_daemon *daemon) {
    kill(daemon->pid, SIGTERM);
    bench_await(daemon->pid, "esm1nvd");
}

uint64_t bench_daemon_number(const struct bench_daemon *daemon, const char *name) {
    struct wanted_fact fact = {.name = name};
    char text[256];
    if (esm1nv_status(daemon->socket, take_fact, &fact, text) < 0)
        errx(1, "%s", text);
    if (!fact.found)
        errx(1, "the daemon does not tell its %s", name);
    return fact.number;
}

esm1nv_session *bench_connect(const struct bench_daemon *daemon, enum esm1nv_pooling pooling) {
    struct esm1nv_options options = ESM1NV_OPTIONS_INIT;
    esm1nv_session *session;
    options.socket = daemon->socket;
    options.pooling = pooling;
    options.program = "bench";
    if (esm1nv_connect(&session, &options) < 0)
        errx(1, "%s", session ? esm1nv_error_text(session) : "out of memory");
    return session;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Starts the private daemon. The filter makes the listening socket itself, under a lock, so that
 * filters that start together end up with one daemon, and hands it to esm1nvd the way systemd does.
 * From then on connections, the filter's own among them, wait in the socket's queue while the model
 * loads. The daemon runs in a process session of its own and holds no descriptors of the filter.
 */
#include "client/filter/autostart.h"

#include "client/filter/report.h"
#include "ipc/base/beside.h"
#include "ipc/socket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define LISTEN_FD 3 /* where sd_listen_fds(3) looks */

static bool is_program(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

static bool find_in_path(char program[PATH_MAX]) {
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t length = strcspn(path, ":");
        if (path[0] == '/' &&
            snprintf(program, PATH_MAX, "%.*s/esm1nvd", (int)length, path) < PATH_MAX &&
            is_program(program))
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

static int find_program(char program[PATH_MAX]) {
    const char *named = getenv("ESM1NVD");
    if (named && *named) {
        if (realpath(named, program) && is_program(program))
            return 0;
        report("$ESM1NVD is %s, which is not a program", named);
        return -EX_UNAVAILABLE;
    }
    if ((beside_find(program, "", "esm1nvd") && is_program(program)) ||
        (beside_find(program, "/client/filter", "daemon/esm1nvd") && is_program(program)) ||
        find_in_path(program))
        return 0;
    report("no daemon answers, and esm1nvd is neither beside esm1nv nor in $PATH; install it, or "
           "set $ESM1NVD to its path");
    return -EX_UNAVAILABLE;
}

static int cannot_start(const char *what, const char *path, int error) {
    report("cannot start a private esm1nvd: %s %s: %s", what, path, strerror(error));
    return -EX_UNAVAILABLE;
}

/* Runs in the child: it keeps the filter's environment, but no descriptors, terminal or signal
 * mask. None of the three descriptors given is a standard one. */
static void become_daemon(int listener, int log, int null) {
    static const char *const not_ours[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                           "LISTEN_FDNAMES"};
    setsid();
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    if (listener == LISTEN_FD)
        fcntl(listener, F_SETFD, 0);
    else
        dup2(listener, LISTEN_FD);
    closefrom(LISTEN_FD + 1); /* also where close_range() is refused */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (size_t i = 0; i < sizeof not_ours / sizeof *not_ours; i++)
        unsetenv(not_ours[i]);
    char pid[24];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
    if (chdir("/") < 0)
        return; /* then the daemon stays in this directory, which harms nobody */
}

static int spawn(struct private_daemon *daemon, const char *program, unsigned idle_exit,
                 int listener) {
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%u", idle_exit);
    int log =
        open(daemon->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log < 0)
        return cannot_start("log file", daemon->log, errno);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t child = null < 0 ? -1 : fork();
    if (child == 0) {
        become_daemon(listener, log, null);
        execl(program, "esm1nvd", "--model", daemon->model, "--idle-exit", seconds, (char *)NULL);
        dprintf(STDERR_FILENO, "cannot run %s: %s\n", program, strerror(errno));
        _exit(EX_UNAVAILABLE);
    }
    int result = child < 0 ? cannot_start("process", program, errno) : 0;
    if (child > 0)
        daemon->child = child;
    daemon->served = false;
    close(log);
    if (null >= 0)
        close(null);
    return result;
}

/* Returns 0 when something listens, else as autostart() does. */
static int spawn_listening(struct private_daemon *daemon, const char *program, unsigned idle_exit,
                           struct socket_file *file) {
    switch (socket_file_open(file, daemon->socket, 0600, 0)) {
    case 0:
        return spawn(daemon, program, idle_exit, file->fd);
    case SOCKET_FILE_SERVED:
        return 0;
    case SOCKET_FILE_LOCKED:
        return AUTOSTART_LATER;
    case SOCKET_FILE_NO_LOCK:
        report("cannot start a private esm1nvd: lock file %s.lock: %s", daemon->socket,
               strerror(file->error));
        return -EX_UNAVAILABLE;
    default:
        return cannot_start("socket", daemon->socket, file->error ? file->error : ENOTSOCK);
    }
}

int autostart(struct private_daemon *daemon, unsigned idle_exit) {
    char program[PATH_MAX];
    if (daemon->child) /* autostart_check() has not seen it end */
        return AUTOSTART_LATER;
    int result = find_program(program);
    if (result == 0)
        result = private_make_directory(daemon);
    if (result < 0)
        return result;
    struct socket_file file;
    result = spawn_listening(daemon, program, idle_exit, &file);
    if (file.fd >= 0)
        close(file.fd);
    if (file.lock >= 0)
        close(file.lock);
    return result;
}

/* Copies the last line of the daemon's log, without the program's name. */
static void read_reason(const struct private_daemon *daemon, char reason[1500]) {
    FILE *log = fopen(daemon->log, "re");
    char line[1500];
    strcpy(reason, "it did not say why");
    while (log && fgets(line, sizeof line, log)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0])
            strcpy(reason, line + (strncmp(line, "esm1nvd: ", 9) == 0 ? 9 : 0));
    }
    if (log)
        fclose(log);
}

int autostart_check(struct private_daemon *daemon) {
    char reason[1500];
    int status;
    if (!daemon->child || waitpid(daemon->child, &status, WNOHANG) != daemon->child)
        return 0;
    daemon->child = 0;
    bool asked_to = WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGTERM;
    if (daemon->served || asked_to)
        return 0;
    read_reason(daemon, reason);
    if (WIFSIGNALED(status))
        report("the private esm1nvd for %s was ended by signal %d; see its log %s", daemon->model,
               WTERMSIG(status), daemon->log);
    else
        report("the private esm1nvd could not start: %s (its log: %s)", reason, daemon->log);
    return WIFEXITED(status) && WEXITSTATUS(status) == EX_UNAVAILABLE ? -EX_UNAVAILABLE
                                                                      : -EX_CONFIG;
}

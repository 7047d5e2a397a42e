/* SPDX-License-Identifier: Apache-2.0
 *
 * Where sockets and files lie: who owns a socket's path, what becomes of what is there, and what is
 * found beside the program.
 */
#include "ipc/base/beside.h"
#include "ipc/channel.h"
#include "ipc/socket_file.h"
#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/esm1nv-XXXXXX";
static char path[64], lock[80];

static void socket_file_close(struct socket_file *file) {
    if (file->fd >= 0)
        close(file->fd);
    if (file->lock >= 0)
        close(file->lock);
}

/* Opens, compares what is found, closes. */
static void expect(int condition, bool replaced, int error) {
    struct socket_file file;
    int result = socket_file_open(&file, path, 0640, 50);
    CHECK(result == condition, "%d, not %d: %s", result, condition, strerror(file.error));
    CHECK(file.replaced == replaced && file.error == error, "replaced %d, error %d", file.replaced,
          file.error);
    CHECK((file.fd >= 0) == (condition == 0), "descriptor %d", file.fd);
    socket_file_close(&file);
}

TEST("a free path is bound with its mode, locked, and free again afterwards") {
    struct socket_file file, second;
    CHECK(socket_file_open(&file, path, 0640, 50) == 0, "%s", strerror(file.error));
    struct stat status;
    CHECK(stat(path, &status) == 0 && (status.st_mode & 07777) == 0640, "mode %o", status.st_mode);
    CHECK(fcntl(file.fd, F_GETFD) & fcntl(file.lock, F_GETFD) & FD_CLOEXEC, "it is inherited");
    CHECK(socket_file_open(&second, path, 0640, 50) == SOCKET_FILE_LOCKED, "it was not locked");
    socket_file_close(&second);
    int client = channel_connect(path);
    CHECK(client >= 0, "nobody answers: %s", strerror(-client));
    close(client);
    socket_file_close(&file);
    CHECK(access(lock, F_OK) == 0, "the lock file is gone");
}

TEST("what a process that is gone left behind is replaced") {
    expect(0, true, 0);
    expect(0, true, 0);
}

TEST("a socket that is served stays, and so does a file") {
    unlink(path);
    int other = channel_listen(path, 0600);
    expect(SOCKET_FILE_SERVED, false, 0);
    int client = channel_connect(path);
    CHECK(client >= 0, "it was removed: %s", strerror(-client));
    close(client);
    close(other);
    unlink(path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    expect(SOCKET_FILE_FOREIGN, false, 0);
    CHECK(access(path, F_OK) == 0, "the file is gone");
    unlink(path);
}

TEST("nothing is touched by who does not get the lock") {
    int stale = channel_listen(path, 0600), holder = open(lock, O_RDWR | O_CREAT, 0600);
    close(stale);
    CHECK(flock(holder, LOCK_EX | LOCK_NB) == 0, "%s", strerror(errno));
    expect(SOCKET_FILE_LOCKED, false, 0);
    CHECK(access(path, F_OK) == 0, "the socket is gone");
    close(holder);
    unlink(path);
    unlink(lock);
    CHECK(symlink("/nonexistent", lock) == 0, "%s", strerror(errno));
    expect(SOCKET_FILE_NO_LOCK, false, ELOOP);
    unlink(lock);
}

TEST("files are found in the program's directory and in those of its build, no others") {
    char found[PATH_MAX], own[PATH_MAX] = "";
    CHECK(readlink("/proc/self/exe", own, sizeof own - 1) > 0, "%s", strerror(errno));
    const char *name = strrchr(own, '/') + 1;
    CHECK(beside_find(found, "", name) && strcmp(found, own) == 0, "%s", found);
    CHECK(!beside_find(found, "", "no-such-file"), "%s", found);
    CHECK(beside_find(found, "/tests/ipc", "tests") && strstr(own, found) == own, "%s", found);
    CHECK(!beside_find(found, "/tests/ipc", name), "%s", found);
    CHECK(!beside_find(found, "/tests/abc", "tests"), "%s", found); /* just as long */
    CHECK(!beside_find(found, "/tests", "ipc"), "%s", found);
    char huge[PATH_MAX + 1];
    memset(huge, 'x', PATH_MAX);
    huge[PATH_MAX] = '\0';
    CHECK(!beside_find(found, "", huge) && !beside_find(found, huge, name), "longer than a path");
}

int main(void) {
    if (!mkdtemp(directory))
        return 1;
    snprintf(path, sizeof path, "%s/socket", directory);
    snprintf(lock, sizeof lock, "%s.lock", path);
    test_run();
    rmdir(directory);
    return test_done();
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors: how many are open, and messages that carry more of them than channel_send() would.
 */
#ifndef ESM1NV_TESTS_LIB_DESCRIPTORS_H
#define ESM1NV_TESTS_LIB_DESCRIPTORS_H

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The most that the kernel takes in one message. */
#define DESCRIPTORS_MAX 253

static inline ssize_t descriptors_send(int socket, const void *data, size_t size, const int *fds,
                                       unsigned count, int flags) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)data, .iov_len = size};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, count * sizeof(int));
    }
    return sendmsg(socket, &header, flags | MSG_NOSIGNAL);
}

/* Entries of a folder of /proc/self: of "fd" this program's descriptors, of "task" its threads. */
static inline unsigned proc_entries(const char *name) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/%s", name);
    DIR *folder = opendir(path);
    unsigned count = 0;
    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}

#endif

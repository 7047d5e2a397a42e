/* SPDX-License-Identifier: Apache-2.0
 *
 * esm1nv, the filter: protein sequences in, embeddings out. This file runs what the options ask
 * for, and makes sure that a failed write to stdout becomes an error.
 */
#include "client/filter/output/target.h"
#include "client/filter/report.h"
#include "client/filter/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* A standard descriptor that is closed would be given to the next file that is opened. What is
 * opened here instead fails when it is used. */
static void occupy_standard_files(void) {
    struct pollfd files[3] = {{.fd = 0}, {.fd = 1}, {.fd = 2}};
    poll(files, 3, 0); /* one call instead of three */
    for (int fd = 0; fd <= 2; fd++)
        if (files[fd].revents & POLLNVAL)
            open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv) {
    occupy_standard_files();
    target_set_signals();
    struct options options;
    int result = filter_options_parse(&options, argc, argv);
    if (result < 0)
        return -result;
    result = options.verb->run(&options);
    if (fflush(stdout) != 0 && result == EX_OK) {
        report("stdout: cannot write: %s", strerror(errno));
        result = EX_IOERR;
    }
    return result;
}

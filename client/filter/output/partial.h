/* SPDX-License-Identifier: Apache-2.0
 *
 * FILE.partial, which becomes FILE when all is well. It goes when the program ends early, by exit()
 * or by a signal; only SIGKILL leaves it, and the next run with the same output replaces it.
 *
 * Several runs may have the same output. Each writes a file of its own, and the name belongs to the
 * run that came last: the one before it notices, ends, and touches nothing more.
 *
 * Functions return 0, or a negative exit status after reporting. `said` is how the user named FILE.
 */
#ifndef ESM1NV_FILTER_PARTIAL_H
#define ESM1NV_FILTER_PARTIAL_H

#include <sys/stat.h>

#define PARTIAL_SUFFIX ".partial"

struct partial {
    char *name; /* NULL: there is none, it was renamed, or it is another run's by now */
    int fd;     /* its own, on which the locks are */
};
#define PARTIAL_NULL ((struct partial){.fd = -1})

/* Makes the file beside path, empty, with the owner and the mode of the old FILE as far as that is
 * permitted; old NULL: there is none. *partial must stay where it is. */
int partial_create(struct partial *partial, const char *path, const char *said,
                   const struct stat *old);
/* An error when the name no longer leads to this run's file. Cheap. */
int partial_check(struct partial *partial, const char *said);
/* Gives the finished file its name. When that fails, the file stays, and the report names it. */
int partial_rename(struct partial *partial, const char *path, const char *said);
/* Removes the file if it is still this run's. Safe on PARTIAL_NULL. */
void partial_finish(struct partial *partial);

/* At the start: a closed pipe ends the program, a full quota does not; and the signals that end a
 * program do so after partial files were removed, also where it is the first process of a
 * container.
 */
void partial_set_signals(void);

#endif

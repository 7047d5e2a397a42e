/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of all input files in order, decompressed and without byte order marks. Reading never
 * waits by itself: the caller polls input_fd() and then calls input_read().
 */
#ifndef ESM1NV_FILTER_INPUT_H
#define ESM1NV_FILTER_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

enum input_result {
    INPUT_BYTES = 1,    /* there are bytes at data */
    INPUT_WAIT = 2,     /* none are there before input_read() */
    INPUT_FILE_END = 3, /* the file is done; input_next_file() goes on to the next */
};

struct input_file {
    const char *name; /* for messages */
    const char *path; /* NULL: stdin */
    int fd;           /* -1: not open */
    bool regular;
};

struct input {
    const char *data; /* bytes not yet consumed */
    size_t size;
    struct input_file *files;
    size_t file_count, current;
    uint64_t bytes_read;
    uint64_t bytes_total; /* 0 unless all files are regular */

    char *raw; /* bytes as they were read */
    size_t raw_size;
    char *plain;       /* decompressed bytes */
    bool end;          /* the file has no more raw bytes */
    bool judged;       /* the form of the file is known */
    bool inflating;    /* it is gzip */
    bool member_ended; /* between two members of a gzip file */
    z_stream zlib;
};
#define INPUT_NULL ((struct input){0})

/* Functions return 0 or more, or a negative exit status after reporting. */

/* Opens all files. Refuses regular ones after the first that are no text of sequences; others are
 * refused when their turn comes. The paths stay the caller's; "-" and no path at all mean stdin. */
int input_open(struct input *input, char **paths, size_t count);

/* Refuses an output path that is one of the inputs. Returns 0 for any other. */
int input_spare(const struct input *input, const char *path);

/* The current file; NULL after the last. */
static inline const struct input_file *input_file(const struct input *input) {
    return input->current < input->file_count ? &input->files[input->current] : NULL;
}

/* Makes bytes of what was read available at data, if none are left there. Returns an enum
 * input_result. */
int input_more(struct input *input);
void input_consume(struct input *input, size_t size);
void input_next_file(struct input *input);

/* The descriptor to poll before input_read(); -1: reading does not wait. */
int input_fd(const struct input *input);
/* Reads once from the current file. */
int input_read(struct input *input);

void input_finish(struct input *input);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and stdin as one row of byte streams. The first bytes of a file tell its form: gzip, xz or
 * zstd by their magic, of which the last two are refused; then a UTF-8 byte order mark is skipped.
 * Plain bytes are handed out from where they were read to. Gzip members are inflated one after the
 * other, and a file that ends inside one is an error.
 */
#include "client/filter/input/input.h"

#include "client/filter/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define RAW_SIZE 131072u
#define RAW_SIZE_LEAST 256u /* added to the size of files that are shorter than RAW_SIZE */
#define FILES_FEW 64u       /* so many descriptors fit every limit */
#define PLAIN_SIZE 262144u

static const char byte_order_mark[3] = "\xEF\xBB\xBF";

static int unreadable(const struct input_file *file, const char *reason) {
    report("%s: %s", file->name, reason);
    return -EX_NOINPUT;
}

/* All files are open at once, so the limit is raised as far as it may be. */
static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* A FIFO is opened without waiting for its writer; poll() waits for that when its turn comes. */
static int open_file(struct input *input, struct input_file *file) {
    file->fd =
        file->path ? open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : STDIN_FILENO;
    struct stat status;
    if (file->fd < 0 || fstat(file->fd, &status) < 0)
        return unreadable(file, strerror(errno));
    if (S_ISDIR(status.st_mode))
        return unreadable(file, "is a directory; name the files in it");
    file->regular = S_ISREG(status.st_mode);
    if (file->regular)
        input->bytes_total += (uint64_t)status.st_size;
    return 0;
}

/* The buffer is no larger than what there is to read, which makes small calls faster. */
static void make_raw(struct input *input, bool known) {
    input->raw_size = RAW_SIZE;
    if (known && input->bytes_total < RAW_SIZE)
        input->raw_size = (size_t)input->bytes_total + RAW_SIZE_LEAST;
    input->data = input->raw = allocate(NULL, input->raw_size);
}

int input_open(struct input *input, char **paths, size_t count) {
    static char *standard_input[] = {(char *)"-"};
    *input = INPUT_NULL;
    if (count == 0) {
        paths = standard_input;
        count = 1;
    }
    if (count > FILES_FEW)
        raise_file_limit();
    input->files = allocate(NULL, count * sizeof *input->files);
    bool known = true;
    for (size_t i = 0; i < count; i++) {
        bool standard = strcmp(paths[i], "-") == 0;
        input->files[i] = (struct input_file){
            .name = standard ? "stdin" : paths[i], .path = standard ? NULL : paths[i], .fd = -1};
        input->file_count++;
        int result = open_file(input, &input->files[i]);
        if (result < 0)
            return result;
        known &= input->files[i].regular;
    }
    make_raw(input, known);
    if (!known)
        input->bytes_total = 0;
    return 0;
}

int input_spare(const struct input *input, const char *path) {
    struct stat output, status;
    if (stat(path, &output) < 0 || !S_ISREG(output.st_mode))
        return 0;
    for (size_t i = 0; i < input->file_count; i++) {
        const struct input_file *file = &input->files[i];
        if (fstat(file->fd, &status) < 0 || status.st_dev != output.st_dev ||
            status.st_ino != output.st_ino)
            continue;
        report("%s: is read as input and would be replaced; write to another file", path);
        return -EX_USAGE;
    }
    return 0;
}

static int out_of_memory(void) {
    report("out of memory");
    return -EX_SOFTWARE;
}

static int begin_inflate(struct input *input) {
    memset(&input->zlib, 0, sizeof input->zlib);
    if (inflateInit2(&input->zlib, 15 + 16) != Z_OK)
        return out_of_memory();
    input->inflating = true;
    input->member_ended = false;
    input->zlib.next_in = (Bytef *)input->data;
    input->zlib.avail_in = (uInt)input->size;
    if (!input->plain)
        input->plain = allocate(NULL, PLAIN_SIZE);
    input->data = input->plain;
    input->size = 0;
    input->form = INPUT_GZIP;
    return 0;
}

/* Zeros may stand between two members: tapes and block devices leave them as padding. */
static int begin_member(struct input *input) {
    z_stream *zlib = &input->zlib;
    while (zlib->avail_in > 0 && *zlib->next_in == 0) {
        zlib->next_in++;
        zlib->avail_in--;
    }
    if (zlib->avail_in == 0)
        return input->end ? INPUT_FILE_END : INPUT_WAIT;
    if (*zlib->next_in != 0x1F)
        return unreadable(input_file(input), "something that is not gzip follows its gzip data");
    inflateReset(zlib);
    input->member_ended = false;
    return INPUT_BYTES;
}

static int more_gzip(struct input *input) {
    z_stream *zlib = &input->zlib;
    memmove(input->plain, input->data, input->size);
    input->data = input->plain;
    for (;;) {
        if (input->member_ended) {
            int result = begin_member(input);
            if (result != INPUT_BYTES)
                return result;
        }
        zlib->next_out = (Bytef *)input->plain + input->size;
        zlib->avail_out = (uInt)(PLAIN_SIZE - input->size);
        int result = inflate(zlib, Z_SYNC_FLUSH);
        size_t size = PLAIN_SIZE - zlib->avail_out;
        bool progress = size > input->size;
        input->size = size;
        input->member_ended = result == Z_STREAM_END;
        if (progress)
            return INPUT_BYTES; /* even before damage: what came out until then is good */
        if (result == Z_MEM_ERROR)
            return out_of_memory();
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return unreadable(input_file(input), "its gzip data is damaged");
        if (input->member_ended)
            continue;
        if (zlib->avail_in == 0 && input->end)
            return unreadable(input_file(input), "its gzip data ends early: the file is cut short");
        if (zlib->avail_in == 0)
            return INPUT_WAIT;
    }
}

/* True when too few bytes are there to tell whether the file begins with this magic or mark. */
static bool undecided(const struct input *input, const char *magic, size_t size, bool end) {
    return !end && input->size < size && memcmp(input->data, magic, input->size) == 0;
}

static bool input_begins_with(const struct input *input, const char *magic, size_t size) {
    return input->size >= size && memcmp(input->data, magic, size) == 0;
}

/* Refuses files in other compressed forms, which would otherwise be read as bad sequences. */
static int judge_foreign(const struct input *input) {
    static const struct {
        const char *magic, *name, *tool;
        size_t size; /* of the magic; xz's ends with a zero */
    } forms[] = {{"\xFD\x37\x7A\x58\x5A", "xz", "xzcat", 6},
                 {"\x28\xB5\x2F\xFD", "zstd", "zstdcat", 4}};
    const struct input_file *file = input_file(input);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (undecided(input, forms[i].magic, forms[i].size, input->end))
            return INPUT_WAIT;
        if (!input_begins_with(input, forms[i].magic, forms[i].size))
            continue;
        report("%s: %s-compressed; decompress it first, e.g. %s %s | esm1nv", file->name,
               forms[i].name, forms[i].tool, file->path ? file->path : "FILE");
        return -EX_NOINPUT;
    }
    return 0;
}

static int judge_form(struct input *input) {
    if (undecided(input, "\x1F\x8B", 2, input->end))
        return INPUT_WAIT;
    if (input_begins_with(input, "\x1F\x8B", 2))
        return begin_inflate(input);
    int result = judge_foreign(input);
    if (result == 0)
        input->form = INPUT_PLAIN;
    return result;
}

static int more_of_form(struct input *input) {
    if (input->form == INPUT_GZIP)
        return more_gzip(input);
    return input->end ? INPUT_FILE_END : INPUT_WAIT;
}

static int judge_mark(struct input *input) {
    while (undecided(input, byte_order_mark, 3, false)) {
        int result = more_of_form(input);
        if (result == INPUT_FILE_END)
            break;
        if (result != INPUT_BYTES)
            return result;
    }
    input->mark_judged = true;
    if (input_begins_with(input, byte_order_mark, 3))
        input_consume(input, 3);
    return 0;
}

int input_more(struct input *input) {
    int result = 0;
    if (input->form == INPUT_UNJUDGED)
        result = judge_form(input);
    if (result == 0 && !input->mark_judged)
        result = judge_mark(input);
    if (result != 0)
        return result;
    return input->size > 0 ? INPUT_BYTES : more_of_form(input);
}

void input_consume(struct input *input, size_t size) {
    input->data += size;
    input->size -= size;
}

static void close_file(struct input *input) {
    struct input_file *file = &input->files[input->current];
    if (file->fd >= 0 && file->path)
        close(file->fd);
    file->fd = -1;
    if (input->inflating)
        inflateEnd(&input->zlib);
    input->inflating = false;
}

void input_next_file(struct input *input) {
    close_file(input);
    input->current++;
    input->form = INPUT_UNJUDGED;
    input->mark_judged = input->end = false;
    input->data = input->raw;
    input->size = 0;
}

int input_fd(const struct input *input) {
    const struct input_file *file = input_file(input);
    return file->regular ? -1 : file->fd;
}

/* Moves the raw bytes that are left to the front. Returns how many; new ones go behind them. */
static size_t make_room(struct input *input) {
    if (input->form == INPUT_GZIP) {
        memmove(input->raw, input->zlib.next_in, input->zlib.avail_in);
        input->zlib.next_in = (Bytef *)input->raw;
        return input->zlib.avail_in;
    }
    memmove(input->raw, input->data, input->size);
    input->data = input->raw;
    return input->size;
}

int input_read(struct input *input) {
    const struct input_file *file = input_file(input);
    size_t kept = make_room(input);
    ssize_t size = read(file->fd, input->raw + kept, input->raw_size - kept);
    if (size < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (size < 0)
        return unreadable(file, strerror(errno));
    input->end = size == 0;
    input->bytes_read += (uint64_t)size;
    if (input->form == INPUT_GZIP)
        input->zlib.avail_in += (uInt)size;
    else
        input->size += (size_t)size;
    return 0;
}

void input_finish(struct input *input) {
    for (; input->current < input->file_count; input->current++)
        close_file(input);
    free(input->files);
    free(input->raw);
    free(input->plain);
    *input = INPUT_NULL;
}

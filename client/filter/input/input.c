/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and stdin as one row of byte streams. The first line of a file tells its form: gzip is
 * known by its magic and inflated, a UTF-8 byte order mark is skipped, and every other form
 * (form.h) is refused, inside gzip too. Plain bytes are handed out from where they were read to.
 * Gzip members are inflated one after the other, and a file that ends inside one is an error.
 */
#include "client/filter/input/input.h"

#include "client/filter/input/form.h"
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
#define RAW_SIZE_LEAST FORM_HEAD /* added to the size of files that are shorter than RAW_SIZE */
#define FILES_FEW 64u            /* so many descriptors fit every limit */
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

static int more_of_form(struct input *input) {
    if (input->inflating)
        return more_gzip(input);
    return input->end ? INPUT_FILE_END : INPUT_WAIT;
}

static bool input_begins_with(const struct input *input, const char *magic, size_t size) {
    return input->size >= size && memcmp(input->data, magic, size) == 0;
}

/* Refuses what would be read as bad sequences otherwise, and says what makes text of it. */
static int refuse_form(const struct input *input, const struct form *form) {
    const struct input_file *file = input_file(input);
    const char *inside = input->inflating ? " inside gzip" : "", *path = file->path;
    if (!path)
        path = "FILE";
    if (!form->tool)
        report("%s: %s%s, which is not read; %s", file->name, form->name, inside, form->advice);
    else if (input->inflating)
        report("%s: %s%s, which is not read; try zcat %s | %s - | esm1nv", file->name, form->name,
               inside, path, form->tool);
    else
        report("%s: %s, which is not read; try %s %s | esm1nv", file->name, form->name, form->tool,
               path);
    return -EX_NOINPUT;
}

/* Finds out what the file at hand is. No record is complete before its first bytes suffice. Returns
 * 0, INPUT_WAIT, or a negative exit status. */
static int judge(struct input *input) {
    for (;;) {
        int result = 0;
        if (!input->inflating && input_begins_with(input, "\x1F\x8B", 2))
            result = begin_inflate(input);
        if (result < 0)
            return result;
        if (form_is_settled(input->data, input->size))
            break;
        result = more_of_form(input);
        if (result == INPUT_FILE_END)
            break;
        if (result != INPUT_BYTES)
            return result;
    }
    if (input_begins_with(input, byte_order_mark, sizeof byte_order_mark))
        input_consume(input, sizeof byte_order_mark);
    const struct form *form = form_of(input->data, input->size);
    if (form)
        return refuse_form(input, form);
    input->judged = true;
    return 0;
}

int input_more(struct input *input) {
    int result = input->judged ? 0 : judge(input);
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
}

/* The next bytes are the first ones of a file. */
static void forget_bytes(struct input *input) {
    if (input->inflating)
        inflateEnd(&input->zlib);
    input->inflating = input->judged = input->end = false;
    input->data = input->raw;
    input->size = 0;
}

void input_next_file(struct input *input) {
    close_file(input);
    input->current++;
    forget_bytes(input);
}

int input_fd(const struct input *input) {
    const struct input_file *file = input_file(input);
    return file->regular ? -1 : file->fd;
}

/* Moves the raw bytes that are left to the front. Returns how many; new ones go behind them. */
static size_t make_room(struct input *input) {
    if (input->inflating) {
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
    if (input->inflating)
        input->zlib.avail_in += (uInt)size;
    else
        input->size += (size_t)size;
    return 0;
}

/* A file that is not the first is judged before its turn too, so that it does not end the run when
 * much of the work is done. */
static int judge_later_file(struct input *input, int fd) {
    int result = INPUT_WAIT;
    while (result == INPUT_WAIT) {
        result = input_read(input);
        if (result == 0)
            result = judge(input);
    }
    if (result == 0 && lseek(fd, -(off_t)input->bytes_read, SEEK_CUR) < 0)
        result = unreadable(input_file(input), strerror(errno));
    forget_bytes(input);
    input->bytes_read = 0;
    return result;
}

static int judge_later_files(struct input *input) {
    int result = 0;
    for (size_t i = 1; i < input->file_count && result == 0; i++) {
        input->current = i;
        if (input->files[i].regular)
            result = judge_later_file(input, input->files[i].fd);
    }
    input->current = 0;
    return result;
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
    return judge_later_files(input);
}

void input_finish(struct input *input) {
    for (; input->current < input->file_count; input->current++)
        close_file(input);
    forget_bytes(input);
    free(input->files);
    free(input->raw);
    free(input->plain);
    *input = INPUT_NULL;
}

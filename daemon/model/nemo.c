/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the .nemo file, which is a tar, plain or compressed with gzip. A plain one is mapped, and
 * its members are views into the mapping. A compressed one is first unpacked into anonymous memory,
 * its checksums included, so that the rest is the same for both. A file that is truncated while it
 * is mapped would end the daemon with SIGBUS, so the mapping lives only from model_open() to
 * model_drop_weights().
 */
#include "daemon/model/container.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>
#include <zlib.h>

#define MEMBERS_MAX 4096u
#define UNPACKED_MAX (INT64_C(8) << 30) /* bytes that a compressed file may unpack to */
#define UNPACKED_FIRST (INT64_C(16) << 20)
#define TAR_BLOCK 512

/* --- the bytes of the tar --- */

static int map_file(struct nemo *nemo, int fd, struct error *error) {
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(error, EX_CONFIG, "cannot be examined: %s", strerror(errno));
    if (!S_ISREG(status.st_mode))
        return error_set(error, EX_CONFIG, "not a regular file");
    if (status.st_size == 0)
        return error_set(error, EX_CONFIG, "the file is empty");
    void *memory = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (memory == MAP_FAILED)
        return error_set(error, EX_CONFIG, "cannot be mapped: %s", strerror(errno));
    nemo->memory = memory;
    nemo->size = (size_t)status.st_size;
    return 0;
}

struct unpacked {
    unsigned char *memory;
    size_t room, used;
};

static int unpacked_grow(struct unpacked *out, struct error *error) {
    size_t room = out->room ? 2 * out->room : (size_t)UNPACKED_FIRST;
    if (room > (size_t)UNPACKED_MAX)
        return error_set(error, EX_CONFIG,
                         "unpacks to more than %" PRId64 " bytes: gunzip it first", UNPACKED_MAX);
    void *memory = out->room ? mremap(out->memory, out->room, room, MREMAP_MAYMOVE)
                             : mmap(NULL, room, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return error_set(error, EX_SOFTWARE, "no memory to unpack it: %s", strerror(errno));
    out->memory = memory;
    out->room = room;
    return 0;
}

static unsigned clamp_to_int(size_t size) {
    return size > (1u << 30) ? 1u << 30 : (unsigned)size;
}

/* Calls inflate() once. Returns its result, which is Z_BUF_ERROR when the input ends too soon. */
static int inflate_some(z_stream *stream, const unsigned char *end, struct unpacked *out) {
    unsigned in = clamp_to_int((size_t)(end - stream->next_in));
    unsigned room = clamp_to_int(out->room - out->used);
    stream->avail_in = in;
    stream->next_out = out->memory + out->used;
    stream->avail_out = room;
    int result = inflate(stream, Z_NO_FLUSH);
    out->used += room - stream->avail_out;
    return result;
}

/* Unpacks a gzip file, which may consist of several members, one after the other. */
static int inflate_all(z_stream *stream, const struct nemo *nemo, struct unpacked *out,
                       struct error *error) {
    unsigned char *start = nemo->memory;
    const unsigned char *end = start + nemo->size;
    stream->next_in = start;
    for (;;) {
        if (out->used == out->room && unpacked_grow(out, error) < 0)
            return -1;
        int result = inflate_some(stream, end, out);
        if (result == Z_STREAM_END && stream->next_in == end)
            return 0;
        if (result == Z_STREAM_END)
            result = inflateReset(stream);
        if (result == Z_BUF_ERROR)
            return error_set(error, EX_CONFIG, "the gzip stream is cut short: get the file again");
        if (result == Z_MEM_ERROR)
            return error_set(error, EX_SOFTWARE, "no memory to unpack it");
        if (result != Z_OK)
            return error_set(error, EX_CONFIG,
                             "the gzip stream is damaged (%s): get the file again",
                             stream->msg ? stream->msg : zError(result));
    }
}

static bool is_gzip(const struct nemo *nemo) {
    return nemo->size >= 2 && memcmp(nemo->memory, "\x1f\x8b", 2) == 0;
}

/* Replaces the mapping of the gzip file by the memory that it unpacks to. */
static int unpack_gzip(struct nemo *nemo, struct error *error) {
    z_stream stream = {0};
    if (inflateInit2(&stream, 15 + 16) != Z_OK)
        return error_set(error, EX_SOFTWARE, "no memory to unpack it");
    struct unpacked out = {0};
    int result = inflate_all(&stream, nemo, &out, error);
    inflateEnd(&stream);
    munmap(nemo->memory, nemo->size);
    nemo->memory = out.memory;
    nemo->size = out.room;
    if (result < 0 || out.used == out.room)
        return result;
    if (out.used == 0)
        return error_set(error, EX_CONFIG, "unpacks to nothing");
    void *memory = mremap(out.memory, out.room, out.used, 0);
    if (memory == MAP_FAILED)
        return error_set(error, EX_SOFTWARE, "cannot shrink a mapping: %s", strerror(errno));
    nemo->memory = memory;
    nemo->size = out.used;
    return 0;
}

/* --- its members --- */

static const struct nemo_member *find_nemo_member(const struct nemo *nemo, const char *name) {
    for (size_t i = 0; i < nemo->count; i++)
        if (strcmp(nemo->members[i].name, name) == 0)
            return &nemo->members[i];
    return NULL;
}

static int add_member(struct nemo *nemo, const char *name, struct bytes content,
                      struct error *error) {
    if (find_nemo_member(nemo, name))
        return error_set(error, EX_CONFIG, "%s: the archive holds this member twice", name);
    if (nemo->count == MEMBERS_MAX)
        return error_set(error, EX_CONFIG, "holds more than %u members", MEMBERS_MAX);
    char *copy = strdup(name);
    if (!copy)
        return error_set(error, EX_SOFTWARE, "out of memory");
    nemo->members[nemo->count++] = (struct nemo_member){.name = copy, .content = content};
    return 0;
}

/* libarchive does not have a text for every failure. */
static const char *reason(struct archive *archive) {
    const char *text = archive_error_string(archive);
    return text ? text : "it is damaged";
}

/* Finds the content of the current entry, which must lie in the mapping in one piece. */
static int entry_content(struct bytes *content, const struct nemo *nemo, struct archive *archive,
                         int64_t size, struct error *error) {
    *content = (struct bytes){.data = nemo->memory};
    if (size == 0)
        return 0;
    const void *data;
    size_t length;
    la_int64_t offset;
    if (archive_read_data_block(archive, &data, &length, &offset) != ARCHIVE_OK)
        return error_set(error, EX_CONFIG, "%s", reason(archive));
    if ((int64_t)length != size)
        return error_set(error, EX_CONFIG, "cut short or sparse: %zu of its %" PRId64 " bytes",
                         length, size);
    uintptr_t start = (uintptr_t)nemo->memory, at = (uintptr_t)data;
    if (at < start || at - start > nemo->size || length > nemo->size - (at - start))
        return error_set(error, EX_SOFTWARE, "libarchive copied it");
    *content = (struct bytes){data, length};
    return 0;
}

/* Skips folders and links. Where a needed member is a link, nemo_find() says that it is missing. */
static int read_tar_entry(struct nemo *nemo, struct archive *archive, struct archive_entry *entry,
                          struct error *error) {
    const char *name = archive_entry_pathname(entry);
    if (!name || archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry))
        return 0;
    while (strncmp(name, "./", 2) == 0)
        name += 2;
    struct bytes content;
    if (entry_content(&content, nemo, archive, archive_entry_size(entry), error) < 0)
        return error_prefix(error, "%s", name);
    return add_member(nemo, name, content, error);
}

/* A whole tar ends with two blocks of zeros. Without them, the file was cut between two members. */
static int check_end(struct archive *archive, struct error *error) {
    int64_t end = archive_filter_bytes(archive, 0) - archive_read_header_position(archive);
    if (end < 2 * TAR_BLOCK)
        return error_set(error, EX_CONFIG, "the tar archive is cut short: get the file again");
    return 0;
}

static int read_entries(struct nemo *nemo, struct archive *archive, struct error *error) {
    struct archive_entry *entry;
    for (;;) {
        int result = archive_read_next_header(archive, &entry);
        if (result == ARCHIVE_EOF)
            return check_end(archive, error);
        if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
            return error_set(error, EX_CONFIG, "not a sound tar archive behind %s: %s",
                             nemo->count ? nemo->members[nemo->count - 1].name : "its beginning",
                             reason(archive));
        if (read_tar_entry(nemo, archive, entry, error) < 0)
            return -1;
    }
}

static int read_tar(struct nemo *nemo, struct error *error) {
    nemo->members = calloc(MEMBERS_MAX, sizeof *nemo->members);
    struct archive *archive = archive_read_new();
    int result = -1;
    if (!nemo->members || !archive)
        error_set(error, EX_SOFTWARE, "out of memory");
    else if (archive_read_support_format_tar(archive) != ARCHIVE_OK ||
             archive_read_open_memory(archive, nemo->memory, nemo->size) != ARCHIVE_OK)
        error_set(error, EX_CONFIG, "not a tar archive, plain or gzip: %s", reason(archive));
    else
        result = read_entries(nemo, archive, error);
    archive_read_free(archive);
    return result;
}

int nemo_open(struct nemo *nemo, const char *path, struct error *error) {
    *nemo = (struct nemo){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(error, EX_CONFIG, "cannot be opened: %s", strerror(errno));
    int result = map_file(nemo, fd, error);
    close(fd);
    if (result == 0 && is_gzip(nemo))
        result = unpack_gzip(nemo, error);
    if (result == 0)
        result = read_tar(nemo, error);
    if (result < 0)
        nemo_close(nemo);
    return result;
}

int nemo_find(const struct nemo *nemo, const char *name, struct bytes *content,
              struct error *error) {
    const struct nemo_member *member = find_nemo_member(nemo, name);
    if (!member)
        return error_set(error, EX_CONFIG, "%s: the archive has no such member", name);
    *content = member->content;
    return 0;
}

/* Returns 1 for the checkpoint of a model that is in one part, -1 for that of a part of another
 * rank, and 0 for every other member. */
static int is_weights(const char *name) {
    static const char *const paths[] = {"model_weights.ckpt", "mp_rank_00/model_weights.ckpt",
                                        "tp_rank_00_pp_rank_000/model_weights.ckpt"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (strcmp(name, paths[i]) == 0)
            return 1;
    const char *slash = strrchr(name, '/');
    return strcmp(slash ? slash + 1 : name, paths[0]) == 0 ? -1 : 0;
}

int nemo_find_weights(const struct nemo *nemo, const char **name, struct bytes *content,
                      struct error *error) {
    *name = NULL;
    for (size_t i = 0; i < nemo->count; i++) {
        int found = is_weights(nemo->members[i].name);
        if (found < 0 || (found > 0 && *name))
            return error_set(error, EX_CONFIG,
                             "%s: the weights are in several parts (tensor or "
                             "pipeline parallel): merge them into one with NeMo",
                             nemo->members[i].name);
        if (found > 0) {
            *name = nemo->members[i].name;
            *content = nemo->members[i].content;
        }
    }
    if (!*name)
        return error_set(error, EX_CONFIG, "model_weights.ckpt: the archive has no such member");
    return 0;
}

void nemo_close(struct nemo *nemo) {
    for (size_t i = 0; i < nemo->count; i++)
        free(nemo->members[i].name);
    free(nemo->members);
    if (nemo->memory)
        munmap(nemo->memory, nemo->size);
    *nemo = (struct nemo){0};
}

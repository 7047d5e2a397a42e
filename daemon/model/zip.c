/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the zip archive that torch.save writes. The central directory decides, because torch leaves
 * sizes out of the local headers and puts them into data descriptors; a local header must agree
 * with the directory in what it does say. Members must be stored without compression; zip64 is read
 * where a value needs it. Every number is checked before it is used. Sums are made in 64 bits and
 * cannot overflow, because an offset is known to be less than the size of the file before anything
 * is added.
 */
#include "daemon/model/container.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define LOCAL_SIGNATURE 0x04034b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define END_SIGNATURE 0x06054b50u
#define END64_SIGNATURE 0x06064b50u
#define LOCATOR64_SIGNATURE 0x07064b50u

#define LOCAL_SIZE 30u
#define CENTRAL_SIZE 46u
#define END_SIZE 22u
#define END64_SIZE 56u
#define LOCATOR64_SIZE 20u
#define COMMENT_MAX 65535u

#define FLAG_ENCRYPTED 0x0001u
#define FLAG_DESCRIPTOR 0x0008u
#define EXTRA_ZIP64 1u

static uint16_t get16(const unsigned char *at) {
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t get32(const unsigned char *at) {
    return get16(at) | (uint32_t)get16(at + 2) << 16;
}

static uint64_t get64(const unsigned char *at) {
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

/* Where the central directory lies. */
struct directory {
    uint64_t start, size, count;
};

static const unsigned char *find_end(struct bytes file) {
    for (size_t comment = 0; comment <= COMMENT_MAX; comment++) {
        if (file.size < END_SIZE + comment)
            return NULL;
        const unsigned char *end = file.data + file.size - END_SIZE - comment;
        if (get32(end) == END_SIGNATURE && get16(end + 20) == comment)
            return end;
    }
    return NULL;
}

/* Finds the zip64 end record that a locator before `end` points to. *end64 is NULL when there is no
 * locator. */
static int find_end64(const unsigned char **end64, struct bytes file, const unsigned char *end,
                      struct error *error) {
    *end64 = NULL;
    size_t at = (size_t)(end - file.data);
    if (at < LOCATOR64_SIZE || get32(end - LOCATOR64_SIZE) != LOCATOR64_SIGNATURE)
        return 0;
    uint64_t offset = get64(end - LOCATOR64_SIZE + 8);
    size_t room = at - LOCATOR64_SIZE;
    if (room < END64_SIZE || offset > room - END64_SIZE ||
        get32(file.data + offset) != END64_SIGNATURE)
        return error_set(error, EX_CONFIG, "the zip64 locator points to nothing");
    *end64 = file.data + offset;
    return 0;
}

static int find_directory(struct directory *directory, struct bytes file, struct error *error) {
    const unsigned char *end = find_end(file), *end64;
    if (!end)
        return error_set(error, EX_CONFIG,
                         "not a whole zip archive (cut short, or not written by "
                         "torch.save of torch 1.6 or newer)");
    if (find_end64(&end64, file, end, error) < 0)
        return -1;
    if (get16(end + 4) != 0 && get16(end + 4) != 0xffff)
        return error_set(error, EX_CONFIG, "one disk of several of a zip archive");
    *directory = (struct directory){get32(end + 16), get32(end + 12), get16(end + 10)};
    if (end64)
        *directory = (struct directory){get64(end64 + 48), get64(end64 + 40), get64(end64 + 32)};
    uint64_t limit = (uint64_t)((end64 ? end64 : end) - file.data);
    if (directory->start > limit || directory->size > limit - directory->start ||
        directory->count > directory->size / CENTRAL_SIZE)
        return error_set(error, EX_CONFIG, "the zip directory reaches outside the archive");
    return 0;
}

/* A central header: the member as the directory describes it. */
struct entry {
    struct bytes name;
    uint64_t size, packed, header;
    uint16_t flags;
};

/* If *value is the 32-bit number that stands for "see zip64", reads it from the extra field. */
static int widen(uint64_t *value, const unsigned char **at, const unsigned char *end) {
    if (*value != UINT32_MAX)
        return 0;
    if (end - *at < 8)
        return -1;
    *value = get64(*at);
    *at += 8;
    return 0;
}

static int read_zip64(struct entry *entry, struct bytes extra) {
    const unsigned char *at = extra.data, *end = at + extra.size;
    while (end - at >= 4) {
        const unsigned char *field = at + 4;
        if (end - field < get16(at + 2))
            return -1;
        at = field + get16(at + 2);
        if (get16(field - 4) == EXTRA_ZIP64)
            return widen(&entry->size, &field, at) || widen(&entry->packed, &field, at) ||
                           widen(&entry->header, &field, at)
                       ? -1
                       : 0;
    }
    return 0;
}

static int name_error(struct error *error, struct bytes name, const char *reason) {
    error_set(error, EX_CONFIG, "%.*s: %s", (int)(name.size > 128 ? 128 : name.size),
              (const char *)name.data, reason);
    return -1;
}

/* Reads the central header at *at and moves past it. */
static int read_entry(struct entry *entry, const unsigned char **at, const unsigned char *end,
                      struct error *error) {
    const unsigned char *header = *at;
    if (end - header < (ptrdiff_t)CENTRAL_SIZE || get32(header) != CENTRAL_SIGNATURE)
        return error_set(error, EX_CONFIG, "the zip directory is damaged");
    size_t name = get16(header + 28), extra = get16(header + 30), comment = get16(header + 32);
    if ((size_t)(end - header) < CENTRAL_SIZE + name + extra + comment)
        return error_set(error, EX_CONFIG, "the zip directory is cut short");
    *at = header + CENTRAL_SIZE + name + extra + comment;
    *entry = (struct entry){.name = {header + CENTRAL_SIZE, name},
                            .size = get32(header + 24),
                            .packed = get32(header + 20),
                            .header = get32(header + 42),
                            .flags = get16(header + 8)};
    if (read_zip64(entry, (struct bytes){header + CENTRAL_SIZE + name, extra}) < 0)
        return name_error(error, entry->name, "its zip64 field is damaged");
    if (get16(header + 10) != 0 || entry->size != entry->packed)
        return name_error(error, entry->name, "compressed; torch.save stores its members");
    if (entry->flags & FLAG_ENCRYPTED)
        return name_error(error, entry->name, "encrypted");
    return 0;
}

/* Compares the sizes in the local header, where it does not leave them to a descriptor or to zip64.
 */
static bool local_sizes_agree(const unsigned char *local, const struct entry *entry) {
    if (get16(local + 6) & FLAG_DESCRIPTOR)
        return true;
    uint32_t packed = get32(local + 18), size = get32(local + 22);
    return (packed == entry->size || packed == UINT32_MAX) &&
           (size == entry->size || size == UINT32_MAX);
}

/* Finds the content of the member, which lies between its local header and the directory. */
static int read_local(struct zip_member *member, const struct entry *entry, struct bytes file,
                      const struct directory *directory, struct error *error) {
    if (directory->start < LOCAL_SIZE || entry->header > directory->start - LOCAL_SIZE)
        return name_error(error, entry->name, "lies outside the archive");
    const unsigned char *local = file.data + entry->header;
    size_t name = get16(local + 26), extra = get16(local + 28);
    uint64_t room = directory->start - entry->header - LOCAL_SIZE;
    if (get32(local) != LOCAL_SIGNATURE || name != entry->name.size || name > room ||
        memcmp(local + LOCAL_SIZE, entry->name.data, name) != 0 || get16(local + 8) != 0 ||
        !local_sizes_agree(local, entry))
        return name_error(error, entry->name, "its local header contradicts the zip directory");
    if (name + extra > room || entry->size > room - name - extra)
        return name_error(error, entry->name, "reaches outside the archive");
    *member = (struct zip_member){.name = entry->name,
                                  .content = {local + LOCAL_SIZE + name + extra, entry->size},
                                  .header = entry->header};
    return 0;
}

static int compare_headers(const void *a, const void *b) {
    const struct zip_member *first = a, *second = b;
    return first->header < second->header ? -1 : first->header > second->header;
}

static int compare_names(const void *a, const void *b) {
    const struct zip_member *first = a, *second = b;
    return bytes_compare(first->name, second->name);
}

static int check_overlaps(struct zip *zip, struct bytes file, struct error *error) {
    qsort(zip->members, zip->count, sizeof *zip->members, compare_headers);
    for (size_t i = 1; i < zip->count; i++) {
        struct bytes content = zip->members[i - 1].content;
        if ((uint64_t)(content.data - file.data) + content.size > zip->members[i].header)
            return name_error(error, zip->members[i].name, "overlaps the member before it");
    }
    return 0;
}

static int sort_by_name(struct zip *zip, struct error *error) {
    qsort(zip->members, zip->count, sizeof *zip->members, compare_names);
    for (size_t i = 1; i < zip->count; i++)
        if (bytes_compare(zip->members[i - 1].name, zip->members[i].name) == 0)
            return name_error(error, zip->members[i].name, "the zip holds this member twice");
    return 0;
}

static int read_members(struct zip *zip, struct bytes file, const struct directory *directory,
                        struct error *error) {
    const unsigned char *at = file.data + directory->start, *end = at + directory->size;
    for (; zip->count < directory->count; zip->count++) {
        struct entry entry = {0};
        if (read_entry(&entry, &at, end, error) < 0 ||
            read_local(&zip->members[zip->count], &entry, file, directory, error) < 0)
            return -1;
    }
    if (at != end)
        return error_set(error, EX_CONFIG, "the zip directory holds more than it says");
    return check_overlaps(zip, file, error) < 0 ? -1 : sort_by_name(zip, error);
}

int zip_open(struct zip *zip, struct bytes file, struct error *error) {
    *zip = (struct zip){0};
    struct directory directory = {0};
    if (find_directory(&directory, file, error) < 0)
        return -1;
    zip->members = calloc(directory.count + 1, sizeof *zip->members);
    if (!zip->members)
        return error_set(error, EX_SOFTWARE, "out of memory");
    if (read_members(zip, file, &directory, error) == 0)
        return 0;
    zip_close(zip);
    return -1;
}

const struct zip_member *zip_find(const struct zip *zip, const char *name, size_t length) {
    struct zip_member key = {.name = {(const unsigned char *)name, length}};
    return bsearch(&key, zip->members, zip->count, sizeof key, compare_names);
}

void zip_close(struct zip *zip) {
    free(zip->members);
    *zip = (struct zip){0};
}

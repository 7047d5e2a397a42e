/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the loader, the file's side: a .nemo is a tar of members (nemo), one of them a zip (zip)
 * of a pickled dictionary (pickle) and raw storages, together a table of tensors (checkpoint).
 * Every layer trusts nothing it reads, copies nothing, and points into the one mapping of the file.
 */
#ifndef ESM1NV_MODEL_CONTAINER_H
#define ESM1NV_MODEL_CONTAINER_H

#include "daemon/base/error.h"
#include "daemon/model/model.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A piece of the mapping; text is not terminated. */
struct bytes {
    const unsigned char *data;
    size_t size;
};

/* Order of names, as bytes. */
static inline int bytes_compare(struct bytes a, struct bytes b) {
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

struct nemo_member {
    char *name; /* without a leading ./ */
    struct bytes content;
};

struct nemo {
    void *memory; /* the mapped file, or what its gzip unpacks to */
    size_t size;
    struct nemo_member *members;
    size_t count;
};

int nemo_open(struct nemo *nemo, const char *path, struct error *error);
/* -1 when there is no member of this name. */
int nemo_find(const struct nemo *nemo, const char *name, struct bytes *content,
              struct error *error);
/* The checkpoint, wherever one of a single rank lies; *name is the member's. */
int nemo_find_weights(const struct nemo *nemo, const char **name, struct bytes *content,
                      struct error *error);
void nemo_close(struct nemo *nemo);

struct zip_member {
    struct bytes name;
    struct bytes content;
    uint64_t header; /* where its local header lies */
};

struct zip {
    struct zip_member *members; /* by name */
    size_t count;
};

/* Stored members only; they may not overlap, repeat or reach outside. */
int zip_open(struct zip *zip, struct bytes file, struct error *error);
/* NULL when there is none. */
const struct zip_member *zip_find(const struct zip *zip, const char *name, size_t length);
void zip_close(struct zip *zip);

#define TENSOR_RANK_MAX 8

/* What a storage's class in the pickle says. */
struct storage_class {
    const char *name;
    unsigned item_size;
    bool floating;
    int type; /* enum tensor_type, or -1 for one that weights may not have */
};

/* A tensor as the pickle describes it, nothing checked against its storage yet. */
struct pickle_tensor {
    struct bytes name;
    const struct storage_class *storage;
    struct bytes key;      /* of its storage */
    int64_t storage_items; /* elements of it */
    int64_t offset;        /* elements into it */
    int rank;
    int64_t shape[TENSOR_RANK_MAX], stride[TENSOR_RANK_MAX];
};

/* Runs the pickle of a state dict, bare or under "state_dict": *tensors of count, malloc()ed, in
 * the file's order. Whatever a tensor dictionary does not need is refused by name. */
int pickle_read(struct pickle_tensor **tensors, size_t *count, struct bytes file,
                struct error *error);

struct checkpoint_tensor {
    struct pickle_tensor description;
    int64_t elements;
    const unsigned char *data; /* its first element */
};

struct checkpoint {
    struct checkpoint_tensor *tensors; /* by name */
    size_t count;
};

int checkpoint_open(struct checkpoint *checkpoint, struct bytes file, struct error *error);
/* NULL when there is none. */
const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *checkpoint,
                                                const char *name);
/* Puts tensors into the order that checkpoint_find() needs. */
void checkpoint_sort(struct checkpoint *checkpoint);
void checkpoint_close(struct checkpoint *checkpoint);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The layers of a .nemo file: it is a tar of members (nemo), one of which is a zip (zip) of a
 * pickled dictionary (pickle) and raw storages; these two together are a table of tensors
 * (checkpoint). Every layer checks all that it reads, and copies no content: what it returns points
 * into the one mapping of the file. Functions that return int return 0, or -1 with an error.
 */
#ifndef ESM1NV_MODEL_CONTAINER_H
#define ESM1NV_MODEL_CONTAINER_H

#include "daemon/base/error.h"
#include "daemon/model/model.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A piece of the mapping. Text in it does not end with a zero byte. */
struct bytes {
    const unsigned char *data;
    size_t size;
};

/* Orders names as memcmp() does, a prefix before what it begins. */
static inline int bytes_compare(struct bytes a, struct bytes b) {
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static inline bool bytes_are(struct bytes bytes, const char *text) {
    return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
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
/* Finds the content of a member by its name. */
int nemo_find(const struct nemo *nemo, const char *name, struct bytes *content,
              struct error *error);
/* Finds the checkpoint, which may lie in the folder of the only rank. *name becomes the member's,
 * and lives as long as nemo. */
int nemo_find_weights(const struct nemo *nemo, const char **name, struct bytes *content,
                      struct error *error);
void nemo_close(struct nemo *nemo);

struct zip_member {
    struct bytes name;
    struct bytes content;
    uint64_t header; /* where its local header lies */
};

struct zip {
    struct zip_member *members; /* sorted by name */
    size_t count;
};

/* Reads the directory. Members must be stored without compression, and may not overlap, repeat or
 * reach outside the file. */
int zip_open(struct zip *zip, struct bytes file, struct error *error);
/* Returns NULL when there is no such member. */
const struct zip_member *zip_find(const struct zip *zip, const char *name, size_t length);
void zip_close(struct zip *zip);

#define TENSOR_RANK_MAX 8

/* What the class of a storage, named in the pickle, says about its elements. */
struct storage_class {
    const char *name;
    unsigned item_size;
    bool floating;
    int type; /* enum tensor_type, or -1 when weights may not be of it */
};

/* A tensor as the pickle describes it. Nothing here is checked against the storage yet. */
struct pickle_tensor {
    struct bytes name;
    const struct storage_class *storage;
    struct bytes key;      /* the name of the storage */
    int64_t storage_items; /* elements that the storage has */
    int64_t offset;        /* of the tensor's first element in the storage, in elements */
    int rank;
    int64_t shape[TENSOR_RANK_MAX], stride[TENSOR_RANK_MAX];
};

/* Runs the pickle of a state dict, which may be the value of a key "state_dict". *tensors becomes
 * an array of *count tensors in the file's order, which the caller frees. What no dictionary of
 * tensors needs is refused by name. */
int pickle_read(struct pickle_tensor **tensors, size_t *count, struct bytes file,
                struct error *error);

struct checkpoint_tensor {
    struct pickle_tensor description;
    int64_t elements;
    const unsigned char *data; /* of the first element */
};

struct checkpoint {
    struct checkpoint_tensor *tensors; /* sorted by name */
    size_t count;
};

/* Reads the table; every tensor lies inside its storage. */
int checkpoint_open(struct checkpoint *checkpoint, struct bytes file, struct error *error);
/* Returns NULL when there is no such tensor. */
const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *checkpoint,
                                                const char *name);
/* Sorts the tensors of a table made by hand, as checkpoint_find() needs them. */
void checkpoint_sort(struct checkpoint *checkpoint);
void checkpoint_close(struct checkpoint *checkpoint);

#endif

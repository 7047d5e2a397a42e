/* SPDX-License-Identifier: Apache-2.0
 *
 * The interface of an engine, for those who write one: an engine is a folder with a struct
 * engine_table, and a row in chooser.h. It takes packed batches (no padding), runs them on threads
 * of its own, and signals through a descriptor when one is done; queue.h does all of this but the
 * computing. All calls come from one thread. What an engine computes for a sequence does not depend
 * on the rest of the batch.
 */
#ifndef ESM1NV_ENGINE_H
#define ESM1NV_ENGINE_H

#include "daemon/base/error.h"
#include "daemon/model/model.h"
#include "ipc/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENGINE_ABI 3

/* The one symbol of an engine that is a plugin, a const struct engine_table. */
#define ENGINE_PLUGIN_SYMBOL "esm1nv_engine"

enum precision { PRECISION_AUTO, PRECISION_F32, PRECISION_BF16, PRECISION_F16 };

struct engine_options {
    enum precision precision;
    unsigned threads;          /* 0: usable cores, cgroup quota counted */
    const char *devices;       /* CUDA only: "all" or "0,1"; NULL: the first */
    uint32_t max_batch_tokens; /* the largest batch that will be submitted, >= P; for
                                  engine_open() 0: what suits the backend, or P */
};

/* One sequence of a batch. */
struct engine_item {
    uint32_t first_token; /* index of its first token in engine_batch.ids */
    uint32_t tokens;
    uint32_t first_residue; /* relative to first_token */
    uint32_t residues;
    enum pooling pooling;
    enum dtype dtype;
    /* Where rows go: residues x H values for POOLING_NONE, else 1 x H, aligned to 64 bytes. Never
     * read by the engine: a client may share and scribble on this memory. Undefined unless status
     * becomes RECORD_OK. Little endian. */
    void *rows;
    enum record_status status; /* written by the engine */
};

struct engine_batch {
    const uint16_t *ids; /* of all sequences, end to end */
    struct engine_item *items;
    uint32_t tokens;
    uint32_t count;
    void *user;        /* the submitter's, untouched */
    double seconds;    /* written by the engine: how long the batch ran */
    char failure[128]; /* written by the engine: why items are RECORD_ENGINE, else empty */
};

/* What is known of an open engine. */
struct engine_info {
    const char *backend;      /* "cpu", "cuda", "null" */
    const char *precision;    /* "f32", "bf16", "f16" */
    const char *instructions; /* "avx512bf16", "sm_90", ... */
    unsigned threads;
    unsigned depth;        /* batches that may be in flight */
    uint32_t batch_tokens; /* where throughput is flat: a good largest batch */
    uint64_t weight_bytes; /* memory held for the model */
    const char *device;    /* the GPU's name, or of several "2 x NAME"; empty on the CPU */
    uint64_t device_bytes; /* the most GPU memory it takes on each; 0 on the CPU */
};

struct engine; /* the implementation's own */

struct engine_table {
    uint32_t abi; /* ENGINE_ABI */
    const char *name;
    uint32_t default_batch_tokens; /* the largest batch where nobody names one: rates are flat from
                                      about here on, and more only makes others wait */
    /* It runs on every machine, in float32 and bfloat16: it is taken where no other engine works,
     * and takes over from one that broke. True for one built-in engine. */
    bool last_resort;
    /* Whether this machine can run it. Returns 0, or -1 with the reason. */
    int (*probe)(struct error *error);
    /* Packs the model's weights and starts the threads. The model's tensors may be dropped after;
     * config and tokenizer must outlive the engine. probe() and open() are called with all signals
     * blocked, because threads inherit the mask and the daemon's loop handles the signals. Returns
     * 0, or -1 with *engine NULL. */
    int (*open)(struct engine **engine, const struct model *model,
                const struct engine_options *options, struct error *error);
    const struct engine_info *(*info)(const struct engine *engine);
    /* Queues a batch, which the engine owns until it is reaped; at most info->depth are unreaped.
     * Never fails: a failure to run the batch is reported in its items' status. The caller reaps
     * right after, because an engine may run a batch within submit(). */
    void (*submit)(struct engine *engine, struct engine_batch *batch);
    /* An eventfd, readable when a batch is done that was not done when submit() returned. */
    int (*completion_fd)(const struct engine *engine);
    /* The next finished batch in order of submission, or NULL; clears the descriptor. */
    struct engine_batch *(*reap)(struct engine *engine);
    /* NULL, or why the engine can run nothing any more: further batches fail, and the daemon opens
     * another engine. May change after any reap(). The text lives as long as the engine. */
    const char *(*broken)(const struct engine *engine);
    /* Finishes what is queued, ends the threads. Safe on NULL. */
    void (*close)(struct engine *engine);
};

/* Why a batch breaks the rules above, which is a mistake of its submitter, or NULL. */
const char *engine_batch_fault(const struct engine_batch *batch, const struct model_config *config,
                               uint32_t max_tokens);

/* Fails `count` items from `first` on, with the reason `why`. */
void engine_items_fail(struct engine_batch *batch, uint32_t first, uint32_t count, const char *why);

/* Writes order[count], the indices of the items by length, the longest first, so that all threads
 * end their share of attention at about the same time. starts[longest + 1] is scratch memory. */
void engine_items_order(const struct engine_item *items, uint32_t count, uint32_t longest,
                        uint32_t *starts, uint32_t *order);

#endif

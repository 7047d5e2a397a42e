/* SPDX-License-Identifier: Apache-2.0
 *
 * One record on its way through the daemon: taken from a client (copied, checked, tokenised),
 * queued, in a batch, published. It owns nothing of the client but, for rings, a reserved place.
 */
#ifndef ESM1NV_RECORD_H
#define ESM1NV_RECORD_H

#include "daemon/model/model.h"
#include "daemon/serve/sched.h"
#include "ipc/ring.h"

#include <stddef.h>
#include <stdint.h>

struct session;

struct record {
    struct sched_record sched; /* first: the scheduler's record is this record */
    struct record *next_reply;
    struct session *session;
    uint64_t tag;
    struct token_span span;
    enum record_status status;
    uint32_t rows;
    size_t bytes;                 /* of its rows */
    void *data;                   /* where they go: own memory, or behind the completion */
    struct ring_completion *slot; /* reserved in the session's ring, or NULL */
    uint64_t end;                 /* index to publish with it */
    uint16_t ids[];
};

/* Copies `length` residues, which a client may be changing, and tokenises the copy. Returns 0,
 * -EPROTO when they are none of the model's or too many or none, -ENOMEM. */
int record_create(struct record **record, const struct model *model, uint64_t tag,
                  const uint8_t *residues, size_t length);

/* Memory of its own for the rows. Returns 0 or -ENOMEM. */
int record_allocate_rows(struct record *record);

/* Safe on NULL. */
void record_destroy(struct record *record);

#endif

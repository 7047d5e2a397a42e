/* SPDX-License-Identifier: Apache-2.0
 *
 * One record on its way through the daemon: taken from a client (copied, checked, tokenised),
 * queued, in a batch, published. It owns nothing of the client but, for rings, a reserved place.
 */
#ifndef ESM1NV_RECORD_H
#define ESM1NV_RECORD_H

#include "daemon/model/model.h"
#include "daemon/serve/charge.h"
#include "daemon/serve/sched.h"
#include "ipc/ring.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct session;

struct record {
    struct sched_record sched;
    STAILQ_ENTRY(record) reply_link; /* in session->replies */
    struct session *session;
    uint64_t tag;
    struct token_span span;
    enum record_status status;
    uint32_t rows;
    size_t bytes;                 /* of its rows */
    void *data;                   /* where they go: own memory, or behind the completion */
    struct ring_completion *slot; /* reserved in the session's ring, or NULL */
    uint64_t end;                 /* index to publish with it */
    struct charge queued;         /* its residues, of session and user, until it is finished */
    struct charge memory;         /* rows of its own, of the user */
    struct charge unanswered;     /* one submission by message, of the session */
    uint16_t ids[];
};

STAILQ_HEAD(record_list, record);

/* Gives back all that it is charged for. Safe on NULL. */
void record_destroy(struct record *record);

#endif

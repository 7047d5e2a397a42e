/* SPDX-License-Identifier: Apache-2.0
 *
 * One record on its way through the daemon: admitted (copied, checked, tokenised, charged), queued,
 * computed in a batch, published. Its rows go to memory of its own when it came by message, and to
 * a reserved place in the completion ring when it came through a ring.
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
    size_t bytes;                       /* of its rows */
    void *data;                         /* where the rows go */
    struct ring_completion *completion; /* reserved, with the rows behind it; NULL: own memory */
    uint64_t end;                       /* ring index to publish once it is complete */
    struct charge queued;     /* its residues, of session and user, until it is computed */
    struct charge memory;     /* bytes of its own memory, of the user */
    struct charge unanswered; /* one submission by message, of the session */
    uint16_t ids[];
};

STAILQ_HEAD(record_list, record);

/* Makes a record of what a session submitted. Copies the residues first, since the client may be
 * changing them, then checks and tokenises the copy. Takes no charges. Returns 0, -EPROTO when
 * there are no residues, too many, or some outside the model's alphabet, or -ENOMEM. */
int record_create(struct record **record, struct session *session, uint64_t tag,
                  const uint8_t *residues, size_t length);

/* Gives back all that it is charged for. Safe on NULL. */
void record_destroy(struct record *record);

#endif

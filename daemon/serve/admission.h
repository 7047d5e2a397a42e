/* SPDX-License-Identifier: Apache-2.0
 *
 * The way in: makes records of what clients submit, by message or through a ring, charges them, and
 * hands them to the scheduler.
 */
#ifndef ESM1NV_ADMISSION_H
#define ESM1NV_ADMISSION_H

#include "daemon/serve/session.h"

/* Admits one submission by message, or ends the session. */
void admission_take_message(struct session *session, uint64_t tag, const uint8_t *residues,
                            size_t length);

/* Admits what the client has submitted through its ring, up to a quantum of records, as far as
 * there is room for their results and in the user's share of the queue. A session that may have
 * submitted more stands in service->ready then. */
void admission_take_ring(struct session *session);

/* Calls admission_take_ring() for every session that stands in service->ready. */
void admission_take_ready(struct service *service);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The way out: every computed record ends here, and its result goes to the client by message or
 * through the ring, in the order of the session's submissions.
 */
#ifndef ESM1NV_PUBLISHING_H
#define ESM1NV_PUBLISHING_H

#include "daemon/serve/session.h"

/* Takes over a record whose status is set, and prepares its result. Nothing is sent yet. */
void publishing_end_record(struct record *record);

/* Sends, or publishes in the rings, the results of all sessions in service->finished. */
void publishing_publish_all(struct service *service);

/* Sends the session's replies, as far as the client's socket has room. */
void publishing_send_replies(struct session *session);

/* How many submissions by message may be unanswered; 0 for sessions whose rows do not fit a
 * message, which must use a ring. */
unsigned publishing_one_shot_limit(const struct session *session);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The way out: every record ends here, and its session is told by message or through its ring.
 * Results of a session go out in the order of its submissions.
 */
#ifndef ESM1NV_PUBLISHING_H
#define ESM1NV_PUBLISHING_H

#include "daemon/serve/session.h"

/* Ends a record, whose status is set; it is not the caller's any more. Nothing is sent yet. */
void publishing_finish(struct record *record);

/* Sends or shows what all sessions have finished. */
void publishing_publish(struct service *service);

/* Sends the replies that wait, as far as the client's socket has room. */
void publishing_send_replies(struct session *session);

/* Submissions by message that may be unanswered; 0 when a row and its frame do not fit one. */
unsigned publishing_one_shot_limit(const struct session *session);

#endif

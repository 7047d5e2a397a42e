/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages that the daemon sends, encoded into a caller's buffer of WIRE_MESSAGE_MAX bytes.
 * Each returns the size, or -EMSGSIZE.
 */
#ifndef ESM1NV_REPLY_H
#define ESM1NV_REPLY_H

#include "daemon/serve/session.h"

/* Submissions by message that may be unanswered; 0 when a row and its frame do not fit one. */
unsigned reply_one_shot_limit(const struct session *session);

long reply_welcome(char *buffer, const struct session *session);
long reply_refused(char *buffer, enum wire_refusal code, bool retry, const char *text);
long reply_result(char *buffer, const struct record *record);
long reply_stopping(char *buffer);

/* Sends REFUSED on a connected socket, without blocking and without minding a failure. */
void reply_refuse(int fd, enum wire_refusal code, bool retry, const char *text);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What clients say: each message of wire.h that a daemon receives, and its answer. Whatever is not
 * expected in a session's state ends it; what the client may be told is told first.
 */
#ifndef ESM1NV_PROTOCOL_H
#define ESM1NV_PROTOCOL_H

#include "daemon/loop/loop.h"

/* For the sockets of sessions; the context is the session. See session_accept(). */
extern const struct loop_callbacks protocol_callbacks;

#endif

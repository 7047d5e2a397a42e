/* SPDX-License-Identifier: Apache-2.0
 *
 * Handles the messages of wire.h that clients send, and answers them. A client that breaks the
 * rules is dropped without a word; one that cannot be served is refused with a reason.
 */
#ifndef ESM1NV_PROTOCOL_H
#define ESM1NV_PROTOCOL_H

#include "daemon/loop/loop.h"

/* For session_accept(); their context is the session. */
extern const struct loop_callbacks protocol_callbacks;

#endif

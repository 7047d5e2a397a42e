/* SPDX-License-Identifier: Apache-2.0
 *
 * The polite end of a connection: REFUSED, with a reason for people.
 */
#ifndef ESM1NV_REFUSAL_H
#define ESM1NV_REFUSAL_H

#include "ipc/wire.h"

#include <stdbool.h>

/* Sends REFUSED on a connected socket. Never blocks; a failure is only logged. */
void refusal_send(int fd, enum wire_refusal code, bool retry, const char *text);

#endif

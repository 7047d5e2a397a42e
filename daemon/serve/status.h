/* SPDX-License-Identifier: Apache-2.0
 *
 * What the daemon reports about itself: the STATUS message, and the text of --check.
 */
#ifndef ESM1NV_STATUS_H
#define ESM1NV_STATUS_H

#include "daemon/engine/engine.h"
#include "daemon/serve/service.h"

#include <stdio.h>

/* Encodes STATUS into a buffer of WIRE_MESSAGE_MAX bytes; returns its size or -EMSGSIZE. */
long status_reply(char *buffer, const struct service *service);

/* Prints one "key: value" a line. Returns 0, or -1 when the stream has an error. */
int status_print_check(FILE *stream, const struct model *model, const struct engine_info *engine);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The way in: makes records of what clients submit, by message or through a ring, charges them, and
 * hands them to the scheduler.
 */
#ifndef ESM1NV_ADMISSION_H
#define ESM1NV_ADMISSION_H

#include "daemon/serve/session.h"

/* Takes one submission by message, or ends the session. */
void admission_take_message(struct session *session, uint64_t tag, const uint8_t *residues,
                            size_t length);

/* Takes up to a quantum of what the client has submitted through its ring, as far as there is room
 * for the results and in the user's share; where there may be more, the session stands ready. */
void admission_pump(struct session *session);

/* The same for every session that stands ready. */
void admission_pump_ready(struct service *service);

#endif

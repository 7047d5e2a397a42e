/* SPDX-License-Identifier: Apache-2.0
 *
 * The REFUSED message, for everybody who turns a client away: listener, server and session.
 */
#include "daemon/serve/refusal.h"
#include "daemon/base/log.h"
#include "ipc/channel.h"
#include "ipc/message.h"

void refusal_send(int fd, enum wire_refusal code, bool retry, const char *text) {
    char buffer[WIRE_MESSAGE_MAX];
    struct message_writer writer;
    message_begin(&writer, buffer, sizeof buffer, WIRE_REFUSED);
    message_put_number(&writer, WIRE_CODE, code);
    message_put_text(&writer, WIRE_TEXT, text);
    message_put_number(&writer, WIRE_RETRY, retry);
    long size = message_end(&writer);
    if (size > 0 && channel_send(fd, buffer, (size_t)size, -1, true) != 0)
        log_debug("a refusal could not be sent: %s", text);
}

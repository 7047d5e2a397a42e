/* SPDX-License-Identifier: Apache-2.0
 *
 * The protocol's state machine, with one function per message kind. A message that is not expected
 * in the session's state ends the session.
 */
#include "daemon/serve/protocol.h"
#include "daemon/base/log.h"
#include "daemon/serve/admission.h"
#include "daemon/serve/publishing.h"
#include "daemon/serve/status.h"
#include "ipc/channel.h"
#include "ipc/message.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* Sends an answer. A socket without room for it is one that the client does not read. */
static void session_answer(struct session *session, const char *message, long size) {
    int result = session_send(session, message, size);
    if (result != 0)
        session_drop(session, result == CHANNEL_FULL ? "it does not read" : strerror(-result));
}

static bool same_protocol(struct session *session, const struct message *message) {
    unsigned version = (unsigned)message->value[WIRE_PROTOCOL_VERSION].number;
    if (version == WIRE_PROTOCOL)
        return true;
    session_refuse(session, WIRE_REFUSED_PROTOCOL, false,
                   "esm1nvd %s speaks protocol %u, the client %u: use the same release",
                   ESM1NV_VERSION, WIRE_PROTOCOL, version);
    return false;
}

/* --- HELLO ------------------------------------------------------------------------------------ */

static bool is_welcoming(struct session *session) {
    const struct service *service = session->service;
    if (service->draining)
        session_refuse(session, WIRE_REFUSED_DRAINING, true, "the daemon is about to leave");
    else if (service->generation->broken)
        session_refuse(session, WIRE_REFUSED_BUSY, true,
                       "busy: an engine broke, another one is being opened");
    else
        return true;
    return false;
}

static bool same_model(struct session *session, const struct message *message) {
    const struct model *model = session->service->generation->model;
    const struct message_value *expected = &message->value[WIRE_EXPECT];
    if (!message_has(message, WIRE_EXPECT) ||
        strncmp(model->digest, expected->bytes, expected->length) == 0)
        return true;
    session_refuse(session, WIRE_REFUSED_MODEL, false,
                   "the daemon serves %s with model digest %s, not the one expected", model->name,
                   model->digest);
    return false;
}

/* Charges the welcomed client, or refuses it. */
static bool charge_client(struct session *session) {
    struct account *all = &session->service->clients, *users = &session->user->clients;
    if (charge_take(&session->client, 1, all, users))
        return true;
    if (all->held >= all->limit)
        session_refuse(session, WIRE_REFUSED_BUSY, true,
                       "busy: %" PRIu64 " clients are connected, the most allowed", all->limit);
    else
        session_refuse(session, WIRE_REFUSED_BUSY, true,
                       "busy: your user has %" PRIu64 " clients connected, the most allowed",
                       users->limit);
    return false;
}

/* The session keeps the generation that is current now. */
static void session_welcome(struct session *session, const struct message *hello) {
    struct service *service = session->service;
    session->pooling = (enum pooling)hello->value[WIRE_POOLING].number;
    session->dtype = (enum dtype)hello->value[WIRE_DTYPE].number;
    session->generation = service->generation;
    session->generation->sessions++;
    session->sched.engine = &session->generation->sched;
    session->unanswered.limit = publishing_one_shot_limit(session);
    session->state = SESSION_MESSAGES;
    service->total.clients++;
    channel_take_descriptors(session->fd, true); /* a ring may come from now on */
}

static long encode_welcome(char *buffer, const struct session *session) {
    const struct engine_info *engine = session->generation->info;
    const struct model *model = session->generation->model;
    struct message_writer writer;
    message_begin(&writer, buffer, WIRE_MESSAGE_MAX, WIRE_WELCOME);
    message_put_text(&writer, WIRE_DIGEST, model->digest);
    message_put_text(&writer, WIRE_PRECISION, engine->precision);
    message_put_text(&writer, WIRE_BACKEND, engine->backend);
    message_put_text(&writer, WIRE_MODEL, model->name);
    message_put_number(&writer, WIRE_SYNTHETIC, model->synthetic);
    message_put_number(&writer, WIRE_HIDDEN, model->config.hidden);
    message_put_number(&writer, WIRE_POSITIONS, model->config.positions);
    message_put_bytes(&writer, WIRE_ALPHABET, model->tokenizer.alphabet, WIRE_ALPHABET_BYTES);
    message_put_number(&writer, WIRE_RING_MAX, session->service->limits.ring_size);
    message_put_number(&writer, WIRE_ONE_SHOT_LIMIT, session->unanswered.limit);
    return message_end(&writer);
}

static void on_hello(struct session *session, const struct message *message) {
    char buffer[WIRE_MESSAGE_MAX], program[65];
    if (!same_protocol(session, message) || !is_welcoming(session) ||
        !same_model(session, message) || !charge_client(session))
        return;
    session_welcome(session, message);
    message_copy_text(message, WIRE_PROGRAM, program, sizeof program);
    log_debug("client %d of user %u: welcomed (%s)", (int)session->pid,
              (unsigned)session->user->uid, program);
    session_answer(session, buffer, encode_welcome(buffer, session));
}

/* --- RING ------------------------------------------------------------------------------------- */

/* The largest record must fit half of the ring, so that two of them fit all of it. */
static bool ring_holds_largest(const struct session *session, uint32_t completion_size) {
    const struct model_config *config = &session->generation->model->config;
    size_t rows = session->pooling == POOLING_NONE ? config->positions : 1;
    return sizeof(struct ring_completion) + rows * config->hidden * dtype_size(session->dtype) <=
           completion_size / 2;
}

/* Charges the ring, or refuses it. */
static bool charge_ring(struct session *session, uint32_t submission_size,
                        uint32_t completion_size) {
    uint64_t bytes = ring_bytes(submission_size, completion_size);
    uint64_t largest = session->service->limits.ring_size;
    struct account *users = &session->user->pinned;
    if (bytes > largest)
        session_refuse(session, WIRE_REFUSED_LIMIT, false,
                       "a ring of %" PRIu64 " bytes; the largest allowed here has %" PRIu64, bytes,
                       largest);
    else if (!ring_holds_largest(session, completion_size))
        session_refuse(session, WIRE_REFUSED_LIMIT, false,
                       "a ring that does not hold two of the model's largest records");
    else if (!charge_take(&session->pinned, bytes, &session->service->pinned, users))
        session_refuse(session, WIRE_REFUSED_BUSY, true,
                       "busy: the rings of your user would pin more than the %" PRIu64
                       " bytes allowed",
                       users->limit);
    else
        return true;
    return false;
}

/* Sets *fd to -1 when it has closed it. */
static void on_ring(struct session *session, const struct message *message, int *fd) {
    uint32_t submission_size = (uint32_t)message->value[WIRE_SUBMISSION_SIZE].number;
    uint32_t completion_size = (uint32_t)message->value[WIRE_COMPLETION_SIZE].number;
    if (!charge_ring(session, submission_size, completion_size))
        return;
    int result = ring_attach(&session->map, *fd, submission_size, completion_size);
    if (result < 0) {
        session_fail(session, result, "a ring that is not a sealed memfd of the size it says");
        return;
    }
    close(*fd); /* not by the closer: closing a memfd cannot block */
    *fd = -1;
    ring_submission_consumer(&session->submissions, &session->map);
    ring_completion_producer(&session->completions, &session->map);
    session->state = SESSION_RING;
    channel_take_descriptors(session->fd, false);
    admission_take_ring(session);
}

/* --- Other messages --------------------------------------------------------------------------- */

static void on_submit(struct session *session, const struct message *message) {
    const struct message_value *sequence = &message->value[WIRE_SEQUENCE];
    admission_take_message(session, message->value[WIRE_TAG].number,
                           (const uint8_t *)sequence->bytes, sequence->length);
}

static void on_status_query(struct session *session, const struct message *message) {
    char buffer[WIRE_MESSAGE_MAX];
    if (!same_protocol(session, message))
        return;
    session->state = SESSION_ANSWERED;
    session_answer(session, buffer, status_reply(buffer, session->service));
}

/* The connection stays open until the daemon has ended, which is how the client sees that. */
static void on_stop(struct session *session, const struct message *message) {
    char buffer[WIRE_MESSAGE_MAX];
    uid_t uid = session->user->uid;
    if (!same_protocol(session, message))
        return;
    if (uid != 0 && uid != geteuid()) {
        session_refuse(session, WIRE_REFUSED_DENIED, false,
                       "only the daemon's own user and root may stop it");
        return;
    }
    session->state = SESSION_ANSWERED;
    session->service->stop = true;
    struct message_writer writer;
    message_begin(&writer, buffer, sizeof buffer, WIRE_STOPPING);
    session_answer(session, buffer, message_end(&writer));
}

static void protocol_dispatch(struct session *session, const struct message *message, int *fds,
                              unsigned fd_count) {
    bool connected = session->state == SESSION_CONNECTED;
    bool welcomed = session->state == SESSION_MESSAGES;
    if (message->kind == WIRE_HELLO && connected && fd_count == 0)
        on_hello(session, message);
    else if (message->kind == WIRE_STATUS_QUERY && connected && fd_count == 0)
        on_status_query(session, message);
    else if (message->kind == WIRE_STOP && connected && fd_count == 0)
        on_stop(session, message);
    else if (message->kind == WIRE_SUBMIT && welcomed && fd_count == 0)
        on_submit(session, message);
    else if (message->kind == WIRE_RING && welcomed && fd_count == 1)
        on_ring(session, message, &fds[0]);
    else
        session_drop(session, "a message out of order");
}

static void protocol_on_message(void *context, const struct loop_message *received) {
    struct session *session = context;
    struct message message;
    if (!received)
        session_drop(session, "gone");
    else if (received->truncated)
        session_drop(session, "a truncated message");
    else if (received->size == 1 && received->data[0] == WIRE_BELL &&
             session->state == SESSION_RING && received->fd_count == 0)
        admission_take_ring(session);
    else if (message_decode(&message, received->data, received->size) < 0)
        session_drop(session, "a malformed message");
    else
        protocol_dispatch(session, &message, received->fds, received->fd_count);
}

static void protocol_on_writable(void *context) {
    publishing_send_replies(context);
}

const struct loop_callbacks protocol_callbacks = {
    .message = protocol_on_message,
    .writable = protocol_on_writable,
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * The beginning and end of a session. A session begins with the caller's options, which go to the
 * daemon as HELLO; everything in the daemon's WELCOME is checked before any of it is used.
 */
#include "client/library/session.h"

#include "ipc/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM_MAX 64 /* what a daemon accepts */

static esm1nv_session *session_allocate(void) {
    esm1nv_session *session = aligned_alloc(_Alignof(esm1nv_session), sizeof *session);
    if (!session)
        return NULL;
    memset(session, 0, sizeof *session);
    session->fd = -1;
    session->info.socket = session->socket;
    session->info.digest = session->digest;
    session->info.model = session->model;
    session->info.backend = session->backend;
    session->info.precision = session->precision;
    return session;
}

void esm1nv_close(esm1nv_session *session) {
    if (!session)
        return;
    ring_detach(&session->map);
    if (session->fd >= 0)
        close(session->fd);
    free(session->awaited.items.slots);
    free(session->exchange);
    free(session);
}

static bool digest_prefix_valid(const char *prefix) {
    size_t length = strspn(prefix, "0123456789abcdef");
    return length > 0 && length <= WIRE_DIGEST_CHARS && !prefix[length];
}

/* Copies the options that this library knows. A caller built for a newer library may have more, as
 * long as the ones that are not known here are zero. */
static int options_read(struct esm1nv_options *known, const struct esm1nv_options *given,
                        struct failure *failure) {
    *known = (struct esm1nv_options)ESM1NV_OPTIONS_INIT;
    if (!given)
        return ESM1NV_OK;
    if (given->size < sizeof given->size)
        return failure_set(failure, ESM1NV_ERROR_ARGUMENT,
                           "options: size is %zu; set it to sizeof(struct esm1nv_options)",
                           given->size);
    for (size_t i = sizeof *known; i < given->size; i++)
        if (((const char *)given)[i])
            return failure_set(failure, ESM1NV_ERROR_ARGUMENT,
                               "options: a field is set that libesm1nv %s does not know",
                               ESM1NV_VERSION);
    memcpy(known, given, given->size < sizeof *known ? given->size : sizeof *known);
    if ((unsigned)known->pooling > ESM1NV_POOL_BOS)
        return failure_set(failure, ESM1NV_ERROR_ARGUMENT, "options: no pooling %d",
                           (int)known->pooling);
    if ((unsigned)known->dtype > ESM1NV_F16)
        return failure_set(failure, ESM1NV_ERROR_ARGUMENT, "options: no dtype %d",
                           (int)known->dtype);
    if (known->expect_digest && !digest_prefix_valid(known->expect_digest))
        return failure_set(failure, ESM1NV_ERROR_ARGUMENT,
                           "options: the expected digest is not 1 to 64 lower-case hex digits");
    return ESM1NV_OK;
}

static int send_hello(esm1nv_session *session, const struct esm1nv_options *options) {
    const char *name = options->program ? options->program : "libesm1nv " ESM1NV_VERSION;
    char program[PROGRAM_MAX + 1] = "", buffer[NOTICE_MAX];
    struct message_writer writer;
    memcpy(program, name, strnlen(name, PROGRAM_MAX));
    message_begin(&writer, buffer, sizeof buffer, WIRE_HELLO);
    message_put_number(&writer, WIRE_PROTOCOL_VERSION, WIRE_PROTOCOL);
    message_put_text(&writer, WIRE_PROGRAM, program);
    message_put_number(&writer, WIRE_POOLING, options->pooling);
    message_put_number(&writer, WIRE_DTYPE, options->dtype);
    if (options->expect_digest)
        message_put_text(&writer, WIRE_EXPECT, options->expect_digest);
    long size = message_end(&writer);
    int result = channel_send(session->fd, buffer, (size_t)size, -1, false);
    /* A daemon that is full says so and closes without reading; its answer then says more than the
     * failed send. */
    if (result < 0 && result != -EPIPE && result != -ECONNRESET)
        return failure_set(&session->error, ESM1NV_ERROR_SYSTEM, "cannot send to %s: %s",
                           session->socket, strerror(-result));
    return ESM1NV_OK;
}

static void learn_alphabet(esm1nv_session *session, const uint8_t alphabet[WIRE_ALPHABET_BYTES]) {
    memcpy(session->info.alphabet, alphabet, WIRE_ALPHABET_BYTES);
    for (unsigned byte = 0; byte < 256; byte++)
        session->unknown[byte] = !(alphabet[byte / 8] >> byte % 8 & 1);
    session->unknown[WIRE_RESIDUE_UNKNOWN] = false;
}

/* message_decode() has checked types, sizes and ranges; this checks what they mean together. */
static int read_welcome(esm1nv_session *session, const struct message *welcome) {
    struct esm1nv_info *info = &session->info;
    message_copy_text(welcome, WIRE_DIGEST, session->digest, sizeof session->digest);
    message_copy_text(welcome, WIRE_MODEL, session->model, sizeof session->model);
    message_copy_text(welcome, WIRE_BACKEND, session->backend, sizeof session->backend);
    message_copy_text(welcome, WIRE_PRECISION, session->precision, sizeof session->precision);
    info->synthetic = (int)welcome->value[WIRE_SYNTHETIC].number;
    info->hidden = (uint32_t)welcome->value[WIRE_HIDDEN].number;
    info->positions = (uint32_t)welcome->value[WIRE_POSITIONS].number;
    learn_alphabet(session, (const uint8_t *)welcome->value[WIRE_ALPHABET].bytes);
    session->ring_max = welcome->value[WIRE_RING_MAX].number;
    session->one_shot_max = (uint32_t)welcome->value[WIRE_ONE_SHOT_LIMIT].number;
    session->row_bytes = info->hidden * (uint32_t)dtype_size((enum dtype)session->dtype);

    static const uint8_t no_letter[WIRE_ALPHABET_BYTES];
    if (!digest_prefix_valid(session->digest) || (info->alphabet[0] & 1) ||
        memcmp(info->alphabet, no_letter, sizeof no_letter) == 0)
        return failure_set(&session->error, ESM1NV_ERROR_PROTOCOL,
                           "the daemon at %s sent an impossible digest or alphabet",
                           session->socket);
    if (strncmp(session->digest, session->expected, strlen(session->expected)) != 0)
        return failure_set(&session->error, ESM1NV_ERROR_MODEL,
                           "the daemon at %s serves model %s (digest %.16s...), not the expected "
                           "digest %s",
                           session->socket, session->model, session->digest, session->expected);
    return ESM1NV_OK;
}

/* The library waits in blocking calls; where it must not wait it says so call by call. */
static int make_blocking(int fd, struct failure *failure) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_NONBLOCK && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0))
        return failure_set(failure, ESM1NV_ERROR_SYSTEM, "descriptor %d: %s", fd, strerror(errno));
    return ESM1NV_OK;
}

/* Makes the socket that the caller has connected ready, or connects to one. */
static int session_open(esm1nv_session *session, bool connected, const char *socket) {
    if (connected) {
        snprintf(session->socket, sizeof session->socket, "%s", socket ? socket : "a given socket");
        return make_blocking(session->fd, &session->error);
    }
    session->fd = locate_daemon(socket, session->socket, &session->error);
    return session->fd < 0 ? session->error.code : ESM1NV_OK;
}

/* Begins a session up to its HELLO. Unless `connected`, fd is -1 and a daemon is looked for. */
static int session_begin(esm1nv_session **opened, bool connected, int fd,
                         const struct esm1nv_options *given) {
    esm1nv_session *session = *opened = session_allocate();
    if (!session) {
        if (connected)
            close(fd);
        return ESM1NV_ERROR_MEMORY;
    }
    session->fd = fd;
    struct esm1nv_options options;
    int result = options_read(&options, given, &session->error);
    if (result == ESM1NV_OK)
        result = session_open(session, connected, options.socket);
    if (result == ESM1NV_OK) {
        session->pooling = options.pooling;
        session->dtype = options.dtype;
        if (options.expect_digest)
            memcpy(session->expected, options.expect_digest, strlen(options.expect_digest));
        result = send_hello(session, &options);
    }
    session->dead = result != ESM1NV_OK;
    return result;
}

int esm1nv_connect_begin(esm1nv_session **session, const struct esm1nv_options *options) {
    return session_begin(session, false, -1, options);
}

int esm1nv_connect_complete(esm1nv_session *session) {
    if (session->dead)
        return session->error.code;
    char buffer[NOTICE_MAX];
    struct message welcome;
    int result = receive_answer(session->fd, session->socket, buffer, sizeof buffer, WIRE_WELCOME,
                                &welcome, &session->error);
    if (result == ESM1NV_OK)
        result = read_welcome(session, &welcome);
    session->dead = result != ESM1NV_OK;
    return result;
}

int esm1nv_connect(esm1nv_session **session, const struct esm1nv_options *options) {
    int result = esm1nv_connect_begin(session, options);
    return result == ESM1NV_OK ? esm1nv_connect_complete(*session) : result;
}

int esm1nv_connect_fd(esm1nv_session **session, int fd, const struct esm1nv_options *options) {
    int result = session_begin(session, true, fd, options);
    return result == ESM1NV_OK ? esm1nv_connect_complete(*session) : result;
}

const struct esm1nv_info *esm1nv_info(const esm1nv_session *session) {
    return &session->info;
}

int esm1nv_fd(const esm1nv_session *session) {
    return session->fd;
}

const char *esm1nv_error_text(const esm1nv_session *session) {
    return session ? session->error.text : "out of memory";
}

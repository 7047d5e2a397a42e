/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known about the running daemon and the loaded model, as a message and as text.
 */
#include "daemon/serve/status.h"
#include "daemon/base/clock.h"
#include "daemon/serve/session.h"
#include "ipc/message.h"

#include <inttypes.h>
#include <unistd.h>

static void put_counters(struct message_writer *writer, const struct service *service) {
    const struct service_counters *total = &service->total;
    message_put_number(writer, WIRE_CLIENTS, service->clients.held);
    message_put_number(writer, WIRE_CLIENTS_TOTAL, total->clients);
    message_put_number(writer, WIRE_RECORDS, total->records);
    message_put_number(writer, WIRE_RECORDS_FAILED, total->records_failed);
    message_put_number(writer, WIRE_RESIDUES, total->residues);
    message_put_number(writer, WIRE_BATCHES, total->batches);
    message_put_number(writer, WIRE_QUEUED_RESIDUES, service->sched.waiting_residues);
    message_put_number(writer, WIRE_PINNED_BYTES, service->pinned.held);
}

/* How many clients keep an older generation. */
static unsigned clients_before(const struct service *service) {
    const struct session *session;
    unsigned count = 0;
    TAILQ_FOREACH (session, &service->sessions, link)
        count += session->generation && session->generation != service->generation;
    return count;
}

static bool has_device(const struct engine_info *engine) {
    return engine->device && engine->device[0];
}

long status_reply(char *buffer, const struct service *service) {
    const struct engine_info *engine = service->generation->info;
    const struct model *model = service->generation->model;
    struct message_writer writer;
    message_begin(&writer, buffer, WIRE_MESSAGE_MAX, WIRE_STATUS);
    message_put_text(&writer, WIRE_VERSION, ESM1NV_VERSION);
    message_put_number(&writer, WIRE_PID, (uint64_t)getpid());
    message_put_number(&writer, WIRE_UPTIME, (uint64_t)(clock_seconds() - service->started));
    message_put_text(&writer, WIRE_LOOP, loop_name(service->loop));
    message_put_text(&writer, WIRE_MODEL, model->name);
    message_put_text(&writer, WIRE_DIGEST, model->digest);
    message_put_number(&writer, WIRE_SYNTHETIC, model->synthetic);
    message_put_text(&writer, WIRE_BACKEND, engine->backend);
    message_put_text(&writer, WIRE_PRECISION, engine->precision);
    message_put_text(&writer, WIRE_INSTRUCTIONS, engine->instructions);
    message_put_number(&writer, WIRE_THREADS, engine->threads);
    message_put_number(&writer, WIRE_HIDDEN, model->config.hidden);
    message_put_number(&writer, WIRE_POSITIONS, model->config.positions);
    message_put_number(&writer, WIRE_PARAMETERS, model->parameters);
    put_counters(&writer, service);
    if (has_device(engine))
        message_put_text(&writer, WIRE_DEVICE, engine->device);
    message_put_number(&writer, WIRE_GENERATION, service->generation->number);
    message_put_number(&writer, WIRE_CLIENTS_BEFORE, clients_before(service));
    message_put_text(&writer, WIRE_NOTE, service->note);
    return message_end(&writer);
}

static void print_tokenizer(FILE *stream, const struct tokenizer *tokenizer) {
    char letters[257];
    unsigned count = 0;
    for (unsigned byte = 0; byte < 256; byte++)
        if ((tokenizer->alphabet[byte / 8] >> (byte % 8)) & 1)
            letters[count++] = byte > ' ' && byte < 0x7f ? (char)byte : '?';
    letters[count] = '\0';
    fprintf(stream, "tokenizer: %" PRIu32 " pieces, %u letters %s\n", tokenizer->pieces, count,
            letters);
}

int status_print_check(FILE *stream, const struct model *model, const struct engine_info *engine) {
    const struct model_config *config = &model->config;
    fprintf(stream, "model: %s\n", model->name);
    fprintf(stream,
            "architecture: %" PRIu32 " layers, hidden %" PRIu32 ", %" PRIu32 " heads, ffn %" PRIu32
            ", %" PRIu32 " positions, vocabulary %" PRIu32 ", gelu %s\n",
            config->layers, config->hidden, config->heads, config->ffn, config->positions,
            config->vocabulary, config->gelu == GELU_TANH ? "tanh" : "erf");
    fprintf(stream, "parameters: %" PRIu64 "\n", model->parameters);
    fprintf(stream, "weights type: %s\n", model->weights_type);
    fprintf(stream, "precision: %s\n", engine->precision);
    fprintf(stream, "backend: %s\n", engine->backend);
    fprintf(stream, "instructions: %s\n", engine->instructions);
    fprintf(stream, "threads: %u\n", engine->threads);
    print_tokenizer(stream, &model->tokenizer);
    fprintf(stream, "weights sha256: %s\n", model->weights_sha256);
    fprintf(stream, "model digest: %s\n", model->digest);
    fprintf(stream, "memory: %" PRIu64 " bytes\n", engine->weight_bytes);
    if (has_device(engine)) {
        fprintf(stream, "device: %s\n", engine->device);
        fprintf(stream, "device memory: at most %" PRIu64 " bytes on each\n", engine->device_bytes);
    }
    return fflush(stream) == 0 && !ferror(stream) ? 0 : -1;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of messages. Each is one row, from which enum wire_key (wire.h), the checks of the codec
 * (message.c), the facts of esm1nv_status() and the output of --metrics are made.
 *
 *     ROW(key, number, type, least, most)             keys of the other messages
 *     ROW(key, number, type, least, most, name, ...)  keys of a STATUS, in the order of --status
 *
 * number: part of the wire format, so it never changes, wherever the row stands; a new key takes
 * the next one. least, most: limits of the number, or of the length of the text or bytes. name:
 * what people see, in snake_case.
 * ...: the fields of a metric (client/filter/metrics.c). .kind is METRIC_NONE, METRIC_GAUGE,
 *     METRIC_COUNTER, or, for a text, METRIC_LABEL. A gauge or counter has .help; it may have
 * .unit, with which its name must end, and another .name than the fact's.
 *
 * A new status figure is a row here and a line in daemon/serve/status.c, which fills it.
 */
#ifndef ESM1NV_KEYS_H
#define ESM1NV_KEYS_H

#define WIRE_SESSION_ROWS(ROW)                                                                     \
    /* enum wire_kind; comes first in every message */                                             \
    ROW(WIRE_KIND, 0, VALUE_NUMBER, WIRE_HELLO, WIRE_STOPPING)                                     \
    ROW(WIRE_PROTOCOL_VERSION, 1, VALUE_NUMBER, 0, UINT32_MAX)                                     \
    /* name and version of the client */                                                           \
    ROW(WIRE_PROGRAM, 2, VALUE_TEXT, 0, 64)                                                        \
    /* enum pooling and enum dtype; fixed for the session */                                       \
    ROW(WIRE_POOLING, 3, VALUE_NUMBER, POOLING_NONE, POOLING_BOS)                                  \
    ROW(WIRE_DTYPE, 4, VALUE_NUMBER, DTYPE_F32, DTYPE_F16)                                         \
    /* prefix of the model digest that the client insists on */                                    \
    ROW(WIRE_EXPECT, 5, VALUE_TEXT, 1, WIRE_DIGEST_CHARS)                                          \
    ROW(WIRE_ALPHABET, 13, VALUE_BYTES, WIRE_ALPHABET_BYTES, WIRE_ALPHABET_BYTES)                  \
    /* bytes of the largest memfd that is accepted */                                              \
    ROW(WIRE_RING_MAX, 14, VALUE_NUMBER, 0, UINT64_MAX)                                            \
    /* SUBMITs that may be unanswered; 0: only rings are accepted */                               \
    ROW(WIRE_ONE_SHOT_LIMIT, 15, VALUE_NUMBER, 0, WIRE_ONE_SHOT_MAX)                               \
    /* chosen by the client, comes back with the result */                                         \
    ROW(WIRE_TAG, 16, VALUE_NUMBER, 0, UINT64_MAX)                                                 \
    /* residues, at most POSITIONS */                                                              \
    ROW(WIRE_SEQUENCE, 17, VALUE_BYTES, 1, WIRE_POSITIONS_MAX)                                     \
    /* enum record_status */                                                                       \
    ROW(WIRE_RECORD_STATUS, 18, VALUE_NUMBER, RECORD_OK, RECORD_ENGINE)                            \
    /* rows in DATA; 0 unless the status is RECORD_OK */                                           \
    ROW(WIRE_ROWS, 19, VALUE_NUMBER, 0, 1)                                                         \
    /* rows x hidden values of the session's dtype */                                              \
    ROW(WIRE_DATA, 20, VALUE_BYTES, 0, WIRE_MESSAGE_MAX)                                           \
    /* one line for people */                                                                      \
    ROW(WIRE_TEXT, 21, VALUE_TEXT, 0, WIRE_TEXT_MAX)                                               \
    /* enum wire_refusal, and 1 when the same HELLO may succeed later */                           \
    ROW(WIRE_CODE, 22, VALUE_NUMBER, WIRE_REFUSED_PROTOCOL, WIRE_REFUSED_DENIED)                   \
    ROW(WIRE_RETRY, 23, VALUE_NUMBER, 0, 1)                                                        \
    /* bytes of the two rings */                                                                   \
    ROW(WIRE_SUBMISSION_SIZE, 24, VALUE_NUMBER, 1, UINT32_MAX)                                     \
    ROW(WIRE_COMPLETION_SIZE, 25, VALUE_NUMBER, 1, UINT32_MAX)

#define WIRE_STATUS_ROWS(ROW)                                                                      \
    ROW(WIRE_VERSION, 26, VALUE_TEXT, 1, 31, "version", .kind = METRIC_LABEL)                      \
    ROW(WIRE_PID, 27, VALUE_NUMBER, 0, UINT32_MAX, "pid", .kind = METRIC_NONE)                     \
    ROW(WIRE_UPTIME, 28, VALUE_NUMBER, 0, UINT64_MAX, "uptime_seconds", .kind = METRIC_GAUGE,      \
        .unit = "seconds", .help = "Time since the daemon began.")                                 \
    /* the model's name, for people */                                                             \
    ROW(WIRE_MODEL, 9, VALUE_TEXT, 1, 127, "model", .kind = METRIC_LABEL)                          \
    ROW(WIRE_DIGEST, 6, VALUE_TEXT, WIRE_DIGEST_CHARS, WIRE_DIGEST_CHARS, "digest",                \
        .kind = METRIC_LABEL)                                                                      \
    /* 1 when the weights carry no biology */                                                      \
    ROW(WIRE_SYNTHETIC, 10, VALUE_NUMBER, 0, 1, "synthetic", .kind = METRIC_NONE)                  \
    ROW(WIRE_PARAMETERS, 32, VALUE_NUMBER, 0, UINT64_MAX, "parameters", .kind = METRIC_NONE)       \
    /* values in a row */                                                                          \
    ROW(WIRE_HIDDEN, 11, VALUE_NUMBER, 1, UINT16_MAX, "hidden", .kind = METRIC_NONE)               \
    /* most residues in a submission */                                                            \
    ROW(WIRE_POSITIONS, 12, VALUE_NUMBER, 3, WIRE_POSITIONS_MAX, "positions", .kind = METRIC_NONE) \
    /* cpu, cuda or null */                                                                        \
    ROW(WIRE_BACKEND, 8, VALUE_TEXT, 1, 15, "backend", .kind = METRIC_LABEL)                       \
    /* f32, bf16 or f16 */                                                                         \
    ROW(WIRE_PRECISION, 7, VALUE_TEXT, 1, 15, "precision", .kind = METRIC_LABEL)                   \
    /* instruction set that the engine uses */                                                     \
    ROW(WIRE_INSTRUCTIONS, 30, VALUE_TEXT, 1, 31, "instructions", .kind = METRIC_LABEL)            \
    /* name of the GPU; missing where none computes */                                             \
    ROW(WIRE_DEVICE, 41, VALUE_TEXT, 1, 127, "device", .kind = METRIC_LABEL)                       \
    ROW(WIRE_THREADS, 31, VALUE_NUMBER, 0, UINT32_MAX, "threads", .kind = METRIC_GAUGE,            \
        .help = "Threads that compute.")                                                           \
    /* io_uring, or epoll and why */                                                               \
    ROW(WIRE_LOOP, 29, VALUE_TEXT, 1, 127, "loop", .kind = METRIC_LABEL)                           \
    /* a remark on the engine or the last reload, or empty */                                      \
    ROW(WIRE_NOTE, 44, VALUE_TEXT, 0, WIRE_TEXT_MAX, "note", .kind = METRIC_NONE)                  \
    /* counts the models loaded; new clients get the last one */                                   \
    ROW(WIRE_GENERATION, 42, VALUE_NUMBER, 1, UINT32_MAX, "generation", .kind = METRIC_GAUGE,      \
        .help = "Models loaded since the daemon began.")                                           \
    ROW(WIRE_CLIENTS, 33, VALUE_NUMBER, 0, UINT64_MAX, "clients", .kind = METRIC_GAUGE,            \
        .help = "Clients that are connected.")                                                     \
    ROW(WIRE_CLIENTS_BEFORE, 43, VALUE_NUMBER, 0, UINT64_MAX, "clients_before",                    \
        .kind = METRIC_GAUGE, .help = "Connected clients that keep an earlier model.")             \
    ROW(WIRE_CLIENTS_TOTAL, 34, VALUE_NUMBER, 0, UINT64_MAX, "clients_total",                      \
        .kind = METRIC_COUNTER, .name = "sessions", .help = "Clients that have been welcomed.")    \
    ROW(WIRE_RECORDS, 35, VALUE_NUMBER, 0, UINT64_MAX, "records", .kind = METRIC_COUNTER,          \
        .help = "Records that were embedded.")                                                     \
    ROW(WIRE_RECORDS_FAILED, 36, VALUE_NUMBER, 0, UINT64_MAX, "records_failed",                    \
        .kind = METRIC_COUNTER, .help = "Records that failed.")                                    \
    ROW(WIRE_RESIDUES, 37, VALUE_NUMBER, 0, UINT64_MAX, "residues", .kind = METRIC_COUNTER,        \
        .help = "Residues that were embedded.")                                                    \
    ROW(WIRE_BATCHES, 38, VALUE_NUMBER, 0, UINT64_MAX, "batches", .kind = METRIC_COUNTER,          \
        .help = "Batches that were computed.")                                                     \
    ROW(WIRE_QUEUED_RESIDUES, 39, VALUE_NUMBER, 0, UINT64_MAX, "queued_residues",                  \
        .kind = METRIC_GAUGE, .help = "Residues that wait.")                                       \
    /* bytes of all mapped rings */                                                                \
    ROW(WIRE_PINNED_BYTES, 40, VALUE_NUMBER, 0, UINT64_MAX, "pinned_bytes", .kind = METRIC_GAUGE,  \
        .unit = "bytes", .help = "Shared memory that clients pin.")

#endif

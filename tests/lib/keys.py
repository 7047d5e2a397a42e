# SPDX-License-Identifier: Apache-2.0
"""The keys of messages as they go over the wire, written down apart from ipc/keys.h: a number, a type
or a limit that changes there is another protocol.
"""
NUMBER, TEXT, BYTES = int, str, bytes
U32, U64 = 2**32 - 1, 2**64 - 1
# key: name, type, least, most (of the number or the length)
KEYS = [
    ("KIND", NUMBER, 1, 10), ("PROTOCOL_VERSION", NUMBER, 1, 1), ("PROGRAM", TEXT, 0, 64),
    ("POOLING", NUMBER, 0, 3), ("DTYPE", NUMBER, 0, 1), ("EXPECT", TEXT, 1, 64),
    ("DIGEST", TEXT, 64, 64), ("PRECISION", TEXT, 1, 15), ("BACKEND", TEXT, 1, 15),
    ("MODEL", TEXT, 1, 127), ("SYNTHETIC", NUMBER, 0, 1), ("HIDDEN", NUMBER, 1, 65535),
    ("POSITIONS", NUMBER, 3, 4096), ("ALPHABET", BYTES, 32, 32), ("RING_MAX", NUMBER, 0, U64),
    ("ONE_SHOT_LIMIT", NUMBER, 0, 8), ("TAG", NUMBER, 0, U64), ("SEQUENCE", BYTES, 1, 4096),
    ("RECORD_STATUS", NUMBER, 0, 4), ("ROWS", NUMBER, 0, 1), ("DATA", BYTES, 0, None),
    ("TEXT", TEXT, 0, 1024), ("CODE", NUMBER, 1, 7), ("RETRY", NUMBER, 0, 1),
    ("SUBMISSION_SIZE", NUMBER, 1, U32), ("COMPLETION_SIZE", NUMBER, 1, U32),
    ("VERSION", TEXT, 1, 31), ("PID", NUMBER, 0, U32), ("UPTIME", NUMBER, 0, U64),
    ("LOOP", TEXT, 1, 127), ("INSTRUCTIONS", TEXT, 1, 31), ("THREADS", NUMBER, 0, U32),
    ("PARAMETERS", NUMBER, 0, U64), ("CLIENTS", NUMBER, 0, U64), ("CLIENTS_TOTAL", NUMBER, 0, U64),
    ("RECORDS", NUMBER, 0, U64), ("RECORDS_FAILED", NUMBER, 0, U64), ("RESIDUES", NUMBER, 0, U64),
    ("BATCHES", NUMBER, 0, U64), ("QUEUED_RESIDUES", NUMBER, 0, U64),
    ("PINNED_BYTES", NUMBER, 0, U64), ("DEVICE", TEXT, 1, 127), ("GENERATION", NUMBER, 1, U32),
    ("CLIENTS_BEFORE", NUMBER, 0, U64), ("NOTE", TEXT, 0, 1024),
]

# SPDX-License-Identifier: Apache-2.0
#
# Everything a client may do that the daemon answers by hanging up without a word.
import fcntl
import os
import signal
import socket
import struct

import msgpack

from programs import new_folder
from wire import *


def drop_rules():
    """(name, what to do with a connected client): each must end without a word."""
    def raw(data):
        return lambda client: client.send_raw(data)

    def welcomed(then, pooling=MEAN):
        def run(client):
            client.hello(pooling)
            then(client)
        return run

    def streaming(then):
        def run(client):
            client.hello()
            client.attach()
            then(client)
        return run

    def submission(length, reserved=0, body=b"MKT", tail=32):
        def run(client):
            struct.pack_into("<QII", client.ring.map, PAGE, 1, length, reserved)
            client.ring.map[PAGE + 16:PAGE + 16 + len(body)] = body
            client.ring.tail = tail
            client.ring.publish()
            client.send_raw(BELL)
        return streaming(run)

    def ring(fds, submission_size=65536, completion_size=1 << 20):
        def run(client):
            rings = [Ring(65536, 1 << 20) for _ in range(fds)]
            client.send(RING, [r.fd for r in rings], submission_size=submission_size,
                        completion_size=completion_size)
            for r in rings:
                os.close(r.fd)
                r.close()
        return welcomed(run)

    def foreign(flags=0, **more):
        def run(client):
            if more:
                r = Ring(65536, 1 << 20, **more)
                fd = r.fd
            else:
                fd = os.open(new_folder() + "/file", os.O_RDWR | os.O_CREAT)
                os.ftruncate(fd, PAGE + 65536 + (1 << 20))
            client.send(RING, [fd], submission_size=65536, completion_size=1 << 20)
            os.close(fd)
        return welcomed(run)

    def behind_a_ring(then):
        """Before the daemon has taken the ring: later a kernel may refuse descriptors itself."""
        def run(client):
            client.hello()
            peer = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            daemon = struct.unpack("iII", peer)[0]
            os.kill(daemon, signal.SIGSTOP)
            try:
                client.attach()
                then(client)
            finally:
                os.kill(daemon, signal.SIGCONT)
        return run

    hello = encode(HELLO, protocol=1, program="x", pooling=1, dtype=0)
    return {
        "garbage": raw(os.urandom(100)),
        "not a map": raw(b"\x93\x01\x02\x03"),
        "an empty map": raw(b"\x80"),
        "cut short": raw(hello[:-1]),
        "with a tail": raw(hello + b"\0"),
        "unknown kind": raw(encode(99)),
        "unknown key": raw(msgpack.packb({0: HELLO, 1: 1, 2: "x", 3: 1, 4: 0, 63: 1})),
        "key missing": raw(encode(HELLO, protocol=1, program="x", pooling=1)),
        "wrong type": raw(encode(HELLO, protocol="1", program="x", pooling=1, dtype=0)),
        "unknown pooling": raw(encode(HELLO, protocol=1, program="x", pooling=4, dtype=0)),
        "too large": raw(b"\x80" + bytes(65536)),
        "bell first": raw(BELL),
        "submit first": raw(encode(SUBMIT, tag=1, sequence=b"MKT")),
        "ring first": raw(encode(RING, submission_size=65536, completion_size=65536)),
        "hello with a descriptor": lambda client: client.send_raw(hello, [0]),
        "an empty message with descriptors": lambda client: client.send_raw(b"", [0, 0]),
        "253 descriptors": lambda client: client.send_raw(hello, [0] * 253),
        "hello twice": welcomed(raw(hello)),
        "status after hello": welcomed(raw(encode(STATUS_QUERY, protocol=1))),
        "stop after hello": welcomed(raw(encode(STOP, protocol=1))),
        "a result": welcomed(raw(encode(RESULT, tag=1, status=0, rows=0, data=b""))),
        "a bell without a ring": welcomed(raw(BELL)),
        "a letter outside the alphabet": welcomed(lambda client: client.submit(1, b"MJK")),
        "a lower-case letter": welcomed(lambda client: client.submit(1, b"MkK")),
        "an empty sequence": welcomed(lambda client: client.submit(1, b"")),
        "a sequence too long": welcomed(lambda client: client.submit(1, b"M" * 513)),
        "rows per residue by message": welcomed(lambda client: client.submit(1, b"MK"), NONE),
        "ring without memfd": ring(0),
        "ring with two": ring(2),
        "ring with 253": welcomed(lambda client: client.send(
            RING, [0] * 253, submission_size=65536, completion_size=1 << 20)),
        "ring of another size": ring(1, completion_size=1 << 21),
        "ring sizes no power of two": ring(1, submission_size=65537),
        "ring of a disk file": foreign(),
        "ring without seals": foreign(seals=0),
        "ring with write seal missing": foreign(seals=fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL),
        "ring twice": streaming(lambda client: client.attach()),
        "ring twice at once": behind_a_ring(lambda client: client.attach()),
        "a bell with a descriptor": behind_a_ring(lambda client: client.send_raw(BELL, [0])),
        "submit after ring": streaming(lambda client: client.submit(1, b"MKT")),
        "ring: empty record": submission(0),
        "ring: record too long": submission(513, body=b"M" * 513, tail=544),
        "ring: letter outside the alphabet": submission(3, body=b"M-K"),
        "ring: reserved word set": submission(3, reserved=1),
        "ring: length beyond the index": submission(4000),
        "ring: huge length": submission(0xFFFFFFF0),
        "ring: index not aligned": submission(3, tail=33),
        "ring: index far ahead": submission(3, tail=65536 + 16),
        "ring: completion head ahead": streaming(completion_head_ahead),
    }


def completion_head_ahead(client):
    client.ring.set(Ring.COMPLETION_HEAD, 1 << 40)
    client.push([b"M"] * 2000)

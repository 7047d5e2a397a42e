# SPDX-License-Identifier: Apache-2.0
#
# The protocol spoken by hand, for tests of the daemon: messages through Debian's msgpack, the ring
# through mmap, straight from ipc/wire.h and ipc/ring.h and not through any of the project's code.
import array
import fcntl
import mmap
import os
import socket
import struct
import threading

import msgpack

import keys
from patience import PATIENCE

(HELLO, WELCOME, REFUSED, SUBMIT, RESULT, RING, STATUS_QUERY, STATUS, STOP, STOPPING) = range(1, 11)
ALIASES = {"protocol_version": "protocol", "record_status": "status"}
KEYS = [ALIASES.get(name.lower(), name.lower()) for name, *_ in keys.KEYS]
NUMBER = {name: number for number, name in enumerate(KEYS)}
(PROTOCOL, MODEL, BUSY, LIMIT, DRAINING, LOAD, DENIED) = range(1, 8)
NONE, MEAN, MAX, BOS = range(4)
F32, F16 = range(2)
MIB = 1 << 20
BELL = b"\xc1"
SKIP = 0xFFFFFFFF
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
PAGE = 4096


def encode(kind, **values):
    return msgpack.packb({0: kind, **{NUMBER[name]: value for name, value in values.items()}},
                         use_bin_type=True)


def decode(data):
    return {KEYS[key]: value for key, value in msgpack.unpackb(data, strict_map_key=False).items()}


class Closed(Exception):
    pass


class Client:
    """One connection. Every wait ends after `timeout` seconds with an exception."""

    def __init__(self, path, timeout=PATIENCE):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.bells = 0
        self.ring = None

    def close(self):
        self.socket.close()
        if self.ring:
            self.ring.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send_raw(self, data, fds=()):
        if fds:
            self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                          array.array("i", fds))])
        else:
            self.socket.send(data)

    def send(self, kind, fds=(), **values):
        self.send_raw(encode(kind, **values), fds)

    def receive_raw(self):
        data = self.socket.recv(1 << 17)
        if not data:
            raise Closed
        return data

    def receive(self):
        while True:
            data = self.receive_raw()
            if data != BELL:
                return decode(data)
            self.bells += 1

    def ended(self):
        """Whether the daemon hangs up without another word."""
        try:
            return self.receive_raw() and False
        except (Closed, ConnectionResetError):
            return True

    def hello(self, pooling=MEAN, dtype=F32, protocol=1, **more):
        try:
            self.send(HELLO, protocol=protocol, program="test 1", pooling=pooling, dtype=dtype,
                      **more)
        except BrokenPipeError:
            pass  # refused at once; the reason can still be read
        answer = self.receive()
        self.info, self.pooling, self.dtype = answer, pooling, dtype
        return answer

    def submit(self, tag, sequence):
        self.send(SUBMIT, tag=tag, sequence=sequence)

    def ask(self, tag, sequence):
        """The answer to a record that goes by message."""
        self.submit(tag, sequence)
        return self.receive()

    def push(self, sequences=()):
        """Puts those for which there is room into the ring, tagged from 0 on, publishes all that was
        put, and rings. Returns how many went in."""
        count = 0
        while count < len(sequences) and self.ring.put(count, sequences[count]):
            count += 1
        self.ring.publish()
        self.send_raw(BELL)
        return count

    def attach(self, submission_size=65536, completion_size=MIB):
        self.ring = Ring(submission_size, completion_size)
        self.send(RING, fds=[self.ring.fd], submission_size=submission_size,
                  completion_size=completion_size)
        os.close(self.ring.fd)

    def row_bytes(self):
        return self.info["hidden"] * (2 if self.dtype == F16 else 4)

    def stream(self, sequences, start=0):
        """Sends all through the ring; returns [(tag, status, rows, data)] in their order."""
        todo, results = list(enumerate(sequences, start)), []
        total = len(todo)
        while len(results) < total:
            progress = False
            while todo and self.ring.put(*todo[0]):
                todo.pop(0)
                progress = True
            if progress and self.ring.publish():
                self.socket.send(BELL)
            taken = self.ring.take()
            if taken:
                results += taken
                if self.ring.release():
                    self.socket.send(BELL)
            elif not progress and not self.ring.sleeps(bool(todo)):
                if self.receive_raw() != BELL:
                    raise AssertionError("something else than a bell")
                self.bells += 1
        return results


class Ring:
    """The client's side: indices are kept here and published; flags as in ring.h."""

    SUBMISSION_TAIL, SUBMISSION_HEAD, COMPLETION_TAIL, COMPLETION_HEAD = 0, 64, 128, 192
    SUBMISSION_DATA, SUBMISSION_SPACE, COMPLETION_DATA, COMPLETION_SPACE = 256, 320, 384, 448

    def __init__(self, submission_size, completion_size, seals=SEALS, flags=0):
        self.submission_size, self.completion_size = submission_size, completion_size
        self.fd = os.memfd_create("ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | flags)
        os.ftruncate(self.fd, PAGE + submission_size + completion_size)
        self.map = mmap.mmap(self.fd, PAGE + submission_size + completion_size)
        if seals:
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals)
        self.tail = self.taken = 0
        self.fence = threading.Lock()

    def close(self):
        self.map.close()

    def get(self, at):
        return struct.unpack_from("<Q", self.map, at)[0]

    def set(self, at, value):
        struct.pack_into("<Q", self.map, at, value)

    def put(self, tag, sequence):
        need = (16 + len(sequence) + 15) // 16 * 16
        offset = self.tail % self.submission_size
        skip = self.submission_size - offset if offset + need > self.submission_size else 0
        if self.tail + skip + need - self.get(self.SUBMISSION_HEAD) > self.submission_size:
            return False
        if skip:
            struct.pack_into("<QII", self.map, PAGE + offset, 0, SKIP, 0)
            offset = 0
        struct.pack_into("<QII", self.map, PAGE + offset, tag, len(sequence), 0)
        self.map[PAGE + offset + 16:PAGE + offset + 16 + len(sequence)] = sequence
        self.tail += skip + need
        return True

    def flag(self, at):
        raised = struct.unpack_from("<I", self.map, at)[0]
        struct.pack_into("<I", self.map, at, 0)
        return raised != 0

    def publish(self):
        self.set(self.SUBMISSION_TAIL, self.tail)
        return self.flag(self.SUBMISSION_DATA)

    def take(self):
        base, results = PAGE + self.submission_size, []
        tail = self.get(self.COMPLETION_TAIL)
        while self.taken < tail:
            offset = self.taken % self.completion_size
            tag, status, rows, size = struct.unpack_from("<QIII", self.map, base + offset)
            if size == SKIP:
                self.taken += self.completion_size - offset
                continue
            start = base + offset + 64
            results.append((tag, status, rows, self.map[start:start + size]))
            self.taken += (64 + size + 63) // 64 * 64
        return results

    def release(self):
        self.set(self.COMPLETION_HEAD, self.taken)
        return self.flag(self.COMPLETION_SPACE)

    def sleeps(self, wants_space):
        """Raises the flags; true when there is something to do after all. Taking a lock is the fence
        of ring.h."""
        struct.pack_into("<I", self.map, self.COMPLETION_DATA, 1)
        if wants_space:
            struct.pack_into("<I", self.map, self.SUBMISSION_SPACE, 1)
        head = self.get(self.SUBMISSION_HEAD)
        with self.fence:
            if self.get(self.COMPLETION_TAIL) != self.taken:
                return True
        return wants_space and self.get(self.SUBMISSION_HEAD) != head

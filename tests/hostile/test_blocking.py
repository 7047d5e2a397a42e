# SPDX-License-Identifier: Apache-2.0
#
# Descriptors whose close() blocks: TCP sockets that linger over bytes nobody reads, such sockets in
# the queue of another one, and files of a FUSE server that does not answer. Whoever passes them may
# wait; nobody else does.
import contextlib
import signal
import socket
import struct
import time

import fuse_file
from hostile import *

LINGERING, NESTED = 200, 40
CLOSING_AT_ONCE = 16  # the threads that the daemon has for it
OTHER_UID = 61009
LOOPS = None, "epoll"  # the usual one, and the other
SO_PASSRIGHTS = 83  # from Linux 6.16 on


class Unread:
    """Sockets that linger over what nobody reads, as long as this object lives."""

    def __init__(self):
        self.listening = socket.socket()
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self.listening.bind(("127.0.0.1", 0))
        self.listening.listen(4096)

    def lingering(self, seconds):
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        made.connect(self.listening.getsockname())
        made.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while made.send(bytes(65536)):
                pass
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
        return made

    def nested(self, seconds):
        inside = self.lingering(seconds)
        queue, passed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(queue, [b"x"], [inside.fileno()])
        inside.close()
        queue.close()
        return passed


def serves_at_once(daemon):
    """A short and a long client are served while something blocks."""
    begin = time.monotonic()
    with daemon.session() as client:
        equal(client.ask(7, b"MKT")["tag"], 7)
        client.attach()
        equal(len(client.stream([b"MKTAY"] * 100)), 100)
    took = time.monotonic() - begin
    check(took < at_most(5), f"{took} s for a client")


@contextlib.contextmanager
def standing_still(daemon):
    """So that what is passed meanwhile can be closed here first, without waiting for it."""
    daemon.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, daemon.process.pid, os.WSTOPPED)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def pass_all(daemon, make, count, at_once=50):
    """Passes descriptors that end with the daemon's."""
    for _ in range(0, count, at_once):
        descriptors = [make() for _ in range(at_once)]
        with daemon.session() as client:
            with standing_still(daemon):
                client.send(RING, [one.fileno() for one in descriptors], submission_size=65536,
                            completion_size=65536)
                for one in descriptors:
                    one.close()
            check(client.ended())


def kernel_refuses_descriptors():
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
        try:
            one.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
            return True
        except OSError:
            return False


def passes(client):
    """Whether a RING goes out with a descriptor that nobody waits for."""
    with open("/dev/null", "rb") as null:
        try:
            client.send(RING, [null.fileno()], submission_size=65536, completion_size=65536)
            return True
        except PermissionError:
            return False


@case
def descriptors_before_the_welcome_and_behind_the_ring_are_refused_by_the_kernel():
    """Or, where it cannot, closed by the daemon, which drops whoever passed them."""
    refused = kernel_refuses_descriptors()
    with start() as daemon:
        before = daemon.descriptors()
        for stage in ("connected", "streaming"):
            with daemon.client() as client:
                if stage == "streaming":
                    client.hello()
                    client.attach()
                    client.stream([b"MKT"])
                if passes(client):
                    check(not refused, f"{stage}: a descriptor was passed")
                    check(client.ended(), stage)
                elif stage == "connected":
                    equal(client.hello()["kind"], WELCOME)
                else:
                    equal(len(client.stream([b"MKT"], 1)), 1)
        serves_at_once(daemon)
        wait_clean(daemon, before)


@case
def lingering_sockets_are_closed_at_once():
    with start() as daemon:
        before, unread = daemon.descriptors(), Unread()
        pass_all(daemon, lambda: unread.lingering(600), LINGERING)
        serves_at_once(daemon)
        wait_clean(daemon, before)


@case
def what_blocks_inside_a_queue_holds_up_nobody():
    with start() as daemon:
        before, unread = daemon.descriptors(), Unread()
        pass_all(daemon, lambda: unread.nested(4), NESTED, at_once=20)
        check(daemon.descriptors() > before, "they do not block")
        for _ in range(5):
            serves_at_once(daemon)
        wait_clean(daemon, before)


@case
def unread_messages_with_descriptors_hold_up_nobody():
    """What lies in the socket of a client that was dropped: epoll leaves it to the closer."""
    for loop in LOOPS:
        with start(ESM1NV_LOOP=loop) as daemon:
            before, unread = daemon.descriptors(), Unread()
            clients = [daemon.session() for _ in range(CLOSING_AT_ONCE + 4)]
            inside = [unread.lingering(600) for _ in clients]
            with standing_still(daemon):
                for client, one in zip(clients, inside):
                    client.send_raw(b"garbage")
                    client.send_raw(b"")
                    client.send_raw(b"", [one.fileno()])
                    client.send_raw(b"more", [one.fileno()])
                    one.close()
            for client in clients:
                client.close()
            serves_at_once(daemon)
            wait_clean(daemon, before)


@case
def a_fuse_file_that_never_closes_holds_up_nobody():
    with start() as daemon:
        before = daemon.descriptors()
        with fuse_file.mounted() as path:
            keep = os.open(path, os.O_RDWR)
            with daemon.session() as client:
                client.send(RING, [keep] * 100, submission_size=65536, completion_size=65536)
                check(client.ended())
            for _ in range(5):
                serves_at_once(daemon)
            # What a thread of the daemon is closing is in its table no more; the others wait there.
            waiting = 100 - CLOSING_AT_ONCE
            wait_until(lambda: daemon.descriptors() - before in range(waiting - 3, waiting + 3),
                       "they block, and clients that left are closed")
        wait_clean(daemon, before)


def pass_until_refused(daemon, descriptor):
    for _ in range(20):
        with daemon.client() as client:
            answer = client.hello()
            if answer["kind"] == REFUSED:
                return answer["text"]
            client.send(RING, [descriptor] * 200, submission_size=65536, completion_size=65536)
            client.ended()
    return "never refused"


@case
def a_user_that_makes_closing_block_is_turned_away_alone():
    need_root()
    with start() as daemon:
        before = daemon.descriptors()
        with fuse_file.mounted() as path:
            keep = os.open(path, os.O_RDWR)
            tell, told = socket.socketpair()
            other = as_user(OTHER_UID, lambda: tell.send(pass_until_refused(daemon, keep).encode()))
            tell.close()
            told = told.recv(1000).decode()
            check("too many" in told, told)
            serves_at_once(daemon)
            check(daemon.descriptors() < before + 1500, daemon.descriptors())
        other()  # only now could it end
        wait_clean(daemon, before)


def connect_as_other(daemon):
    os.seteuid(OTHER_UID)
    try:
        return daemon.client()
    finally:
        os.seteuid(0)


def turned_away(daemon):
    with connect_as_other(daemon) as client:
        return "too many" in client.hello().get("text", "")


@case
def what_a_user_leaves_unread_counts_too():
    need_root()
    for loop in LOOPS:
        with start(ESM1NV_LOOP=loop) as daemon:
            before = daemon.descriptors()
            clients = [connect_as_other(daemon) for _ in range(8)]
            for client in clients:
                client.hello()
            with fuse_file.mounted() as path:
                keep = os.open(path, os.O_RDWR)
                with standing_still(daemon):
                    for client in clients:
                        client.send_raw(b"garbage")
                        client.send_raw(b"more", [keep] * 200)
                wait_until(lambda: turned_away(daemon), "it is turned away")
                serves_at_once(daemon)
            for client in clients:
                client.close()
            wait_clean(daemon, before)


main()

# SPDX-License-Identifier: Apache-2.0
#
# What is one user's stays so: every byte that a client can read of its ring and its replies is the
# same whether or not others sent theirs before and beside it, no sequence is in the log, and only
# the socket's group may connect.
import contextlib
import grp
import stat

from hostile import *

CANARY = b"WCYWHQWCMWFCWYHW"  # rarely met in proteins
OTHER, MEMBER, STRANGER = 61041, 61042, 61043
OWN = [sequence(length, length) for length in (1, 40, 300, 511, 512, 40, 512, 7)]


def everything(daemon):
    """All that a client gets to see of a daemon, failed records (bos of 512 residues) included."""
    seen = []
    for pooling in (MEAN, MAX, BOS, NONE):
        with daemon.session(pooling, ring=4 * MIB) as client:
            client.stream(OWN)
            seen.append((pooling, "ring", client.ring.map[PAGE:]))
    for pooling in (MEAN, MAX, BOS):
        with daemon.session(pooling) as client:
            for tag, residues in enumerate(OWN):
                client.submit(tag, residues)
                seen.append((pooling, tag, client.receive_raw()))
    return seen


def send_canaries(daemon):
    """By message, whose rows lie in the daemon's own memory, and by ring; some are given up."""
    for pooling in (MEAN, BOS, NONE) * max(1, round(3 * SCALE)):
        with daemon.session(pooling) as client:
            for tag in range(8 if pooling != NONE else 0):
                client.submit(tag, CANARY * 30)
            for tag in range(4 if pooling != NONE else 0):
                client.receive()
        with daemon.session(pooling, ring=4 * MIB) as client:
            client.stream([CANARY * (1 + i % 32) for i in range(40)])
            client.push([CANARY * 20])


def start_bare():
    """A daemon in whose memory lies what was there before: Meson has malloc() cover that."""
    return start(model=TINY1, backend="cpu", MALLOC_PERTURB_="0")


def as_other(function):
    return as_user(OTHER, function) if os.geteuid() == 0 else function


@case
def others_show_in_no_byte_of_rings_and_replies():
    with start_bare() as daemon:
        alone = everything(daemon)
        as_other(lambda: send_canaries(daemon))()
        after = everything(daemon)
        beside = as_other(lambda: send_canaries(daemon))
        while_they_send = everything(daemon)
        beside()
        for got in (after, while_they_send):
            for one, other in zip(alone, got):
                check(one == other, f"pooling {one[0]}, {one[1]}: other bytes")


@case
def sequences_are_in_no_log():
    with start("--log-level", "debug", backend="cpu") as daemon:
        send_canaries(daemon)
        for wrong in (CANARY + b"-", CANARY * 40, CANARY.lower(), b"", CANARY * 3000):
            with daemon.session() as client:
                client.submit(1, wrong)
                check(wrong != CANARY and client.ended())
        with daemon.client() as client:
            client.send_raw(CANARY)
            check(client.ended())
        with daemon.session(ring=MIB) as client:
            with contextlib.suppress(BrokenPipeError):  # it may have been looked at already
                client.push([CANARY + b"-"])
            check(client.ended())
        said = daemon.said()
    check("debug: client" in said, said)
    for part in (CANARY, CANARY.lower(), CANARY.hex().encode()):
        check(part.decode()[:8] not in said, said)


def may_connect(daemon, uid, groups):
    def connect():
        try:
            with daemon.session():
                return True
        except PermissionError:
            return False

    return as_user(uid, connect, groups)()


@case
def only_the_group_of_the_socket_may_connect():
    need_root()
    group = grp.getgrgid(1)
    with Daemon("--backend", "null", "--group", group.gr_name) as daemon:
        os.chmod(daemon.folder, 0o711)
        status = os.stat(daemon.socket)
        equal((stat.S_IMODE(status.st_mode), status.st_gid), (0o660, group.gr_gid))
        check(may_connect(daemon, MEMBER, [group.gr_gid]), "a member may not connect")
        check(not may_connect(daemon, STRANGER, []), "a stranger may connect")


main()

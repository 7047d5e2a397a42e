# SPDX-License-Identifier: Apache-2.0
#
# Leaving although a client has seen to it that closing what it passed never ends. The kernel keeps
# such a process, as a zombie, until the file system answers or goes away, and nothing can be done
# about that; but its clients, its place and its memory are given up, and the next daemon serves.
import os
import time

import programs
from programs import SANITIZED, TINY1, as_user, at_most, gone, wait_until
from tap import case, check, equal, main
from wire import *

import fuse_file

MEMORY_TELLS = not SANITIZED  # which keep what was freed


def start(**more):
    return programs.Daemon("--threads", "1", model=TINY1, **more)


def threads_memory(process):
    """KiB that the threads which are left share."""
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        with gone(), open(f"/proc/{process.pid}/task/{thread}/status") as status:
            for line in status:
                if line.startswith("RssAnon"):
                    return int(line.split()[1])
    return 0


def has_left(process):
    """Its first thread has ended, whatever the others wait for."""
    with open(f"/proc/{process.pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "Z"


def embeds(client):
    answer = client.ask(1, b"MKT")
    equal((answer["tag"], answer["status"]), (1, 0))
    return answer["data"]


def attack(daemon, path):
    kept = os.open(path, os.O_RDWR)
    with daemon.session() as client:
        client.send(RING, [kept] * 50, submission_size=65536, completion_size=65536)
        client.ended()


def leave_blocked(daemon):
    memory = daemon.memory()
    with daemon.session() as bystander:
        rows = embeds(bystander)
        began = time.monotonic()
        daemon.process.terminate()
        check(bystander.ended())
        wait_until(lambda: not os.path.exists(daemon.socket), "the socket goes")
        check(time.monotonic() - began < at_most(5))
    with start(at=daemon.socket) as following, following.session() as client:
        equal(embeds(client), rows)
    wait_until(lambda: daemon.process.poll() is not None or not MEMORY_TELLS or
               threads_memory(daemon.process) < memory / 2, "the model leaves the memory")
    wait_until(lambda: has_left(daemon.process), "it leaves in spite of what blocks")
    check(daemon.process.poll() is None, "nothing blocked")


@case
def closing_that_never_ends_does_not_keep_the_place():
    with start() as daemon:
        with fuse_file.mounted() as path:
            before = daemon.descriptors()
            # A process of its own: with the file open, starting a program would block too. It ends
            # when the file system does.
            attacker = as_user(os.geteuid(), lambda: attack(daemon, path))
            wait_until(lambda: daemon.descriptors() >= before + 30, "closing blocks")
            leave_blocked(daemon)
        attacker()
        equal(daemon.end(), 0)


main()

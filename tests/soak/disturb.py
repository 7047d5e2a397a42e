# SPDX-License-Identifier: Apache-2.0
#
# What disturbs the streams of a soak: each function does one round of something, and is called
# again and again, beside all others. CLIENTS and STAYING go at the daemon that stays, DYING at the
# other.
import os
import random
import signal
import subprocess

import streams
from hostile import BUSY, STATUS, WELCOME, Client, check, equal, wait_until

ATTACKERS = 200
VISITS = 200
CROWD = 40


def attackers(soak, path):
    run = subprocess.run([os.path.join(soak.folder, "attack"), path,
                          str(random.getrandbits(60)), str(ATTACKERS), "8"],
                         stdout=subprocess.PIPE, timeout=240, **streams.identity(soak.users[-1]))
    equal(run.returncode, 0)
    soak.count("attackers", ATTACKERS)


def honest_visitors(soak, path):
    run = subprocess.run([os.path.join(soak.folder, "come_and_go"), path, str(VISITS)], timeout=240,
                         stderr=subprocess.PIPE, **streams.identity(soak.users[0]))
    equal((run.returncode, run.stderr), (0, b""))
    soak.count("honest visitors", VISITS)
    soak.end.wait(1)


def killed_filter(soak, path):
    process = streams.start_filter(soak, path, soak.users[0], "-p", random.choice(("mean", "none")),
                                   "-f", "raw", "-o", "/dev/null")
    process.stdin.write(streams.INPUT)
    process.stdin.flush()
    soak.end.wait(random.random() / 4)
    process.kill()
    process.communicate()
    soak.count("killed filters")


def stopped_filter(soak, path):
    """It stands still for a while, and loses nothing."""
    process = streams.start_filter(soak, path, soak.users[0], "-p", "none", "-f", "raw")
    process.stdin.write(streams.INPUT[:len(streams.INPUT) // 2])
    process.stdin.flush()
    soak.end.wait(random.random() / 10)
    process.send_signal(signal.SIGSTOP)
    soak.end.wait(1 + random.random())
    process.send_signal(signal.SIGCONT)
    out, said = streams.end_of(process, streams.INPUT[len(streams.INPUT) // 2:])
    streams.check_end(process, said, 65)
    check(out == soak.wanted[("raw", "none")][0], "a stopped filter lost something")
    soak.count("stopped filters")


def crowd(soak, path):
    """Many at once that have nothing to ask, of the one who starts all this."""
    clients = [Client(path) for _ in range(CROWD)]
    for client in clients:
        if client.hello()["kind"] == WELCOME and random.random() < 0.5:
            client.attach()  # else the crowd before has not quite left
    soak.end.wait(0.5)
    for client in clients:
        client.close()
    soak.count("idle clients in crowds", CROWD)


def generation(daemon):
    """0: not now, the crowds of the same user fill all connections that it may have."""
    status = daemon.status()
    check(status["kind"] == STATUS or status["code"] == BUSY, status)
    return status.get("generation", 0)


def reloaded_daemon(soak, daemon):
    """The same file again: another generation beside the one that sessions still use."""
    before = 1 + soak.counts.get("reloads", 0)
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: generation(daemon) > before, "it reloads")
    soak.count("reloads")
    soak.end.wait(2 * random.random())


def killed_daemon(soak, dying):
    soak.end.wait(1 + 4 * random.random())
    how = random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))

    def end(daemon):
        daemon.process.send_signal(how)
        return daemon.end(), daemon.said()

    status, said = dying.again(end)
    check(status == (0 if how == signal.SIGTERM else -how), f"it left with {status}: {said}")
    soak.count("deaths of the other daemon")


CLIENTS = (attackers, honest_visitors, killed_filter, stopped_filter, crowd)
STAYING = (reloaded_daemon,)
DYING = (killed_daemon,)
NAMES = ("attackers", "honest visitors", "killed filters", "stopped filters",
         "idle clients in crowds", "reloads", "deaths of the other daemon")

# SPDX-License-Identifier: Apache-2.0
#
# Every limit, as a person meets it: what the filter prints and how it exits when the daemon refuses
# for the clients there are, those of one user, the bytes its rings pin, or the size of a ring; that
# it waits its turn when it may; and that a full queue only delays.
import subprocess
import time

from hostile import *


def refused(daemon, status, *words, options=("--pool", "none", "--wait", "0")):
    run = subprocess.run([FILTER, "--socket", daemon.path, *options], input=fasta(5), timeout=60,
                         capture_output=True, env=FILTER_ENVIRONMENT)
    told = run.stderr.decode()
    equal((run.returncode, run.stdout), (status, b""))
    for word in words:
        check(word in told, f"no {word!r} in {told!r}")


def held(daemon, ring=0):
    client = daemon.client()
    equal(client.hello()["kind"], WELCOME)
    if ring:
        client.attach(completion_size=ring)
        client.stream([b"MKT"])
    return client


@case
def clients():
    with start("--max-clients", "2") as daemon, held(daemon), held(daemon):
        refused(daemon, 75, "busy", "2 clients are connected, the most allowed")


@case
def clients_of_a_user():
    with start("--max-clients-per-user", "2") as daemon, held(daemon), held(daemon):
        refused(daemon, 75, "busy", "your user has 2 clients connected")


@case
def pinned_bytes():
    with start("--max-pinned-per-user", "12M") as daemon, held(daemon, 1 << 22):
        refused(daemon, 75, "busy", "12582912 bytes")


@case
def whoever_waits_gets_its_turn():
    with start("--max-clients", "1") as daemon:
        wanted = filter_output(daemon, [], fasta(5))
        daemon.wait_status(lambda status: status["clients"] == 0)
        with held(daemon):
            waiting = subprocess.Popen([FILTER, "--socket", daemon.path, "--wait", "60"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, env=FILTER_ENVIRONMENT)
            waiting.stdin.write(fasta(5))
            waiting.stdin.close()
            time.sleep(0.5)
            equal(waiting.poll(), None)
        equal(waiting.stdout.read(), wanted)
        equal(waiting.wait(60), 0)
        waiting.stdout.close()
        waiting.stderr.close()


@case
def a_full_queue_only_delays():
    with start("--max-queued-per-user", "512", backend="cpu") as daemon:
        with steady_clients(daemon, 40) as runs:
            for _ in range(30):
                check(daemon.status()["queued_residues"] <= 512, "more is queued")
            wait_until(lambda: min(runs) >= 1, "filters run", 60)


run_cases()

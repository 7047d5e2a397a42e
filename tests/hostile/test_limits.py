# SPDX-License-Identifier: Apache-2.0
#
# Every limit, as a person meets it: what the filter prints and how it exits when the daemon refuses
# for the clients there are, those of one user, the bytes its rings pin, or the size of a ring; that
# it waits its turn when it may; and that a full queue only delays.
import contextlib
import time

from hostile import *


def refused(daemon, status, *words, options=("--pool", "none", "--wait", "0")):
    run = run_filter(daemon, *options, input=fasta(5), expect=status, env=FILTER_ENVIRONMENT)
    equal(run.stdout, b"")
    for word in words:
        check(word in run.stderr, f"no {word!r} in {run.stderr!r}")


def held(daemon, ring=0):
    client = daemon.session(ring=ring)
    if ring:
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
            waiting = start_filter(daemon, "--wait", str(PATIENCE), env=FILTER_ENVIRONMENT)
            waiting.stdin.write(fasta(5))
            waiting.stdin.close()
            time.sleep(0.5)
            equal(waiting.poll(), None)
        equal(waiting.stdout.read(), wanted)
        equal(waiting.wait(PATIENCE), 0)
        waiting.stdout.close()
        waiting.stderr.close()


@case
def a_full_queue_only_delays():
    with start("--max-queued-per-user", "512", backend="cpu") as daemon:
        with steady_clients(daemon, 40) as runs:
            wait_until(lambda: min(runs) >= 1, "filters run")


def with_backlog(daemon, stack, records):
    """A client that has submitted so many records of 500 residues at once."""
    client = stack.enter_context(daemon.session(ring=MIB))
    for tag in range(records):
        check(client.ring.put(tag, sequence(500)), "the ring is too small")
    return client


def slow_daemon(*options):
    """Of which a batch holds one record."""
    return start("--max-batch-residues", "512", "--threads", "1", *options, model=TINY2,
                 backend="cpu")


def submit_all(clients):
    for client in clients:
        client.push()


@case
def a_user_queues_no_more_than_it_may():
    with slow_daemon("--max-queued-per-user", "2048") as daemon, contextlib.ExitStack() as stack:
        clients = [with_backlog(daemon, stack, 120) for _ in range(12)]
        submit_all(clients)
        seen = [daemon.status()["queued_residues"] for _ in range(40)]
        check(0 < max(seen) <= 2048, f"queued: {seen}")


@case
def each_client_of_a_user_queues_its_part():
    with slow_daemon("--max-queued-per-user", "8192") as daemon, contextlib.ExitStack() as stack:
        clients = [with_backlog(daemon, stack, 120) for _ in range(2)]
        submit_all(clients)
        first, queued, until = clients[0].ring, [], time.monotonic() + PATIENCE
        while first.get(Ring.COMPLETION_TAIL) < 90 * 576:  # a row of 128 and its header
            taken = first.get(Ring.SUBMISSION_HEAD) // 528
            queued.append(taken - first.get(Ring.COMPLETION_TAIL) // 576)
            check(time.monotonic() < until, "90 records take for ever")
            time.sleep(0.001)
        # Half of the queue has room for eight of them, and one more is held.
        check(5 <= max(queued) <= 9, f"{max(queued)} records were taken and not done")


main()

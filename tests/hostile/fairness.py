# SPDX-License-Identifier: Apache-2.0
#
# Shares of the CPU engine among real users: each always has work queued, with other numbers of
# clients and other lengths, and what each got of a run is compared. And how long a newcomer waits.
import json
import statistics
import time

from hostile import *

FIRST_UID = 61021
SECONDS = max(2, 6 * SCALE)
WARM_UP = 2
BATCH = 2048  # residues of the largest
TURN = 1024  # residues by which a user may be ahead at any moment
# Per user: how many clients, and the lengths of their records in turn.
USERS = [(1, [500]), (3, [30, 400]), (8, [10, 60, 510]), (12, [100])]


def stream(daemon, lengths, begin, end):
    """Keeps its ring full; returns the residues it got in that time."""
    sequences, got, number = [sequence(length) for length in lengths], 0, 0
    with daemon.client() as client:
        equal(client.hello()["kind"], WELCOME)
        client.attach()
        while time.monotonic() < end:
            while client.ring.put(lengths[number % len(lengths)], sequences[number % len(lengths)]):
                number += 1
            if client.ring.publish():
                client.send_raw(BELL)
            results = client.ring.take()
            if begin <= time.monotonic() < end:
                got += sum(length for length, *_ in results)
            if client.ring.release():
                client.send_raw(BELL)
            time.sleep(0.03)
    return got


def as_user(uid, function):
    """Runs function in a process of that user; returns what gives its result."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setresuid(uid, uid, uid)
            os.write(write, json.dumps(function()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)

    def result():
        with open(read, encoding="ascii") as pipe:
            text = pipe.read()
        equal(os.waitpid(child, 0)[1], 0)
        return json.loads(text)
    return result


def newcomers(daemon, end):
    """How long each of some clients waited that ask for one short record."""
    latencies = []
    while time.monotonic() < end:
        begin = time.monotonic()
        with daemon.client() as client:
            client.hello()
            client.submit(1, b"MKT")
            equal(client.receive()["kind"], RESULT)
        latencies.append(time.monotonic() - begin)
        time.sleep(0.05)
    return latencies


@case
def users_get_equal_shares_and_newcomers_do_not_wait():
    if os.geteuid() != 0:
        raise Skip("needs several users, and so root")
    with start("--threads", "1", model=TINY2, backend="cpu") as daemon:
        begin = time.monotonic() + WARM_UP
        end = begin + SECONDS
        results = [[as_user(FIRST_UID + number, lambda: stream(daemon, lengths, begin, end))
                    for _ in range(clients)]
                   for number, (clients, lengths) in enumerate(USERS)]
        time.sleep(WARM_UP)
        waiting = daemon.status()["queued_residues"]
        # Of the user with the most clients: its own bulk must not hold it up either.
        latencies = as_user(FIRST_UID + len(USERS) - 1, lambda: newcomers(daemon, end))()
        shares = [sum(result() for result in user) for user in results]
    rate = sum(shares) / SECONDS
    print(f"# residues {shares}, {rate:.0f}/s, {waiting} waited, "
          f"newcomers {statistics.median(latencies):.3f} s", flush=True)
    mean = statistics.mean(shares)
    check(statistics.median(latencies) < 4 * BATCH / rate + 0.1,
          f"newcomers waited {latencies}, a batch takes {BATCH / rate} s")
    if mean < 20 * TURN:
        raise Skip(f"{mean:.0f} residues a user are too few to tell shares: a slow build")
    for share in shares:
        check(abs(share - mean) < 0.05 * mean, f"{share} of {shares}")


run_cases()

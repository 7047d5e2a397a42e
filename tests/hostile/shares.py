# SPDX-License-Identifier: Apache-2.0
#
# What each of several real users gets of a daemon when all of them always have work queued: bulk
# clients that keep their rings full, each in a process of its user, and newcomers beside them.
import statistics
import time

import numpy as np

from hostile import BELL, MIB, RESULT, as_user, check, equal, sequence

FIRST_UID = 61021
WARM_UP = 2
TURN = 1024  # residues by which a user may be ahead at any moment


def stream(daemon, lengths, begin, end):
    """Keeps its ring full; returns the residues it got in that time. They are looked for now and
    then only, so what came between two looks is taken for a steady flow."""
    sequences, number = [sequence(length) for length in lengths], 0
    times, totals = [time.monotonic()], [0]
    with daemon.session(ring=MIB) as client:
        while times[-1] < end:
            while client.ring.put(lengths[number % len(lengths)], sequences[number % len(lengths)]):
                number += 1
            if client.ring.publish():
                client.send_raw(BELL)
            totals.append(totals[-1] + sum(length for length, *_ in client.ring.take()))
            times.append(time.monotonic())
            if client.ring.release():
                client.send_raw(BELL)
            time.sleep(0.03)
    return float(np.diff(np.interp([begin, end], times, totals))[0])


def newcomers(daemon, end):
    """How long each of some clients waited that ask for one short record, more than for a welcome,
    which costs as many turns of both sides on a busy machine."""
    latencies = []
    while not latencies or time.monotonic() < end:
        with daemon.client() as client:
            begin = time.monotonic()
            client.hello()
            welcomed = time.monotonic()
            equal(client.ask(1, b"MKT")["kind"], RESULT)
        latencies.append(max(0, time.monotonic() - welcomed - (welcomed - begin)))
        time.sleep(0.05)
    return latencies


def measure(daemon, users, seconds):
    """users: for each, how many clients, and the lengths of their records in turn. Returns what
    residues each user got, and how long newcomers waited."""
    begin = time.monotonic() + WARM_UP
    end = begin + seconds
    results = [[as_user(FIRST_UID + number, lambda: stream(daemon, lengths, begin, end))
                for _ in range(clients)]
               for number, (clients, lengths) in enumerate(users)]
    time.sleep(WARM_UP)
    # Of the user with the most clients: its own bulk must not hold it up either.
    latencies = as_user(FIRST_UID + len(users) - 1, lambda: newcomers(daemon, end))()
    shares = [sum(result() for result in user) for user in results]
    print(f"# residues {shares}, {sum(shares) / seconds:.0f}/s, "
          f"newcomers {statistics.median(latencies):.3f} s", flush=True)
    return shares, latencies


def can_tell(shares):
    """Whether these are enough residues for shares to be told."""
    return statistics.mean(shares) >= 40 * TURN


def check_equal(shares):
    mean = statistics.mean(shares)
    for share in shares:
        check(abs(share - mean) < 0.05 * mean, f"{share} of {shares}")

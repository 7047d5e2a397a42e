# SPDX-License-Identifier: Apache-2.0
#
# Engines that fail: batches, single records, slowness, and an engine that breaks for good and is
# replaced by the CPU's. The daemon is esm1nvd-faulty; faulty_engine.c says what sequences tell it.
import contextlib
import os
import select
import signal
import time

import numpy

import programs
from programs import TINY1, at_most, run_filter, wait_until
from tap import case, check, equal, main
from wire import *

OK, NONFINITE, _, _, ENGINE = range(5)
FAIL, NOT_FINITE, BREAK, SLOW, NEVER, TOO_LATE = b"W", b"X", b"B", b"Z", b"U", b"O"
GOOD = [b"MKTAY"[:1 + i % 5] * (1 + i) for i in range(20)]


def start(*options, model=TINY1, **environment):
    return programs.Daemon("--backend", "null", *options, model=model, **environment)


def ask(client, residues, tag=1):
    """The status of one record, by message."""
    answer = client.ask(tag, residues)
    equal((answer["kind"], answer["tag"]), (RESULT, tag))
    check((answer["rows"], bool(answer["data"])) == ((1, True) if answer["status"] == OK
                                                     else (0, False)))
    return answer["status"]


def check_good(client, results, sequences=GOOD):
    """Rows as the null engine fills them: the last columns hold the number of residues."""
    equal([result[1] for result in results], [OK] * len(sequences))
    for (_, _, rows, data), residues in zip(results, sequences):
        values = numpy.frombuffer(data, "<f4").reshape(rows, client.info["hidden"])
        check((values[:, 2:] == len(residues)).all())


def streaming(daemon):
    client = daemon.session(ring=MIB)
    equal(client.info["backend"], "faulty")
    return client


@case
def rows_that_are_not_finite_fail_alone():
    with start() as daemon, streaming(daemon) as client, streaming(daemon) as other:
        mixed = [part for good in GOOD for part in (good, NOT_FINITE + good)]
        results = client.stream(mixed)
        equal([tag for tag, *_ in results], list(range(len(mixed))))
        check_good(client, results[::2])
        equal([result[1:3] for result in results[1::2]], [(NONFINITE, 0)] * len(GOOD))
        check_good(other, other.stream(GOOD))
        status = daemon.status()
        equal((status["records"], status["records_failed"]), (2 * len(GOOD), len(GOOD)))


@case
def a_batch_that_fails_fails_its_records_only():
    with start() as daemon, streaming(daemon) as client, daemon.session() as other:
        for _ in range(5):
            equal(ask(other, b"MKT"), OK)
            equal(ask(other, FAIL), ENGINE)
            check_good(client, client.stream(GOOD))
        check("failed on a batch of 1 records: told to fail" in daemon.said(), daemon.said())
        results = client.stream([b"M" * 400] * 30 + [FAIL] + [b"M" * 400] * 30)
        equal([tag for tag, *_ in results], list(range(61)))
        failed = [tag for tag, status, *_ in results if status == ENGINE]
        check(30 in failed and len(failed) <= 6, failed)  # a batch has 2048 tokens
        equal(failed, list(range(failed[0], failed[-1] + 1)))
        check_good(client, [result for result in results if result[1] == OK],
                   [b"M" * 400] * (61 - len(failed)))
        status = daemon.status()
        equal((status["records_failed"], status["backend"]), (5 + len(failed), "faulty"))
        equal((status["generation"], status["note"]), (1, ""))


@case
def a_slow_batch_holds_up_neither_the_loop_nor_what_was_taken():
    with start() as daemon, daemon.session() as client, daemon.session() as gone:
        for _ in range(8):
            gone.submit(1, SLOW)
        gone.close()  # its records are in batches
        client.submit(1, SLOW)
        client.submit(2, b"MKT")
        began, statuses = time.monotonic(), 0
        while not select.select([client.socket], [], [], 0)[0] and statuses < 10:
            daemon.status()
            statuses += 1
        check(statuses == 10, f"{statuses} statuses in the time of four batches: the loop waits")
        daemon.process.terminate()
        for tag in (1, 2):
            answer = client.receive()
            equal((answer["tag"], answer["status"]), (tag, OK))
        equal(daemon.end(), 0)
        check(0.25 < time.monotonic() - began < at_most(10))


@case
def nothing_new_is_taken_while_leaving():
    with start() as daemon, daemon.session() as client, streaming(daemon) as ring:
        for tag in range(7):  # two seconds or so
            client.submit(tag, SLOW)
        equal(ring.push([SLOW]), 1)
        daemon.wait_status(lambda status: ring.ring.get(Ring.SUBMISSION_HEAD) == 32)
        daemon.process.terminate()
        daemon.wait_told("STOPPING=1")
        equal(ring.push([b"MKT"]), 1)
        client.submit(7, b"MKT")
        equal([client.receive()["tag"] for _ in range(7)], list(range(7)))
        check(client.ended())
        equal(daemon.end(), 0)
        equal([result[:2] for result in ring.ring.take()], [(0, OK)])
        equal(ring.ring.get(Ring.SUBMISSION_HEAD), 32)


def welcomed_again(daemon):
    """The WELCOME of a client that comes while another engine is being opened."""
    def welcome():
        with daemon.client() as client:
            answer = client.hello()
            if answer["kind"] == WELCOME:
                return answer
            equal((answer["kind"], answer["code"], answer["retry"]), (REFUSED, BUSY, 1))
            check("engine" in answer["text"], answer)

    return wait_until(welcome, "a welcome")


@case
def an_engine_that_breaks_is_replaced_by_the_cpu():
    with start("--precision", "f16") as daemon:
        with streaming(daemon) as ring, daemon.session() as messages, daemon.client() as late:
            check_good(ring, ring.stream(GOOD))
            messages.submit(1, SLOW)
            equal(ring.push(GOOD + [BREAK] + GOOD), 2 * len(GOOD) + 1)
            while True:  # bells, and the slow record's answer when it came before
                try:
                    ring.receive_raw()
                except (Closed, ConnectionResetError):
                    break
            equal([result for result in ring.ring.take() if result[1] != OK], [])
            check(messages.ended() or messages.ended())
            answer = welcomed_again(daemon)
            equal((answer["backend"], answer["precision"], answer["digest"]),
                  ("cpu", "f32", messages.info["digest"]))
            equal(late.hello()["backend"], "cpu")
            for residues in (BREAK, FAIL, SLOW, NOT_FINITE, b"MKT"):
                equal(ask(late, residues), OK)
        status = daemon.status()
        equal((status["backend"], status["generation"], status["note"]),
              ("cpu", 2, "the faulty engine broke: told to break"))
        check("engine broke" in daemon.said(), daemon.said())
        daemon.take_notices()
        check(any(line.startswith("STATUS=Serving tiny1.nemo (cpu") and "broke" in line
                  for line in daemon.told), daemon.told)
        status = daemon.reload()
        equal((status["backend"], status["generation"], status["note"]), ("faulty", 3, ""))


@case
def a_filter_stops_rather_than_mix_two_backends():
    with start() as daemon:
        done = run_filter(daemon, "-i", "lines", expect=75,
                          input=b"MKT\n" * 50 + b"BMKT\n" + b"MKT\n" * 50)
        check("cpu f32" in done.stderr and "faulty f32" in done.stderr, done.stderr)
        check("error" not in done.stderr and done.stdout.count(b"\n") <= 100)
        status = run_filter(daemon, "--status").stdout
        check(b"the faulty engine broke: told to break" in status, status)


@case
def without_another_engine_the_daemon_leaves():
    with start(ESM1NV_NO_CPU="1") as daemon, daemon.session() as client:
        client.submit(1, BREAK)
        check(client.ended())
        equal(daemon.end(), 70)
        last = daemon.said().splitlines()[-1]
        check("told to break" in last and "there is no CPU" in last, last)
        check(not os.path.exists(daemon.socket))


@contextlib.contextmanager
def old_and_new(daemon):
    """A session of each of two generations."""
    with daemon.session() as old:
        equal(daemon.reload()["generation"], 2)
        with daemon.session() as new:
            yield old, new


@case
def an_old_engine_that_breaks_ends_its_own_sessions():
    with start() as daemon, old_and_new(daemon) as (old, new):
        old.submit(1, BREAK)
        check(old.ended())
        equal(ask(new, b"MKT"), OK)
        status = daemon.status()
        equal((status["backend"], status["generation"], status["clients"]), ("faulty", 2, 1))


@case
def one_engine_computes_at_a_time():
    with start() as daemon, old_and_new(daemon) as clients:
        began = time.monotonic()
        for client in clients:
            client.submit(1, SLOW)
        for client in clients:
            equal(client.receive()["status"], OK)
        took = time.monotonic() - began
        check(took >= 0.6, f"both batches took {took} s, of 0.3 s each")


def break_while_loading(daemon, client):
    daemon.hang_up()
    daemon.wait_told("RELOADING=1")
    client.submit(1, BREAK)
    check(client.ended())


@case
def what_is_being_loaded_takes_over_from_an_engine_that_breaks():
    with start(model="synthetic:1") as daemon, daemon.session() as client:
        break_while_loading(daemon, client)
        equal(welcomed_again(daemon)["backend"], "faulty")
        status = daemon.status()
        equal((status["backend"], status["generation"], status["note"]), ("faulty", 2, ""))


@case
def a_load_that_fails_leaves_an_engine_that_broke_to_the_cpu():
    with start(ESM1NV_SECOND_OPEN="1") as daemon, daemon.session() as client:
        break_while_loading(daemon, client)
        equal(welcomed_again(daemon)["backend"], "cpu")
        check("there is no second one" in daemon.said(), daemon.said())
        status = daemon.status()
        equal((status["generation"], status["note"]), (2, "the faulty engine broke: told to break"))


@case
def a_reload_asked_for_meanwhile_comes_when_the_cpu_has_taken_over():
    with start(ESM1NV_SECOND_OPEN="1") as daemon, daemon.session() as client:
        break_while_loading(daemon, client)
        daemon.process.send_signal(signal.SIGHUP)
        status = daemon.wait_status(lambda status: status["generation"] == 2 and
                                    "the last reload failed" in status["note"])
        equal(status["backend"], "cpu")
        equal(daemon.said().count("there is no second one"), 2)


def fill(daemon, client):
    """The engine with batches that never come back; returns how many residues are queued then."""
    client.hello()
    for tag in range(3):  # it takes two of them
        client.submit(tag, NEVER)
        for _ in range(2):
            daemon.status()
    return daemon.wait_status(lambda status: status["queued_residues"] > 0)["queued_residues"]


def queue(daemon, client, residues, queued):
    """Submits one record, and waits until it was looked at and so many residues are queued."""
    client.ring.put(1, residues)
    client.ring.publish()
    client.send_raw(BELL)
    wait_until(lambda: client.ring.get(Ring.SUBMISSION_HEAD) > 0)
    daemon.wait_status(lambda status: status["queued_residues"] == queued)


@case
def room_that_a_client_leaves_goes_to_the_others_of_its_user():
    with start("--max-queued-per-user", "600") as daemon, daemon.client() as occupies, \
            streaming(daemon) as waits:
        before = fill(daemon, occupies)
        with streaming(daemon) as leaves:
            queue(daemon, leaves, b"M" * 500, before + 500)
            queue(daemon, waits, b"M" * 400, before + 500)
            equal(daemon.status()["queued_residues"], before + 500)
        daemon.wait_status(lambda status: status["queued_residues"] == before + 400)
        daemon.kill()


@case
def leaving_does_not_wait_for_a_load():
    with start(ESM1NV_SECOND_OPEN="600") as daemon, daemon.session() as client:
        daemon.hang_up()
        daemon.wait_told("RELOADING=1")
        began = time.monotonic()
        equal(daemon.terminate(), 0)
        check(time.monotonic() - began < at_most(10))
        check(client.ended() and not os.path.exists(daemon.socket))


@case
def leaving_does_not_wait_for_another_engine():
    with start(model="synthetic:1") as daemon, daemon.session() as client:
        client.submit(1, BREAK)
        check(client.ended())
        began = time.monotonic()
        equal(daemon.terminate(), 0)
        check(time.monotonic() - began < at_most(4))


@case
def batches_that_a_broken_engine_keeps_hold_up_neither_the_next_one_nor_the_end():
    with start() as daemon, daemon.client() as late:
        with daemon.session() as gone, streaming(daemon) as client:
            equal(ask(gone, b"MKT"), OK)
            gone.submit(1, NEVER)
            for _ in range(2):
                daemon.status()
            gone.submit(2, TOO_LATE)
            began = time.monotonic()
            check(gone.ended() and client.ended())
        equal(welcomed_again(daemon)["backend"], "cpu")
        late.hello()
        while time.monotonic() - began < 0.8:
            equal(ask(late, b"MKT"), OK)
        began = time.monotonic()
        equal(daemon.terminate(), 0)
        check(time.monotonic() - began < at_most(5))
        check("in time" not in daemon.said(), daemon.said())


@case
def leaving_waits_for_the_engine_but_not_for_ever():
    with start(ESM1NV_SECOND_OPEN="2") as daemon, daemon.session() as done, daemon.session() as waits:
        equal(ask(done, b"MKT"), OK)
        for tag, residues in enumerate((NEVER, NEVER, b"MKT")):  # the engine takes two batches
            waits.submit(tag, residues)
            for _ in range(2):
                daemon.status()
        daemon.wait_status(lambda status: status["queued_residues"] > 0)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_told("RELOADING=1")
        began = time.monotonic()
        daemon.process.terminate()
        check(done.ended() and waits.ended())
        check(5 < time.monotonic() - began < 10 + at_most(5), "that took another time")
        equal(daemon.end(), 0)
        daemon.take_notices()  # of the load, which ended meanwhile, nothing is said
        check("READY=1" not in daemon.told[daemon.told.index("STOPPING=1"):], daemon.told)
        check("before all that was taken is finished" in daemon.said(), daemon.said())
        check(not os.path.exists(daemon.socket))


main()

# SPDX-License-Identifier: Apache-2.0
#
# SIGHUP: the model file is loaded again beside the old one. Who gets which model is told by WELCOME's
# digest and shown by the bytes of rows, held against daemons that only ever had one model.
import contextlib
import os
import signal
import threading
import time

from programs import (SANITIZED, TINY1, TINY2, Daemon, ReplacedModel, as_user, in_work, need_root,
                      new_folder)
from tap import SCALE, case, check, equal, main
from wire import *

import nemo_file

RECORDS = [bytes(b"LASGVERTDIPKNFQYHMCWXBZUO"[(i * i + n) % 25] for i in range(1 + n * 17 % 300))
           for n in range(40)]
OTHER_UID = 61011
RELOADS = max(4, round(10 * SCALE))


def embed(client, records=RECORDS):
    """Rows through the ring, and of the first records by message before it is attached."""
    results = []
    if not client.ring:
        answers = [client.ask(tag, record) for tag, record in enumerate(records[:3])]
        results = [(answer["status"], answer["data"]) for answer in answers]
        client.attach()
        records = records[3:]
    return results + [(status, data) for _, status, _, data in client.stream(records)]


def truth(model):
    with ReplacedModel(model=model) as daemon, daemon.session() as client:
        return client.info["digest"], embed(client)


DIGEST1, ROWS1 = truth(TINY1)
DIGEST2, ROWS2 = truth(TINY2)


@case
def the_two_models_differ():
    check(DIGEST1 != DIGEST2 and not set(ROWS1) & set(ROWS2))


@case
def sessions_keep_the_model_they_were_welcomed_with():
    with ReplacedModel() as daemon, daemon.session() as old, daemon.client() as waiting:
        equal(old.info["digest"], DIGEST1)
        equal(embed(old), ROWS1)
        status = daemon.reload(TINY2)
        equal((status["generation"], status["digest"], status["clients"],
               status["clients_before"]), (2, DIGEST2, 1, 1))
        with daemon.session() as new:
            equal(new.info["digest"], DIGEST2)
            equal(waiting.hello()["digest"], DIGEST2)  # was connected, not welcomed
            equal(daemon.status()["clients_before"], 1)
            for _ in range(3):
                equal(embed(new), ROWS2)
                equal(embed(old), ROWS1)
            equal(embed(waiting), ROWS2)
        with daemon.client() as third:
            equal(third.hello(expect=DIGEST1[:8])["code"], MODEL)


@case
def the_old_model_goes_with_its_last_session():
    with ReplacedModel("--threads", "3") as daemon:
        held = daemon.held()
        with daemon.session() as first, daemon.session() as second:
            daemon.reload(TINY2)
            check(daemon.threads() > held[0], "the old engine is gone already")
            first.close()
            daemon.wait_status(lambda status: status["clients_before"] == 1)
            check("closed" not in daemon.said(), daemon.said())
            equal(embed(second), ROWS1)
        daemon.wait_status(lambda status: status["clients"] == 0)
        daemon.wait_held(*held)
        check("generation 1, model.nemo, has no clients any more" in daemon.said(), daemon.said())


@case
def both_are_served_at_once():
    """Streams of both models, and new ones all the while."""
    def stream(client, wanted):
        try:
            for _ in range(max(2, round(8 * SCALE))):
                equal(embed(client, RECORDS[3:]), wanted[3:])
        except Exception as problem:
            problems.append(repr(problem)[:300])

    problems = []
    with ReplacedModel() as daemon, contextlib.ExitStack() as stack:
        threads = []
        for model, digest, rows in ((None, DIGEST1, ROWS1), (TINY2, DIGEST2, ROWS2),
                                    (TINY1, DIGEST1, ROWS1)):
            if model:
                daemon.reload(model)
            for _ in range(3):
                client = stack.enter_context(daemon.session(ring=MIB))
                equal(client.info["digest"], digest)
                threads.append(threading.Thread(target=stream, args=(client, rows)))
                threads[-1].start()
        for thread in threads:
            thread.join()
        equal(problems, [])
        equal(daemon.status()["generation"], 3)


def damaged_models(folder):
    """(what to put in place, words of the reason)"""
    path = os.path.join(folder, "bad.nemo")
    with open(TINY1, "rb") as file:
        whole = file.read()
    for content in (b"", whole[:len(whole) // 2], b"garbage" * 1000):
        with open(path, "wb") as file:
            file.write(content)
        yield path
    config, tensors, _ = nemo_file.read_nemo(TINY1)
    nemo_file.write_nemo(path, {**config, "num_attention_heads": 3}, tensors)
    yield path


def fails(daemon, reason):
    """SIGHUP changes nothing, and says why."""
    before = daemon.status()
    daemon.hang_up()
    told = daemon.notices("READY=1")
    equal(told[0], "RELOADING=1")
    status = daemon.wait_status(lambda status: "the last reload failed" in status["note"])
    for text in (status["note"], daemon.said().splitlines()[-1],
                 [line for line in told if line.startswith("STATUS=Serving")][0]):
        check(reason in text, text)
    for key in ("digest", "generation", "threads", "backend"):
        equal(status[key], before[key])


@case
def a_new_file_that_cannot_be_loaded_changes_nothing():
    folder = new_folder()
    with ReplacedModel() as daemon, daemon.session() as old:
        held = daemon.held()
        for path in damaged_models(folder):
            daemon.put(path)
            fails(daemon, daemon.file)
        os.unlink(daemon.file)
        fails(daemon, "No such file")
        daemon.put(TINY2)
        equal(embed(old), ROWS1)
        with daemon.session() as new:
            equal(new.info["digest"], DIGEST1)
        daemon.wait_held(*held)
        status = daemon.reload()
        equal((status["digest"], status["note"], status["generation"]), (DIGEST2, "", 2))


@case
def a_model_beyond_the_limits_is_refused():
    small, large = in_work("small.nemo"), in_work("large.nemo")
    for path, positions in ((small, 64), (large, 1024)):
        config = nemo_file.esm1nv_config(1, 128, positions=positions)
        nemo_file.write_nemo(path, config, nemo_file.esm1nv_tensors(config))
    with ReplacedModel("--max-batch-residues", "600", model=small) as daemon:
        with daemon.session() as old:
            equal(old.info["positions"], 64)
            daemon.put(large)
            fails(daemon, "--max-batch-residues")
            equal(daemon.reload(TINY1)["positions"], 512)
            with daemon.session() as new:
                old.attach()
                equal(len(old.stream([b"M" * 64] * 30)), 30)
                equal(embed(new), ROWS1)


@case
def the_service_manager_is_told():
    with ReplacedModel(backend="null") as daemon:
        before = time.monotonic_ns() // 1000
        daemon.hang_up()
        told = daemon.notices("READY=1")
        check(told[0] == "RELOADING=1" and told[1].startswith("MONOTONIC_USEC="), told)
        check(before <= int(told[1].split("=")[1]) <= time.monotonic_ns() // 1000, told)
        check(told[2].startswith("STATUS=Loading"), told)
        check(told[3].startswith("STATUS=Serving model.nemo (null"), told)
        equal(told[4:], ["READY=1"])


@case
def signals_while_loading_are_one_more_reload():
    while True:  # until all of them were sent in time
        with Daemon("--backend", "null", model="synthetic:3") as daemon:
            for _ in range(20):
                daemon.hang_up()
                time.sleep(0.002)
            if daemon.status()["generation"] > 1:
                continue
            check_one_more_reload(daemon)
            return


def check_one_more_reload(daemon):
    daemon.wait_status(lambda status: status["generation"] == 3)
    status = daemon.status()
    daemon.take_notices()
    equal(daemon.told.count("RELOADING=1"), 2)
    equal((status["generation"], status["synthetic"], status["note"]), (3, 1, ""))
    equal(daemon.said().count("no biology"), 3)


@case
def a_signal_before_the_first_model_is_loaded():
    with Daemon("--backend", "null", model="synthetic", wait=False) as daemon:
        daemon.wait_told("STATUS=Loading synthetic")
        daemon.hang_up()
        daemon.wait_told("READY=1")
        daemon.wait_status(lambda status: status["generation"] == 2)


@case
def many_reloads_leave_nothing_behind():
    with ReplacedModel("--threads", "2") as daemon:
        memory, held = [], daemon.held()
        for number in range(2 * RELOADS):
            digest, rows = ((DIGEST2, ROWS2), (DIGEST1, ROWS1))[number % 2]
            with daemon.session() as old:
                equal(daemon.reload(TINY1 if number % 2 else TINY2)["digest"], digest)
                with daemon.session() as new:
                    equal(embed(new), rows)
                equal(embed(old), ROWS1 if number % 2 == 0 else ROWS2)
            daemon.wait_status(lambda status: status["clients"] == 0)
            daemon.wait_held(*held)
            memory.append(daemon.memory())
        if not SANITIZED:  # they keep what is freed
            check(max(memory[RELOADS:]) <= max(memory[2:RELOADS]) + 512, f"KiB of memory: {memory}")


@case
def an_idle_daemon_still_leaves():
    with ReplacedModel("--idle-exit", "3", backend="null") as daemon:
        daemon.reload(TINY2)
        equal(daemon.end(), 0)


@case
def only_the_owner_and_root_may_reload_or_stop():
    need_root()
    with ReplacedModel(backend="null") as daemon:
        daemon.let_everybody_in()

        def hang_up():
            try:
                os.kill(daemon.process.pid, signal.SIGHUP)
            except PermissionError:
                return "refused"

        def stop():
            with daemon.client() as client:
                client.send(STOP, protocol=1)
                answer = client.receive()
                return [answer["kind"], answer["code"]]

        equal(as_user(OTHER_UID, hang_up)(), "refused")
        equal(as_user(OTHER_UID, stop)(), [REFUSED, DENIED])
        equal(daemon.status()["generation"], 1)
        daemon.reload()


main()

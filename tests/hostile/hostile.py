# SPDX-License-Identifier: Apache-2.0
#
# What the tests against hostile peers share: a daemon that other users may reach, with guard pages
# around rings, and the filter's outputs to compare.
import contextlib
import os
import threading

from programs import (DAEMON, FILTER, PATIENCE, SANITIZED, TINY1, TINY2, Daemon,  # noqa: F401
                      as_user, at_most, environment, need_root, new_folder, quickest, run_filter,
                      start_filter, wait_until)
from tap import SCALE, Skip, case, check, equal, main  # noqa: F401
from wire import *  # noqa: F401, F403

TOOLS = os.environ["ESM1NV_TOOLS"]  # where attack and deny are
# The filter is not what is tested here: it need not look for leaks each time.
FILTER_ENVIRONMENT = environment(ASAN_OPTIONS="detect_leaks=0")
MEASURABLE = "quarantine_size_mb=1:" + os.environ.get("ASAN_OPTIONS", "")


def tool(name):
    return os.path.join(TOOLS, name)


def start(*options, model=TINY1, backend="null", **more):
    """A daemon that every user of the machine may connect to."""
    daemon = Daemon("--backend", backend, *options, model=model, ASAN_OPTIONS=MEASURABLE, **more)
    return daemon.let_everybody_in()


def wait_clean(daemon, descriptors, clients=0):
    """Nothing is left of anybody: no client, byte, mapping or descriptor."""
    daemon.wait_status(lambda status: (status["clients"], status["pinned_bytes"],
                                       status["queued_residues"]) == (clients, 0, 0))
    wait_until(lambda: daemon.descriptors() <= descriptors,
               lambda: f"descriptors go: {descriptors} were open, now "
               f"{os.listdir(f'/proc/{daemon.process.pid}/fd')}")
    wait_until(lambda: daemon.rings() == 0, "rings are unmapped")


def filter_output(daemon, arguments, fasta):
    run = run_filter(daemon, *arguments, input=fasta, env=FILTER_ENVIRONMENT)
    equal(run.stderr, "")
    return run.stdout


def sequence(length, salt=0):
    return bytes(b"LASGVERTDIPKNFQYHMCWXBZUO"[(i * i + salt) % 25] for i in range(length))


def fasta(records):
    return b"".join(b">r%d\n%s\n" % (i, sequence(1 + i * 37 % 511, i)) for i in range(records))


@contextlib.contextmanager
def steady_clients(daemon, records=150):
    """Filters that run one after the other all the while; yields how often each has. Their outputs
    are compared with those from before."""
    kinds = [["--pool", "mean"], ["--pool", "none", "-f", "raw"], ["--pool", "max", "-f", "jsonl"]]
    text = fasta(records)
    undisturbed = [filter_output(daemon, kind, text) for kind in kinds]
    runs, problems, end = [0] * len(kinds), [], threading.Event()

    def work(number):
        while not end.is_set():
            try:
                check(filter_output(daemon, kinds[number], text) == undisturbed[number],
                      f"{kinds[number]}: another output")
                runs[number] += 1
            except Exception as problem:
                problems.append(repr(problem)[:500])
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(kinds))]
    for thread in threads:
        thread.start()
    try:
        yield runs
    finally:
        end.set()
        for thread in threads:
            thread.join()
    equal(problems, [])

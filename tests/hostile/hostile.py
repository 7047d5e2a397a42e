# SPDX-License-Identifier: Apache-2.0
#
# What the tests against hostile peers share: the programs, a daemon that other users may reach, and
# the filter's outputs to compare. TAP and the daemon's life are those of tests/daemon.
import contextlib
import os
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", name) for name in ("daemon", "lib")]

from harness import Daemon, Skip, case, check, equal, run_cases  # noqa: E402, F401
from patience import PATIENCE, SANITIZED, at_most, quickest, wait_until  # noqa: E402, F401
from wire import *  # noqa: E402, F401, F403

DATA = os.path.join(HERE, "..", "data")
TINY1 = os.path.join(DATA, "models", "tiny1.nemo")
TINY2 = os.path.join(DATA, "models", "tiny2.nemo")
FILTER = os.environ["ESM1NV_FILTER"]
DAEMON = os.environ["ESM1NV_DAEMON"]  # with guard pages around rings
TOOLS = os.environ["ESM1NV_TOOLS"]  # where attack and deny are
SCALE = float(os.environ.get("ESM1NV_TEST_SCALE", "1"))
# The filter is not what is tested here: it need not look for leaks each time.
FILTER_ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
MEASURABLE = {"ASAN_OPTIONS": "quarantine_size_mb=1:" + os.environ.get("ASAN_OPTIONS", "")}


def tool(name):
    return os.path.join(TOOLS, name)


def start(*options, model=TINY1, backend="null", program=DAEMON, **more):
    """A daemon that every user of the machine may connect to."""
    more["environment"] = {**MEASURABLE, **more.get("environment", {})}
    daemon = Daemon(program, "--model", model, "--backend", backend, *options, **more)
    os.chmod(daemon.directory, 0o711)
    os.chmod(daemon.path, 0o666)
    return daemon


def rss(daemon):
    """KiB of its own memory that is resident; pages of rings are the clients'."""
    with open(f"/proc/{daemon.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))


def mappings(daemon):
    with open(f"/proc/{daemon.process.pid}/maps") as maps:
        return sum("memfd:" in line for line in maps)


def wait_clean(daemon, descriptors, clients=0):
    """Nothing is left of anybody: no client, byte, mapping or descriptor."""
    daemon.wait_status(lambda status: (status["clients"], status["pinned_bytes"],
                                       status["queued_residues"]) == (clients, 0, 0))
    wait_until(lambda: daemon.descriptors() <= descriptors,
               lambda: f"descriptors go: {descriptors} were open, now "
               f"{os.listdir(f'/proc/{daemon.process.pid}/fd')}")
    wait_until(lambda: mappings(daemon) == 0, "rings are unmapped")


def filter_output(daemon, arguments, fasta):
    run = subprocess.run([FILTER, "--socket", daemon.path, *arguments], input=fasta, timeout=PATIENCE,
                         capture_output=True, env=FILTER_ENVIRONMENT)
    equal((run.returncode, run.stderr), (0, b""))
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

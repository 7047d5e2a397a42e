# SPDX-License-Identifier: Apache-2.0
#
# Hours of everything at once: soak.py BUILD MINUTES. One daemon stays and reloads its model again
# and again, among attackers, clients that are killed, stopped or many; another is killed all the
# time. Streams of several users in every format run through both, and each output is compared with
# the undisturbed one. In the end the daemon that stayed must have kept nothing of anybody, and share
# equally. Progress goes to stderr, the summary to stdout; exits with 0 when all was well.
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD, MINUTES = os.path.abspath(sys.argv[1]), float(sys.argv[2])
os.environ.update(ESM1NV_FILTER=f"{BUILD}/client/filter/esm1nv",
                  ESM1NV_DAEMON=f"{BUILD}/tests/hostile/esm1nvd-guarded",
                  ESM1NV_TOOLS=f"{BUILD}/tests/hostile")
sys.path[:0] = [HERE, *(os.path.join(HERE, "..", name) for name in ("lib", "hostile"))]

import disturb  # noqa: E402
import shares  # noqa: E402
import streams  # noqa: E402
from hostile import FILTER, TINY1, Restarted, check, start, tool, wait_clean  # noqa: E402

PROGRESS_SECONDS = 10
PROBLEMS_MAX = 20  # then it is time to look
SLACK = 4096  # KiB that the heap may keep beyond its busiest moment of the first third
SHARES = [(1, [500]), (3, [30, 400]), (8, [10, 60, 510]), (12, [100])]
FIRST_UID = 61051  # of the users of streams; the last one attacks


class Soak:
    """What the workers share: when to end, what was done, and what went wrong."""

    def __init__(self, folder):
        self.folder = folder
        self.users = list(range(FIRST_UID, FIRST_UID + 4)) if os.geteuid() == 0 else [None]
        self.end = threading.Event()
        self.lock = threading.Lock()
        self.counts, self.problems = {}, []
        self.wanted = {}  # what each kind of stream gives undisturbed

    def count(self, name, number=1):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + number

    def problem(self, text):
        print(f"soak: PROBLEM: {text}", file=sys.stderr, flush=True)
        with self.lock:
            self.problems.append(text)
        if len(self.problems) >= PROBLEMS_MAX:
            self.end.set()

    def work(self, function, *arguments):
        """A thread that calls the function until the end."""
        def run():
            while not self.end.is_set():
                try:
                    function(self, *arguments)
                except Exception:
                    self.problem(f"{function.__name__}: {traceback.format_exc()[-1500:]}")
                    self.end.wait(1)
        thread = threading.Thread(target=run)
        thread.start()
        return thread


def clock(seconds):
    return f"{seconds // 60:.0f}:{seconds % 60:02.0f}"


def watch(soak, daemon, seconds):
    """Tells how it goes until the time is up; returns the most KiB in the first third."""
    begin, most, told = time.monotonic(), 0, 0
    while not soak.end.wait(0.5) and time.monotonic() - begin < seconds:
        passed = time.monotonic() - begin
        if daemon.process.poll() is not None:
            soak.problem(f"the daemon that stays has left: {daemon.said()[-1500:]}")
            break
        if passed < seconds / 3:
            most = max(most, daemon.memory())
        if passed - told >= PROGRESS_SECONDS:
            told = passed
            done = ", ".join(f"{number} {name}" for name, number in sorted(soak.counts.items()))
            print(f"soak: {clock(passed)} of {clock(seconds)}: {done}; {daemon.memory()} KiB, "
                  f"{daemon.descriptors()} descriptors, {daemon.rings()} rings",
                  file=sys.stderr, flush=True)
    return most


def judge(soak, daemon, descriptors, most):
    """What must hold when everybody has left. Returns lines for the summary."""
    lines = []
    for name in (*streams.NAMES, *disturb.NAMES):
        if not soak.counts.get(name):
            soak.problem(f"nothing was done: {name}")
    wait_clean(daemon, descriptors)
    lines.append(f"descriptors: {descriptors} before, {daemon.descriptors()} now; no rings mapped")
    lines.append(f"memory: {most} KiB at most in the first third, {daemon.memory()} KiB now")
    check(daemon.memory() <= most + SLACK, lines[-1])
    if os.geteuid() == 0:
        got, _ = shares.measure(daemon, SHARES, 6)
        lines.append(f"shares: {got} residues")
        if shares.can_tell(got):
            shares.check_equal(got)
    return lines


def soak_all(soak, stays, dies):
    descriptors = stays.descriptors()
    soak.wanted = streams.undisturbed(soak, stays.socket)
    workers = [soak.work(streams.run_one, stays.socket, user, False) for user in soak.users]
    workers += [soak.work(streams.run_one, dies.path, user, True)
                for user in soak.users[:2]]
    workers += [soak.work(streams.talk, dies.path, soak.users[0])]
    workers += [soak.work(function, stays.socket) for function in disturb.CLIENTS]
    workers += [soak.work(function, stays) for function in disturb.STAYING]
    workers += [soak.work(function, dies) for function in disturb.DYING]
    try:
        most = watch(soak, stays, MINUTES * 60)
    finally:
        soak.end.set()
        for worker in workers:
            worker.join()
    return judge(soak, stays, descriptors, most)


def copy_programs(folder):
    """To where every user may run them."""
    os.chmod(folder, 0o711)
    module = os.path.join(os.path.dirname(FILTER), "esm1nv-h5.so")
    for program in (FILTER, module, tool("attack"), tool("come_and_go")):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(program, folder)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="esm1nv-soak-") as folder:
        copy_programs(folder)
        soak = Soak(folder)
        lines = []
        options = ("--threads", "1", "--log-level", "warning")
        kind = {"model": TINY1, "backend": "cpu"}
        try:
            with start(*options, **kind) as stays, \
                    Restarted(*options, start=start, **kind) as dies:
                lines = soak_all(soak, stays, dies)
        except Exception:
            soak.problem(traceback.format_exc())
    for name, number in sorted(soak.counts.items()):
        print(f"{name}: {number}")
    print("\n".join(lines))
    print(f"{len(soak.problems)} problems in {MINUTES:g} minutes")
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())

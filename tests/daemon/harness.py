# SPDX-License-Identifier: Apache-2.0
#
# What the daemon's tests need: TAP cases, and a daemon of their own in a temporary directory that
# is gone, with all its files, when the test ends.
import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from patience import (PATIENCE, SANITIZED, at_most, gone, quickest,  # noqa: E402, F401
                      wait_until)
from wire import Client, STATUS_QUERY  # noqa: E402

cases = []
scale = float(os.environ.get("ESM1NV_TEST_SCALE", "1"))  # of the slow work


def case(function):
    cases.append(function)
    return function


class Skip(Exception):
    pass


def run_cases():
    selected = os.environ.get("ESM1NV_TEST_CASE", "")  # a substring of names, for people
    chosen = [(function.__name__.replace("_", " "), function) for function in cases]
    chosen = [(name, function) for name, function in chosen if selected in name]
    failed = False
    print(f"1..{len(chosen)}", flush=True)
    for number, (name, function) in enumerate(chosen, 1):
        begin = time.monotonic()
        try:
            function()
            print(f"# {time.monotonic() - begin:.1f} s")
            print(f"ok {number} - {name}", flush=True)
        except Skip as reason:
            print(f"ok {number} - {name} # SKIP {reason}", flush=True)
        except Exception:
            failed = True
            for line in traceback.format_exc().splitlines():
                print(f"# {line}")
            print(f"not ok {number} - {name}", flush=True)
    sys.exit(failed)


def check(condition, *what):
    if not condition:
        raise AssertionError(*what)


def equal(got, wanted):
    check(got == wanted, f"got {got!r}, wanted {wanted!r}")


def clean_environment(**more):
    drop = ("ESM1NV_", "LISTEN_", "NOTIFY_", "WATCHDOG_", "JOURNAL_STREAM")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(drop)}
    if "ESM1NV_LOOP" in os.environ:
        environment["ESM1NV_LOOP"] = os.environ["ESM1NV_LOOP"]
    environment["ESM1NV_CUDA_PLUGIN"] = ""  # the same everywhere, whatever GPU there is
    environment.update(more)
    return environment


@contextlib.contextmanager
def temporary_directory():
    path = tempfile.mkdtemp(prefix="esm1nv-test-")
    try:
        yield path
    finally:
        shutil.rmtree(path)


class Daemon:
    """esm1nvd with options, ready when created. Its log is text() after it has ended."""

    def __init__(self, program, *options, environment=None, wait=True, preexec=None, path=None):
        self.directory = tempfile.mkdtemp(prefix="esm1nv-test-")
        self.path = path or os.path.join(self.directory, "socket")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(os.path.join(self.directory, "notify"))
        self.notify.settimeout(0.2)
        self.told = []
        self.log = open(os.path.join(self.directory, "log"), "w+b")
        self.process = subprocess.Popen(
            [*([program] if isinstance(program, str) else program), "--socket", self.path,
             *options], stderr=self.log, preexec_fn=preexec,
            env=clean_environment(NOTIFY_SOCKET=self.notify.getsockname(), **(environment or {})))
        if wait:
            try:
                self.wait_told("READY=1")
            except AssertionError:
                self.clean_up()
                raise

    def wait_told(self, wanted):
        until = time.monotonic() + PATIENCE
        while wanted not in self.told:
            try:
                self.told += self.notify.recv(65536).decode().split("\n")
            except TimeoutError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise AssertionError(f"no {wanted}; told {self.told}, log: {self.text()}")

    def take_notices(self):
        """Those that are there: a queue that is full would hold the daemon up."""
        while select.select([self.notify], [], [], 0)[0]:
            self.told += self.notify.recv(65536).decode().split("\n")

    def client(self):
        return Client(self.path)

    def status(self):
        self.take_notices()
        with self.client() as client:
            client.send(STATUS_QUERY, protocol=1)
            return client.receive()

    def wait_status(self, predicate):
        seen = []

        def holds():
            seen[:] = [self.status()]
            return predicate(*seen)

        wait_until(holds, lambda: f"another status than {seen}")
        return seen[0]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self):
        """All but those that close descriptors, which come and go."""
        folder, count = f"/proc/{self.process.pid}/task", 0
        for thread in os.listdir(folder):
            with gone(), open(f"{folder}/{thread}/comm") as name:
                count += name.read() != "esm1nvd-close\n"
        return count

    def wait_held(self, threads, descriptors):
        """Until it has so many of them."""
        wait_until(lambda: (self.threads(), self.descriptors()) == (threads, descriptors), lambda:
                   f"{(self.threads(), self.descriptors())}, not {(threads, descriptors)}")

    def held(self):
        """Threads and descriptors, once nothing is under way."""
        seen = []
        while len(seen) < 10 or len(set(seen[-10:])) > 1:
            seen.append((self.threads(), self.descriptors()))
            time.sleep(0.01)
        return seen[-1]

    def anonymous_memory(self):
        """KiB"""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

    def rings(self):
        with open(f"/proc/{self.process.pid}/maps") as maps:
            return sum("memfd:ring" in line for line in maps)

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_seconds_in(self, seconds):
        """What it uses of the next ones."""
        before = self.cpu_seconds()
        time.sleep(seconds)
        return self.cpu_seconds() - before

    def text(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return log.read()

    def end(self):
        """Waits for the daemon to leave by itself; returns its exit status."""
        return self.process.wait(timeout=PATIENCE)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if self.process.poll() is None:
                status = self.terminate()
                if kind is None:
                    check(status == 0, f"exit status {status}: {self.text()}")
            text = self.text()
            if kind is None:
                check("Sanitizer" not in text and "runtime error" not in text, text)
            else:
                print("# log: " + text[-1500:].replace("\n", "\n# "))
        finally:
            self.clean_up()

    def clean_up(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.notify.close()
        shutil.rmtree(self.directory)

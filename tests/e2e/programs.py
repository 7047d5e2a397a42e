# SPDX-License-Identifier: Apache-2.0
"""Starts and ends the two programs for the end-to-end tests: a Daemon in a directory of its own,
and the filter on it. A test program works in work_folder() and ends with finish(), which makes sure
that no process and no file is left.
"""
import atexit
import contextlib
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "data")
sys.path[:0] = [os.path.join(HERE, "..", name) for name in ("tools", "lib")]

from patience import PATIENCE, SANITIZED, at_most, gone, wait_until  # noqa: E402, F401

FILTER = os.environ["ESM1NV_FILTER"]
DAEMON = os.environ["ESM1NV_DAEMON"]
PROTEINS = os.path.join(DATA, "proteins.fasta")
TINY1 = os.path.join(DATA, "models", "tiny1.nemo")  # H 128, one layer, f32
TINY2 = os.path.join(DATA, "models", "tiny2.nemo")  # H 128, two layers, f16
SANITIZER_REPORTS = ("Sanitizer", "runtime error:")

_work = None
daemons = []


def work_folder():
    global _work
    if not _work:
        _work = tempfile.mkdtemp(prefix="esm1nv-test.")
    return _work


def in_work(name):
    return os.path.join(work_folder(), name)


def environment(**changes):
    """The environment for a program: nothing of the user's own esm1nv; None removes a name."""
    result = {name: value for name, value in os.environ.items()
              if not name.startswith("ESM1NV_") and name not in ("XDG_RUNTIME_DIR",
                                                                 "NOTIFY_SOCKET")}
    result["XDG_RUNTIME_DIR"] = work_folder()
    result["ESM1NV_CUDA_PLUGIN"] = ""  # the same everywhere, whatever GPU there is
    for name, value in changes.items():
        result.pop(name, None)
        if value is not None:
            result[name] = value
    return result


def check_stderr(text):
    for word in SANITIZER_REPORTS:
        assert word not in text, text


class DaemonFailed(Exception):
    def __init__(self, status, text):
        super().__init__("esm1nvd left with %s: %s" % (status, text))
        self.status, self.text = status, text


class Daemon(contextlib.AbstractContextManager):
    """A running esm1nvd that has said READY=1; DaemonFailed when it left instead. at: the socket
    to listen at; other keyword arguments are its environment."""

    def __init__(self, *options, model=TINY2, at=None, **variables):
        self.folder = tempfile.mkdtemp(dir=work_folder())
        self.socket = at or os.path.join(self.folder, "socket")
        self.notices = []
        self.stderr = open(os.path.join(self.folder, "stderr"), "w+")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            path = os.path.join(self.folder, "notify")
            notify.bind(path)
            self.process = subprocess.Popen(
                [DAEMON, "--model", model, "--socket", self.socket, *options],
                stdin=subprocess.DEVNULL, stdout=self.stderr, stderr=self.stderr,
                env=environment(NOTIFY_SOCKET=path, **variables))
            daemons.append(self)
            self._await_ready(notify)

    def _await_ready(self, notify):
        notify.settimeout(0.1)
        deadline = time.monotonic() + PATIENCE
        while "READY=1" not in self.notices:
            if self.process.poll() is not None:
                raise DaemonFailed(self.process.returncode, self.said())
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError("no READY=1 from esm1nvd: " + self.said())
            with contextlib.suppress(socket.timeout):
                self.notices += notify.recv(4096).decode().splitlines()

    def said(self):
        self.stderr.flush()
        with open(self.stderr.name) as file:
            return file.read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM, and what a daemon owes then: status 0, no socket left, no complaint."""
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(PATIENCE)
        check_stderr(self.said())
        assert status == 0, "esm1nvd left with %d: %s" % (status, self.said())
        assert not os.path.exists(self.socket), "the socket is still there"

    def __exit__(self, kind, *rest):
        if kind or self.process.returncode is not None:
            self.kill()
        else:
            self.stop()
        self.stderr.close()


class Run:
    """What a run of the filter left: status, stdout (bytes), stderr (text)."""

    def __init__(self, status, stdout, stderr):
        self.status, self.stdout, self.stderr = status, stdout, stderr.decode(errors="replace")
        check_stderr(self.stderr)

    def expect(self, status):
        assert self.status == status, "esm1nv: status %s, not %s; stderr: %s" % (
            self.status, status, self.stderr[-2000:])
        return self


def start_filter(daemon, *arguments, **keywords):
    """A Popen of the filter on a daemon (or a socket path, or None for no --socket)."""
    path = daemon.socket if isinstance(daemon, Daemon) else daemon
    keywords.setdefault("env", environment())
    for stream in ("stdin", "stdout", "stderr"):
        keywords.setdefault(stream, subprocess.PIPE)
    return subprocess.Popen([FILTER, *(["--socket", path] if path else []), *arguments],
                            **keywords)


def run_filter(daemon, *arguments, input=b"", expect=0, **keywords):
    """Runs the filter to its end on these bytes of stdin. expect: exit status, None for any."""
    process = start_filter(daemon, *arguments, **keywords)
    try:
        out, err = process.communicate(input, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError("esm1nv hangs; stderr: " + err.decode(errors="replace"))
    run = Run(process.returncode, out, err or b"")
    return run if expect is None else run.expect(expect)


class Conversation(contextlib.AbstractContextManager):
    """A filter that is given a line and waited for a line."""

    def __init__(self, daemon, *arguments, **keywords):
        self.process = start_filter(daemon, *arguments, bufsize=0, **keywords)

    def ask(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        return self.answer()

    def answer(self):
        answer, deadline = b"", time.monotonic() + PATIENCE
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [],
                                        max(0, deadline - time.monotonic()))
            assert ready, "no answer, got %r" % answer[:100]
            more = self.process.stdout.read(1 << 16)
            assert more, "esm1nv ended: " + self.process.stderr.read().decode()
            answer += more
        return answer[:-1]

    def end(self):
        """Closes its stdin and takes what is left."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return Run(self.process.returncode, out, err)

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def finish():
    """The last case of a program: every daemon has ended, and the work folder goes."""
    running = [daemon for daemon in daemons if daemon.process.poll() is None]
    for daemon in running:
        daemon.kill()
    shutil.rmtree(work_folder())
    assert not running, "%d daemons were still running" % len(running)


def read_fasta(path):
    """[(first word of the header, residues)] of a plain FASTA file."""
    with open(path) as file:
        blocks = file.read().split(">")[1:]
    return [(block.split()[0], "".join(block.split("\n")[1:])) for block in blocks]


def short_lines(count, seed, longest):
    """Lines for `-i lines`: so many short records, cut from real proteins."""
    chance = random.Random(seed)
    proteins = [body for _, body in read_fasta(PROTEINS)]
    lines = []
    for number in range(count):
        body = proteins[number % len(proteins)]
        begin, size = chance.randrange(len(body) // 2), chance.randrange(1, longest + 1)
        lines.append(b"s%d\t%s\n" % (number, body[begin:begin + size].encode()))
    return lines


def write_fasta(records):
    return "".join(">%s\n%s\n" % record for record in records).encode()


def write_lines(records):
    return "".join("%s\t%s\n" % record for record in records).encode()


@atexit.register
def give_up():
    """What finish() does, for a test that is interrupted."""
    for daemon in daemons:
        if daemon.process.poll() is None:
            daemon.kill()
    if _work:
        shutil.rmtree(_work, ignore_errors=True)


signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1))

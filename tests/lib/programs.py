# SPDX-License-Identifier: Apache-2.0
"""The two programs, for tests of whole programs: a Daemon in a directory of its own, and the filter
on it. A test program works in work_folder() and ends with finish(), which makes sure that no process
and no file is left.
"""
import atexit
import contextlib
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, name) for name in ("lib", "tools")]

from patience import PATIENCE, SANITIZED, at_most, gone, quickest, wait_until  # noqa: E402, F401
from tap import Skip  # noqa: E402
from wire import F32, MEAN, STATUS_QUERY, WELCOME, Client  # noqa: E402

DATA = os.path.join(TESTS, "data")
FILTER = os.environ.get("ESM1NV_FILTER")
DAEMON = os.environ.get("ESM1NV_DAEMON")
PROTEINS = os.path.join(DATA, "proteins.fasta")
TINY1 = os.path.join(DATA, "models", "tiny1.nemo")  # H 128, one layer, f32
TINY2 = os.path.join(DATA, "models", "tiny2.nemo")  # H 128, two layers, f16
SANITIZER_REPORTS = ("Sanitizer", "runtime error:")

_work = None
daemons = []


def work_folder():
    """Which others than its user may pass through."""
    global _work
    if not _work:
        _work = tempfile.mkdtemp(prefix="esm1nv-test.")
        os.chmod(_work, 0o711)
    return _work


def in_work(name):
    return os.path.join(work_folder(), name)


def new_folder():
    return tempfile.mkdtemp(dir=work_folder())


def environment(**changes):
    """The environment for a program: nothing of the user's own esm1nv but the loop that a test is
    run for, and no GPU, whatever there is; None removes a name."""
    drop = ("ESM1NV_", "LISTEN_", "NOTIFY_", "WATCHDOG_", "JOURNAL_STREAM")
    result = {name: value for name, value in os.environ.items()
              if not name.startswith(drop) or name == "ESM1NV_LOOP"}
    result.update({"XDG_RUNTIME_DIR": work_folder(), "ESM1NV_CUDA_PLUGIN": "", **changes})
    return {name: value for name, value in result.items() if value is not None}


def check_stderr(text):
    for word in SANITIZER_REPORTS:
        assert word not in text, text


class DaemonFailed(Exception):
    def __init__(self, status, text):
        super().__init__("esm1nvd left with %s: %s" % (status, text))
        self.status, self.text = status, text


class Daemon(contextlib.AbstractContextManager):
    """A running esm1nvd that has said READY=1, or with wait=False not yet; DaemonFailed when it left
    instead. at: the socket to listen at; program: another one, or a command that ends with it; model
    None: no --model; other keyword arguments are its environment."""

    def __init__(self, *options, program=None, model=TINY2, at=None, wait=True, preexec=None,
                 **variables):
        self.folder = new_folder()
        self.socket = at or os.path.join(self.folder, "socket")
        self.told = []  # to the service manager
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(os.path.join(self.folder, "notify"))
        self.notify.setblocking(False)
        self.taking = threading.Lock()
        threading.Thread(target=self.take_all_notices, daemon=True).start()
        program = program or DAEMON
        command = [program] if isinstance(program, str) else program
        with open(os.path.join(self.folder, "stderr"), "w") as stderr:
            self.process = subprocess.Popen(
                [*command, *(["--model", model] if model else []), "--socket", self.socket,
                 *options], stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                preexec_fn=preexec,
                env=environment(NOTIFY_SOCKET=self.notify.getsockname(), **variables))
        daemons.append(self)
        if wait:
            self.wait_told("READY=1")

    def wait_told(self, wanted, since=0):
        """`since` leaves out as many of what it has been told."""
        deadline = time.monotonic() + PATIENCE
        while True:
            left = self.process.poll() is not None
            self.take_notices()
            if wanted in self.told[since:]:
                return
            if left:
                raise DaemonFailed(self.process.returncode, self.said())
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError("no %s but %s: %s" % (wanted, self.told, self.said()))
            time.sleep(0.002)

    def take_notices(self):
        """Those that are there."""
        with self.taking, contextlib.suppress(OSError):  # there are no more, or it is closed
            while True:
                self.told += self.notify.recv(65536).decode().splitlines()

    def take_all_notices(self):
        """In a thread: a queue that is full would hold the daemon up."""
        with contextlib.suppress(OSError, ValueError):  # it is closed
            while True:
                select.select([self.notify], [], [], 1)
                self.take_notices()

    def let_everybody_in(self):
        os.chmod(self.folder, 0o711)
        os.chmod(self.socket, 0o666)
        return self

    def said(self):
        with open(os.path.join(self.folder, "stderr"), errors="replace") as file:
            return file.read()

    def client(self):
        return Client(self.socket)

    def session(self, pooling=MEAN, dtype=F32, ring=0):
        """A client that is welcomed, and has a completion ring of so many bytes, or none."""
        client = self.client()
        answer = client.hello(pooling, dtype)
        assert answer["kind"] == WELCOME, answer
        if ring:
            client.attach(completion_size=ring)
        return client

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

        wait_until(holds, lambda: "another status than %s" % seen)
        return seen[0]

    def submit_unread(self, client, most):
        """Submits records one by one without reading answers; returns how many were accepted before
        the client was dropped."""
        for tag in range(most):
            before = self.status()["records"]
            try:
                client.submit(tag, b"MKT")
            except (BrokenPipeError, ConnectionResetError):
                return tag
            if not self.wait_status(lambda status: status["records"] > before or
                                    not status["clients"])["clients"]:
                return tag
        return most

    def proc(self, name):
        """The text of one of its files in /proc."""
        with open("/proc/%d/%s" % (self.process.pid, name)) as file:
            return file.read()

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def threads(self):
        """All but those that close descriptors, which come and go."""
        count = 0
        for thread in os.listdir("/proc/%d/task" % self.process.pid):
            with gone():
                count += self.proc("task/%s/comm" % thread) != "esm1nvd-close\n"
        return count

    def held(self):
        """Threads and descriptors, once nothing is under way."""
        seen = []
        while len(seen) < 10 or len(set(seen[-10:])) > 1:
            seen.append((self.threads(), self.descriptors()))
            time.sleep(0.01)
        return seen[-1]

    def wait_held(self, *wanted):
        """Until it has so many threads and descriptors."""
        wait_until(lambda: (self.threads(), self.descriptors()) == wanted,
                   lambda: "%s, not %s" % ((self.threads(), self.descriptors()), wanted))

    def memory(self):
        """KiB of its own; pages of rings are the clients'."""
        return next(int(line.split()[1]) for line in self.proc("status").splitlines()
                    if line.startswith("RssAnon"))

    def rings(self):
        return self.proc("maps").count("memfd:ring")

    def cpu_seconds(self):
        fields = self.proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_seconds_in(self, seconds):
        """What it uses of the next ones."""
        before = self.cpu_seconds()
        time.sleep(seconds)
        return self.cpu_seconds() - before

    def end(self):
        """Waits for it to leave by itself; returns its exit status."""
        return self.process.wait(PATIENCE)

    def terminate(self):
        self.process.terminate()
        return self.end()

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def reload(self):
        """The status when that is done."""
        before = self.status()["generation"]
        self.hang_up()
        return self.wait_status(lambda status: status["generation"] > before)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM, and what a daemon owes then: status 0, no socket left, no complaint."""
        status = self.terminate()
        check_stderr(self.said())
        assert status == 0, "esm1nvd left with %d: %s" % (status, self.said())
        assert not os.path.exists(self.socket), "the socket is still there"

    def __exit__(self, kind, *rest):
        try:
            if kind:
                self.kill()
                print("# log: " + self.said()[-1500:].replace("\n", "\n# "))
            elif self.process.poll() is None:
                self.stop()
            else:
                check_stderr(self.said())
        finally:
            self.clean_up()

    def clean_up(self):
        self.kill()
        self.notify.close()
        daemons.remove(self)
        shutil.rmtree(self.folder)


class ReplacedModel(Daemon):
    """A daemon on a model file of its own, which put() replaces."""

    def __init__(self, *options, model=TINY1, backend="cpu", **more):
        self.file = os.path.join(new_folder(), "model.nemo")
        self.put(model)
        super().__init__("--backend", backend, *options, model=self.file, **more)

    def put(self, model):
        self.serves = model
        shutil.copy(model, self.file + ".new")
        os.replace(self.file + ".new", self.file)

    def hang_up(self):
        self.take_notices()
        self.told_before = len(self.told)
        super().hang_up()

    def reload(self, model=None):
        if model:
            self.put(model)
        return super().reload()

    def notices(self, last):
        """What the service manager was told since hang_up(), up to `last`."""
        self.wait_told(last, self.told_before)
        return [line for line in self.told[self.told_before:] if not line.startswith("WATCHDOG")]


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


def run_daemon(*options, **variables):
    """Runs esm1nvd to its end, with no options of its own: status, stdout and stderr as text."""
    run = subprocess.run([DAEMON, *options], capture_output=True, text=True, timeout=PATIENCE,
                         env=environment(**variables))
    check_stderr(run.stderr)
    return run


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


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs other users, and so root")


def as_user(uid, function, groups=()):
    """A process of that user begins to run the function; returns what waits for its end and gives
    its result, which must be JSON."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups(groups)
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(write, json.dumps(function()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)

    def result():
        with open(read, encoding="ascii") as pipe:
            text = pipe.read()
        assert os.waitpid(child, 0)[1] == 0, "the process of user %d failed" % uid
        return json.loads(text)
    return result


def finish(*left):
    """The last case of a program: every daemon has ended, those that are `left` just now, and the
    work folder goes."""
    for daemon in left:
        daemon.stop()
    running = [daemon for daemon in daemons if daemon.process.poll() is None]
    give_up()
    assert not running, "%d daemons were still running" % len(running)


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def write_file(name, data):
    """The path of a file in the work folder that holds these bytes."""
    with open(in_work(name), "wb") as file:
        file.write(data)
    return in_work(name)


def need_format(form, said):
    """Skips the case where the filter has said that it is built without this format."""
    if form == "h5" and "module" in said:
        raise Skip("built without HDF5")


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
    """Leaves no process and no file, of a test that is interrupted too."""
    for daemon in daemons:
        daemon.kill()
    if _work:
        shutil.rmtree(_work, ignore_errors=True)


signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1))

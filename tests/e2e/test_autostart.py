# SPDX-License-Identifier: Apache-2.0
"""The private daemon: when the filter starts one, which one, how many, and how it leaves. The test
adopts the daemons that the filters leave behind, so that it can count them and see how they end.
"""
import concurrent.futures
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time

import programs
import tap
from programs import (DAEMON, FILTER, TINY1, TINY2, Conversation, Daemon, run_filter,
                      start_filter)

PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0

FASTA = programs.write_fasta(programs.read_fasta(programs.PROTEINS)[:3])
DAEMON_NAMES = ("esm1nvd", os.path.basename(DAEMON))


ended = {}  # {pid: exit status} of those that were reaped


def children():
    """{pid: exit status or None} of the daemons that filters left to us; reaps those that ended."""
    found = {}
    with open("/proc/self/task/%d/children" % os.getpid()) as file:
        pids = {int(pid) for pid in file.read().split()}
    pids -= {daemon.process.pid for daemon in programs.daemons}
    for pid in pids:
        with programs.gone(), open("/proc/%d/stat" % pid) as file:
            name, rest = file.read().rsplit(")", 1)
            if name.split("(", 1)[1] in DAEMON_NAMES:
                found[pid] = reap(pid) if rest.split()[0] == "Z" else None
    return found


def reap(pid):
    ended[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return ended[pid]


def running():
    return [pid for pid, status in children().items() if status is None]


def await_end(pid):
    """The exit status of a daemon."""
    programs.wait_until(lambda: pid in ended or pid in children() and pid in ended,
                        "the end of daemon %d" % pid)
    return ended[pid]


class Place(contextlib.AbstractContextManager):
    """A runtime directory, where daemons are started and, at the end, stopped."""

    def __init__(self):
        self.runtime = tempfile.mkdtemp(dir=programs.work_folder())
        self.folder = os.path.join(self.runtime, "esm1nv")

    def environment(self, **changes):
        return programs.environment(**{"XDG_RUNTIME_DIR": self.runtime, "ESM1NVD": DAEMON,
                                       **changes})

    def start(self, *arguments, **changes):
        return start_filter(None, *arguments, env=self.environment(**changes))

    def run(self, *arguments, input=FASTA, expect=0, **changes):
        return run_filter(None, *arguments, input=input, expect=expect,
                          env=self.environment(**changes))

    def status(self, *arguments, **changes):
        return json.loads(self.run("--status=json", *arguments, **changes).stdout)

    def logs(self):
        return [programs.read_file(os.path.join(self.folder, name)).decode()
                for name in os.listdir(self.folder) if name.endswith(".log")]

    def __exit__(self, kind, *unused):
        for pid in running():
            os.kill(pid, signal.SIGKILL if kind else signal.SIGTERM)
            status = await_end(pid)
            assert kind or status == 0, status
        if not kind and os.path.isdir(self.folder):
            for text in self.logs():
                programs.check_stderr(text)


def plain(model, *arguments):
    with Daemon(model=model) as daemon:
        return run_filter(daemon, *arguments, input=FASTA).stdout


@tap.case("--model starts a daemon, the next one uses it, the output is any daemon's")
def first_and_second():
    with Place() as place:
        first = place.run("-m", TINY2, ESM1NVD=None)  # it is found in the build
        assert first.stdout == plain(TINY2) and first.stderr == ""
        pid, = running()
        assert place.run("-m", TINY2).stdout == first.stdout
        assert running() == [pid] and place.status("-m", TINY2)["pid"] == pid
        for name in os.listdir(place.folder):
            mode = os.lstat(os.path.join(place.folder, name)).st_mode
            assert stat.S_IMODE(mode) == 0o600, (name, oct(mode))
        assert stat.S_IMODE(os.lstat(place.folder).st_mode) == 0o700
        place.run("-m", TINY2, "--stop")
        assert await_end(pid) == 0


@tap.case("the daemon has nothing of the filter's: terminal, pipes, folder, notifications")
def detached():
    told = {"NOTIFY_SOCKET": "/nonexistent", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1",
            "LISTEN_FDNAMES": "x"}
    with Place() as place, tempfile.TemporaryFile(dir=programs.work_folder()) as inherited:
        os.set_inheritable(inherited.fileno(), True)
        process = subprocess.run([FILTER, "-m", TINY2], input=FASTA, capture_output=True,
                                 timeout=programs.PATIENCE, pass_fds=[inherited.fileno()],
                                 env=place.environment(**told))
        assert process.returncode == 0, process
        pid, = running()
        assert os.getsid(pid) == pid and os.readlink("/proc/%d/cwd" % pid) == "/"
        with open("/proc/%d/environ" % pid) as file:
            names = {entry.split("=")[0] for entry in file.read().split("\0")}
        assert "LISTEN_FDS" in names and not names & told.keys(), names
        links = []
        for fd in os.listdir("/proc/%d/fd" % pid):
            with programs.gone():
                links.append(os.readlink("/proc/%d/fd/%s" % (pid, fd)))
        assert not [link for link in links if link.startswith("pipe:")], links
        assert not [link for link in links if programs.work_folder() in link
                    and not link.endswith((".log", ".nemo"))], links


@tap.case("eight filters that start together end up with one daemon")
def together():
    wanted = plain(TINY2)
    for _ in range(3):
        with Place() as place:
            processes = [place.start("-m", TINY2) for _ in range(8)]
            with concurrent.futures.ThreadPoolExecutor(len(processes)) as pool:
                results = list(pool.map(lambda process: process.communicate(
                    FASTA, timeout=programs.PATIENCE), processes))
            assert results == [(wanted, b"")] * 8, results
            assert [process.returncode for process in processes] == [0] * 8
            seen = children()
            assert list(seen.values()) == [None], seen


@tap.case("a filter that does not get the lock waits for who has it, and starts one when that gave up")
def locked():
    with Place() as place:
        wanted = place.run("-m", TINY2).stdout
        path = place.status("-m", TINY2)["socket"]
        pid, = running()
        os.kill(pid, signal.SIGKILL)
        await_end(pid)
        with open(path + ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = place.start("-m", TINY2)
            time.sleep(1)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
                assert client.connect_ex(path) == errno.ECONNREFUSED, "started without the lock"
            assert process.poll() is None
        out, err = process.communicate(FASTA, timeout=programs.PATIENCE)
        assert out == wanted and err.count(b"\n") == err.count(b"waiting up to"), err
        assert len(running()) == 1


@tap.case("--idle-exit ends it, and another takes the socket over")
def idle_exit():
    with Place() as place:
        place.run("-m", TINY2, "--idle-exit", "1")
        pid, = children()
        begin = time.monotonic()
        assert await_end(pid) == 0
        assert time.monotonic() - begin < programs.at_most(20)
        place.run("-m", TINY2)
        second, = running()
        assert second != pid


@tap.case("who connects at the moment of leaving is served")
def last_moment():
    with Place() as place:
        wanted = place.run("-m", TINY2, "--idle-exit", "1").stdout
        for number in range(max(3, round(6 * tap.SCALE))):
            time.sleep(0.97 + 0.012 * number)
            assert place.run("-m", TINY2, "--idle-exit", "1").stdout == wanted
            assert not [status for status in children().values() if status], "a daemon failed"


@tap.case("a daemon per model file; a link is the same file, a replaced or rewritten file another")
def two_models():
    with Place() as place:
        first, second = place.run("-m", TINY1).stdout, place.run("-m", TINY2).stdout
        assert first != second and len(running()) == 2
        link, file = programs.in_work("link.nemo"), programs.in_work("file.nemo")
        os.symlink(TINY1, link)
        assert place.run("-m", link).stdout == first and len(running()) == 2
        shutil.copy(TINY1, file)
        assert place.run("-m", file).stdout == first and len(running()) == 3
        shutil.copy(TINY2, file + ".new")
        os.rename(file + ".new", file)
        assert place.run("-m", file).stdout == second and len(running()) == 4
        shutil.copy(TINY1, file)  # into the same inode
        assert place.run("-m", file).stdout == first and len(running()) == 5
        assert place.status("-m", TINY1)["digest"] != place.status("-m", TINY2)["digest"]


@tap.case("synthetic and its seeds, only when asked for, and told")
def synthetic():
    with Place() as place:
        place.run("-m", "synthetic:7", "-p", "mean").says("biology")
        assert place.status("-m", "synthetic:7")["synthetic"] == 1


@tap.case("no model: 69 and what to do; --no-autostart: 69")
def none():
    if os.path.exists("/run/esm1nv/socket"):
        raise tap.Skip("this machine has a daemon")
    with Place() as place:
        place.run(expect=69).says("--model", "ESM1NV_MODEL")
        place.run("-m", TINY2, "--no-autostart", expect=69).says("--no-autostart")
        place.run("--no-autostart", ESM1NV_MODEL=TINY2, expect=69)
        place.run("-m", TINY2, "--status", expect=69)
        place.run(ESM1NV_SOCKET=programs.in_work("nobody"), ESM1NV_MODEL=TINY2, expect=69)
        assert not children()
        place.run("-m", TINY2)
        place.run("-m", TINY2, "--no-autostart")


@tap.case("$ESM1NV_MODEL: another daemon is preferred; --model: only its own will do")
def preference():
    with Place() as place, Daemon(model=TINY1) as shared:
        os.mkdir(place.folder, 0o700)
        os.symlink(shared.socket, os.path.join(place.folder, "socket"))
        first, second = plain(TINY1), plain(TINY2)
        assert place.run(ESM1NV_MODEL=TINY2).stdout == first and not running()
        assert place.run("-m", TINY2).stdout == second and len(running()) == 1
        assert place.run("-m", TINY2, ESM1NV_SOCKET=shared.socket).stdout == second
        os.unlink(os.path.join(place.folder, "socket"))
        if not os.path.exists("/run/esm1nv/socket"):
            assert place.run(ESM1NV_MODEL=TINY2).stdout == second and len(running()) == 1
            assert place.status(ESM1NV_MODEL=TINY2)["pid"] == running()[0]


@tap.case("a model that cannot be loaded: 78 and the reason, for each of several; nothing stays")
def bad_model():
    path = programs.write_file("text.nemo", b"this is no model\n" * 1000)
    with Place() as place:
        place.run("-m", path, expect=78).says("text.nemo", "archive", ".log", out=b"")
        processes = [place.start("-m", path) for _ in range(4)]
        for process in processes:
            out, err = process.communicate(timeout=programs.PATIENCE)
            assert process.returncode == 78 and b"text.nemo" in err, (process.returncode, err)
        place.run("-m", programs.in_work("absent.nemo"), expect=78).says("absent.nemo")
        programs.wait_until(lambda: not running(), "the end of them")


@tap.case("a daemon that dies before it listens: 78 and the last line of its log")
def early_death():
    script = programs.write_file("esm1nvd", b"#!/bin/sh\necho esm1nvd: first >&2\n"
                                 b"echo esm1nvd: the reason >&2\nexit 71\n")
    os.chmod(script, 0o755)
    with Place() as place:
        for _ in range(10):  # now and then it is dead before the filter has connected
            run = place.run("-m", TINY2, ESM1NVD=script, expect=78).says("the reason", ".log")
            assert "first" not in run.stderr
        place.run("-m", TINY2, ESM1NVD="/nonexistent", expect=69).says("ESM1NVD")


@tap.case("killed in the middle of a conversation: another one is started, the answers are the same")
def killed():
    with Place() as place:
        lines = ["r%d\t%s" % (n, "MKTAYIAKQR"[:n % 9 + 1]) for n in range(30)]
        wanted = place.run("-m", TINY2, "-i", "lines", input="\n".join(lines).encode()).stdout
        with Conversation(None, "-m", TINY2, "-i", "lines", env=place.environment()) as talk:
            answers = []
            for number, line in enumerate(lines):
                if number % 10 == 5:
                    os.kill(place.status("-m", TINY2)["pid"], signal.SIGKILL)
                answers.append(talk.ask(line))
            talk.end().expect(0)
        assert b"".join(answer + b"\n" for answer in answers) == wanted


@tap.case("a directory that others can write to, or that is a link, is refused")
def unsafe():
    with Place() as place:
        os.mkdir(place.folder)
        for mode in (0o720, 0o702):
            os.chmod(place.folder, mode)
            place.run("-m", TINY2, expect=69).says(place.folder)
        os.rmdir(place.folder)
        os.symlink(programs.work_folder(), place.folder)
        place.run("-m", TINY2, expect=69).says(place.folder)


@tap.case("without XDG_RUNTIME_DIR, or with another user's, a directory of the user's own")
def fallback():
    other = "/" if os.geteuid() else programs.in_work("other")
    if not os.geteuid():
        os.mkdir(other)
        os.chown(other, 12345, 12345)
    for runtime in (None, other):
        with Place() as place:
            run = place.run("-m", TINY2, XDG_RUNTIME_DIR=runtime)
            assert run.stdout == plain(TINY2)
            path = place.status("-m", TINY2, XDG_RUNTIME_DIR=runtime)["socket"]
            uid = os.geteuid()
            folder = os.path.dirname(path)
            assert folder in ("/run/user/%d/esm1nv" % uid, "/tmp/esm1nv-%d" % uid), path
            assert stat.S_IMODE(os.lstat(folder).st_mode) == 0o700
            assert os.listdir(other) == [] or other == "/"
        for name in (path, path + ".lock", path + ".log"):
            os.unlink(name)
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def finish():
    left = running()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        await_end(pid)
    programs.finish()
    assert not left, left


tap.main(finish)

# SPDX-License-Identifier: Apache-2.0
"""A daemon that is killed, restarted, busy or somebody else in the middle of a stream: the output is
byte for byte what it would have been, or the run ends with 75 and a count. Each stream is compared
with the same one undisturbed.
"""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import programs
import tap
from programs import TINY1, TINY2, Conversation, Daemon, run_filter, start_filter

KILLS = 5
RECORDS = max(300, round(2000 * tap.SCALE))
PROTEINS = [body for _, body in programs.read_fasta(programs.PROTEINS)]
LINES = [line[:-1] + b"-\n" if number % 50 == 7 else line  # which fails
         for number, line in enumerate(programs.short_lines(RECORDS, 1, 23))]


class Restarted(contextlib.AbstractContextManager):
    """A daemon at one path, whatever becomes of its process."""

    def __init__(self, *options, model=TINY2):
        self.options, self.model = options, model
        self.daemon = Daemon(*options, model=model)
        self.path = self.daemon.socket

    def again(self, *options, end=Daemon.kill, **keywords):
        end(self.daemon)
        keywords.setdefault("model", self.model)
        self.daemon = Daemon(*(options or self.options), at=self.path, **keywords)

    def __exit__(self, *unused):
        return self.daemon.__exit__(*unused)


def feed(process, lines, disturb, times):
    """Writes the lines in bursts; between some of them, and at once after, disturb() is called."""
    stdin, process.stdin = process.stdin, None  # not for communicate()

    def write():
        with contextlib.suppress(BrokenPipeError), stdin:  # it says itself why it left
            for begin in range(0, len(lines), 40):
                if begin // 40 in after:
                    reached.release()
                stdin.write(b"".join(lines[begin:begin + 40]))
                stdin.flush()
                time.sleep(0.005)
                if begin // 40 in after:
                    disturbed.acquire()
        reached.release(max(times, 1))

    bursts = len(lines) // 40
    after = {bursts * number // (times + 1) for number in range(1, times + 1)} if times else set()
    assert len(after) == times
    reached, disturbed = threading.Semaphore(0), threading.Semaphore(0)
    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(times):
        reached.acquire()
        disturb()
        disturbed.release()
    return writer


def status_of(path):
    return json.loads(run_filter(path, "--status=json").stdout)


def embed(daemon, arguments, lines=None, disturb=None, times=KILLS):
    """What a stream gives: status, messages, output and index."""
    output, index = programs.in_work("output"), programs.in_work("index")
    process = start_filter(daemon, "-i", "lines", "-o", output, "--index", index, *arguments)
    if disturb:  # a daemon that never served the filter is not waited for
        programs.wait_until(lambda: status_of(daemon)["clients"] > 0)
    writer = feed(process, lines or LINES, disturb, times if disturb else 0)
    try:
        out, err = process.communicate(timeout=programs.PATIENCE)
    finally:
        process.kill()
        writer.join()
    assert out == b"", out[:100]
    err = b"".join(line for line in err.splitlines(True) if b"; waiting up to " not in line)
    return (process.returncode, err.decode(), programs.read_file(output),
            programs.read_file(index))


STREAMS = [(form, pool, backend) for form in ("tsv", "jsonl", "raw", "npy", "msgpack", "h5")
           for pool in ("mean", "none") for backend in ("null", "cpu")]


@tap.cases("killed five times, the same output: %s", STREAMS)
def killed(form, pool, backend):
    with Restarted("-b", backend) as daemon:
        arguments = ("-f", form, "-p", pool)
        wanted = embed(daemon.path, arguments)
        programs.need_format(form, wanted[1])
        assert wanted[0] == 65 and wanted[3].count(b"\n") == RECORDS + 1
        got = embed(daemon.path, arguments, disturb=daemon.again)
        assert got[:2] == wanted[:2], got[:2]
        assert got[2:] == wanted[2:], "the output differs"


def embed_one_by_one(daemon, form, killed_at):
    """The same stream, each record sent when the one before is answered, as the index tells: all go
    by message. Returns status, output and index."""
    output = programs.in_work("output")
    read, write = os.pipe()
    process = start_filter(daemon.path, "-i", "lines", "-f", form, "-o", output, "--index",
                           "/dev/fd/%d" % write, pass_fds=[write], bufsize=0)
    os.close(write)
    with open(read, "rb") as pipe:
        index = []
        for number, line in enumerate(LINES):
            process.stdin.write(line)
            if number in killed_at:
                daemon.again()
            while len(index) < number + 2:  # the header too
                index.append(pipe.readline())
                assert index[-1], process.communicate()
        assert status_of(daemon.path)["pinned_bytes"] == 0, "a ring was sent"
        process.communicate(timeout=programs.PATIENCE)
    return process.returncode, programs.read_file(output), b"".join(index)


@tap.cases("record by record, killed five times, the same output: %s",
           ["tsv", "jsonl", "raw", "npy", "msgpack", "h5"])
def killed_one_by_one(form):
    with Restarted("-b", "cpu") as daemon:
        wanted = embed(daemon.path, ("-f", form))
        programs.need_format(form, wanted[1])
        killed_at = [(number + 1) * RECORDS // (KILLS + 1) for number in range(KILLS)]
        assert not any(b"-" in LINES[number] for number in killed_at)
        got = embed_one_by_one(daemon, form, killed_at)
        assert got[0] == 65 and got[2] == wanted[3], got[2][-500:]
        assert got[1] == wanted[2], "the output differs"


@tap.cases("restarted by SIGTERM five times, the same output: %s", [("raw", "none"),
                                                                    ("tsv", "mean")])
def drained(form, pool):
    with Restarted(model=TINY1) as daemon:
        arguments = ("-f", form, "-p", pool)
        wanted = embed(daemon.path, arguments)
        got = embed(daemon.path, arguments, disturb=lambda: daemon.again(end=Daemon.stop))
        assert got == wanted, got[:2]


@tap.cases("killed while windows of long records are under way: --pool %s", ["mean", "none"])
def windows(pool):
    lines = [b"w%d\t%s\n" % (number, (PROTEINS[number % 92] * 9)[:number * 97 % 1900 + 1].encode())
             for number in range(240)]
    with Restarted("-b", "null") as daemon:
        arguments = ("--long", "window", "-f", "raw", "-p", pool)
        wanted = embed(daemon.path, arguments, lines)
        got = embed(daemon.path, arguments, lines, disturb=daemon.again)
        assert got == wanted, got[:2]


@tap.cases("killed while many rows wait to be taken: %s", ["raw", "npy", "msgpack"])
def killed_full(form):
    """The filter stands still until the daemon has no more room for rows: it finds them, and that
    no more come, at once."""
    lines = [b"w%d\t%s\n" % (number, PROTEINS[number % 92][:100].encode())
             for number in range(500)]
    with Restarted("-b", "null") as daemon:
        arguments = ("-f", form, "-p", "none")
        wanted = embed(daemon.path, arguments, lines)
        output = programs.in_work("output")
        process = start_filter(daemon.path, "-i", "lines", "-o", output, *arguments, bufsize=0)
        try:
            process.stdin.write(b"".join(lines[:40]))
            time.sleep(0.2)
            daemon.daemon.process.send_signal(signal.SIGSTOP)
            process.stdin.write(b"".join(lines[40:]))
            time.sleep(0.2)  # it sends them
            process.send_signal(signal.SIGSTOP)
            daemon.daemon.process.send_signal(signal.SIGCONT)
            time.sleep(0.2)
            daemon.again()
            process.send_signal(signal.SIGCONT)
            process.communicate(timeout=programs.PATIENCE)
        finally:
            process.kill()
        assert (process.returncode, programs.read_file(output)) == (wanted[0], wanted[2])


def talk(path, disturb):
    """A conversation; disturb(number) is called between a line and its answer."""
    with Conversation(path, "-i", "lines") as conversation:
        answers = []
        for number, line in enumerate(LINES[8:58]):
            conversation.process.stdin.write(line)
            disturb(number)
            if b"-" not in line:  # it fails, and has no line in tsv
                answers.append(conversation.answer())
        conversation.end().expect(65)
        return answers


@tap.case("line by line, killed before, between and after answers: the same answers")
def conversation():
    with Restarted() as daemon:
        calm = talk(daemon.path, lambda number: None)

        def kill(number, seconds):
            if number % 10 == 3:
                time.sleep(seconds)
                daemon.again()

        for seconds in (0, 0.1):  # between line and answer, and after the answer
            assert talk(daemon.path, lambda number: kill(number, seconds)) == calm


def lose(arguments, come_back):
    """The daemon is killed when 100 lines are answered, and come_back() follows. Checks that the
    filter leaves with 75 and counts what it wrote; returns its last message."""
    with Restarted("-b", "cpu", model=TINY2) as daemon:
        whole = run_filter(daemon.path, "-i", "lines", input=b"".join(LINES), expect=65).stdout
        process = start_filter(daemon.path, "-i", "lines", *arguments, bufsize=0)
        process.stdin.write(b"".join(LINES[:120]))
        begin = b"".join(process.stdout.readline() for _ in range(100))
        daemon.daemon.kill()
        come_back(daemon)
        out, err = process.communicate(b"".join(LINES[120:]), timeout=programs.PATIENCE)
        assert process.returncode == 75, (process.returncode, err)
        last = [line for line in err.decode().splitlines() if "done" in line]
        assert len(last) == 1, err
        out = begin + out
        assert out.endswith(b"\n") and whole.startswith(out)
        done = int(re.search(r"(\d+) records are done", last[0]).group(1))
        good = [number for number, line in enumerate(LINES[:done]) if b"-" not in line]
        assert len(good) == out.count(b"\n"), (done, out.count(b"\n"))
        return last[0]


@tap.case("it stays away: 75 after --wait, and a count of what is done")
def away():
    begin = time.monotonic()
    said = lose(["--wait", "2"], lambda daemon: None)
    assert "2 seconds" in said, said
    assert 2 <= time.monotonic() - begin < programs.at_most(30)


@tap.case("it comes back with another model, precision or backend: 75, which is told")
def another():
    def again(*options, **keywords):
        def come_back(daemon):
            daemon.daemon = Daemon(*options, at=daemon.path, **keywords)
        return come_back

    assert "digest" in lose([], again("-b", "cpu", model=TINY1))
    assert "null" in lose([], again("-b", "null"))
    assert "bf16" in lose([], again("-b", "cpu", "-p", "bf16"))


@tap.case("waiting costs no processor time")
def no_spinning():
    with Restarted() as daemon:
        process = start_filter(daemon.path, "-i", "lines", "--wait", "2", bufsize=0)
        process.stdin.write(LINES[0])
        process.stdout.readline()
        daemon.daemon.kill()
        process.stdin.write(LINES[1])
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        process.stderr.close()
        assert process.returncode == 75
        assert usage.ru_nvcsw < 200, usage
        if os.environ["ESM1NV_SANITIZE"] == "none":
            assert usage.ru_utime + usage.ru_stime < 0.3, usage


def attempts_at(serve):
    """How often a filter with one record comes to a socket where serve() has each connection, till
    it leaves with 75."""
    path, count = programs.in_work("dying"), 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(8)
        listener.settimeout(0.1)
        process = start_filter(path, "-i", "lines", "--wait", "2")
        process.stdin.write(b"MKT\n")
        process.stdin.close()
        while process.poll() is None and count < 50:
            with contextlib.suppress(socket.timeout), listener.accept()[0] as connection:
                count += 1
                serve(connection)
    os.unlink(path)
    process.stdin = None
    _, err = process.communicate(timeout=programs.PATIENCE)
    assert process.returncode == 75 and b"0 records are done" in err, (process.returncode, err)
    return count


@tap.case("a daemon that takes connections and dies of them: 75, after a few attempts")
def dying():
    assert 3 <= attempts_at(lambda connection: None) <= 20


@tap.case("a daemon that welcomes and dies of the record: 75, after a few attempts")
def dying_of_a_record():
    def welcome(connection):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as behind:
            behind.connect(daemon.socket)
            behind.send(connection.recv(1 << 16))
            connection.send(behind.recv(1 << 16))
            connection.recv(1 << 16)

    with Daemon() as daemon:
        assert 3 <= attempts_at(welcome) <= 20


@tap.case("a busy daemon is waited for; 75 after --wait")
def busy():
    with Daemon("--max-clients-per-user", "1") as daemon:
        with Conversation(daemon, "-i", "lines") as first:
            first.ask("MKT")
            begin = time.monotonic()
            run = run_filter(daemon, "--wait", "1", input=b"MKT\n", expect=75)
            assert 1 <= time.monotonic() - begin < programs.at_most(20)
            assert "busy" in run.stderr and "--wait" in run.stderr, run.stderr
            second = start_filter(daemon, "-i", "lines", stdin=subprocess.PIPE)
            second.stdin.write(b"MKT\n")
            second.stdin.close()
            time.sleep(0.3)
            assert second.poll() is None, "it did not wait"
            first.end().expect(0)
        second.stdin = None
        out, err = second.communicate(timeout=programs.PATIENCE)
        assert second.returncode == 0 and out.startswith(b"1\t"), err


@tap.case("a named socket where nobody ever answered: 69 at once")
def nobody():
    begin = time.monotonic()
    run_filter(programs.in_work("nobody"), input=b"MKT\n", expect=69)
    assert time.monotonic() - begin < programs.at_most(5)


tap.main(programs.finish)

# SPDX-License-Identifier: Apache-2.0
"""The filter as a stream: line in, line out; order; bounded memory; and what the ends of a daemon
or of a reader do to it.
"""
import contextlib
import json
import os
import signal
import subprocess
import threading
import time

import programs
import tap
from programs import Conversation, Daemon, run_filter, start_filter

PROTEINS = programs.read_fasta(programs.PROTEINS)


@tap.cases("line in, line out: %s", [(form, loop) for form in ("tsv", "jsonl")
                                     for loop in ("io_uring", "epoll")])
def conversation(form, loop):
    with Daemon(ESM1NV_LOOP="epoll" if loop == "epoll" else None) as daemon:
        with Conversation(daemon, "-i", "lines", "-f", form) as talk:
            for number in range(50):
                answer = talk.ask("name%d\t%s" % (number, PROTEINS[number % 92][1]))
                begin = '{"id":"name%d"' if form == "jsonl" else "name%d\t"
                assert answer.replace(b": ", b":").startswith((begin % number).encode()), answer
            talk.end().expect(0)


@tap.case("a bad line is answered in its place, and the talk goes on")
def bad_line():
    with Daemon() as daemon, Conversation(daemon, "-i", "lines", "-f", "jsonl") as talk:
        assert "embedding" in json.loads(talk.ask("a\tMKT"))
        assert "error" in json.loads(talk.ask("b\tMK-T"))
        assert "error" in json.loads(talk.ask(""))
        assert json.loads(talk.ask("MKT"))["id"] == "4"
        talk.end().expect(65)


@tap.case("a record goes out before the next comes in, after a burst too")
def burst():
    """A burst makes the session go over to its ring; single lines then still flow."""
    with Daemon() as daemon, Conversation(daemon, "-i", "lines") as talk:
        lines = "".join("b%d\t%s\n" % (n, PROTEINS[n % 92][1][:60]) for n in range(100))
        writer = threading.Thread(target=talk.process.stdin.write, args=(lines.encode(),))
        writer.start()
        seen = b""
        while seen.count(b"\n") < 100:
            seen += talk.answer() + b"\n"
        writer.join()
        names = [line.split(b"\t")[0] for line in seen.splitlines()]
        assert names == [b"b%d" % n for n in range(100)]
        for number in range(10):
            assert talk.ask("c%d\tMKTAYIAK" % number).startswith(b"c%d\t" % number)
        talk.end().expect(0)


@tap.case("order is kept over thousands of records of mixed lengths, failed ones among them")
def order():
    records = []
    for number in range(max(500, round(5000 * tap.SCALE))):
        residues = PROTEINS[number % 92][1][:1 + number * 37 % 120]
        records.append(("r%d" % number, residues + "-" if number % 41 == 0 else residues))
    with Daemon() as daemon:
        run = run_filter(daemon, "-f", "jsonl", input=programs.write_fasta(records), expect=65)
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [name for name, _ in records]
    for answer, (_, residues) in zip(answers, records):
        assert ("error" in answer) == residues.endswith("-"), answer["id"]


def peak_memory(daemon, count):
    """Peak KiB of a filter that embeds so many records."""
    data = programs.write_fasta(PROTEINS) * count
    process = start_filter(daemon, "-f", "raw", stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
    process.stdin.write(data)
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss


@tap.case("memory does not grow with the input")
def memory():
    if os.environ["ESM1NV_SANITIZE"] != "none":
        raise tap.Skip("sanitizers keep freed memory")
    with Daemon("-b", "null") as daemon:
        small, large = peak_memory(daemon, 20), peak_memory(daemon, 400)
    assert large < small + 4096, "%d KiB for 1,840 records, %d KiB for 36,800" % (small, large)


def long_stream():
    return programs.write_lines([("s%d" % n, PROTEINS[n % 92][1]) for n in range(2000)])


def interrupted(end):
    """Ends the daemon when a stream has given 30 lines; checks what the filter makes of it, and
    that its output is the beginning of the whole one. Returns the daemon's exit status."""
    data = long_stream()
    path = programs.write_file("stream.txt", data)
    with Daemon("-t", "1", model=programs.TINY1) as daemon:
        first = run_filter(daemon, "-i", "lines", input=data[:data.index(b"s40\t")]).stdout
    daemon = Daemon("-t", "1", model=programs.TINY1)
    process = start_filter(daemon, "--wait", "0", "-i", "lines", path, bufsize=0)
    begin = b"".join(process.stdout.readline() for _ in range(30))
    end(daemon)
    out, err = process.communicate(timeout=programs.PATIENCE)
    assert process.returncode == 75, (process.returncode, err)
    assert err.startswith(b"esm1nv: "), err
    out = begin + out
    assert out.endswith(b"\n") and out.count(b"\n") < 2000
    whole = min(out.count(b"\n"), 40)
    assert out.splitlines()[:whole] == first.splitlines()[:whole]
    names = [line.split(b"\t")[0].decode() for line in out.splitlines()]
    assert names == ["s%d" % number for number in range(len(names))]
    return daemon.process.wait(programs.PATIENCE)


@tap.case("a daemon killed in the middle of a stream: 75, and what came is right")
def killed():
    assert interrupted(lambda daemon: daemon.kill()) == -signal.SIGKILL


@tap.case("SIGTERM finishes what is in flight and leaves in time")
def drained():
    begin = time.monotonic()
    assert interrupted(lambda daemon: daemon.process.terminate()) == 0
    assert time.monotonic() - begin < programs.at_most(60)


@tap.case("SIGTERM while a record is computed: its answer still comes")
def drained_record():
    """Portable C on one thread computes one that costs it half a second or so, in this build: a
    daemon that leaves finishes what it can in ten."""
    with Daemon("-t", "1", model="synthetic", ESM1NV_CPU="generic") as daemon:
        with Conversation(daemon, "-i", "lines") as talk:
            residues, cost = "M", 0
            while cost < 0.4 and len(residues) < 512:
                residues += residues
                before = daemon.cpu_seconds()
                talk.ask("short\t" + residues)
                cost = daemon.cpu_seconds() - before
            before = daemon.cpu_seconds()
            talk.process.stdin.write(b"long\t" + residues.encode() + b"\n")
            while daemon.cpu_seconds() - before < cost / 4:
                time.sleep(0.001)
            daemon.process.terminate()
            assert talk.answer().startswith(b"long\t")
            daemon.stop()


@tap.case("SIGTERM with an idle client: the daemon leaves at once")
def drained_idle():
    with Daemon() as daemon, Conversation(daemon, "-i", "lines") as talk:
        talk.ask("MKTAYIAKQR")
        daemon.stop()


@tap.case("a closed stdout ends the filter by SIGPIPE, quietly, and the daemon serves on")
def closed_pipe():
    with Daemon(model=programs.TINY1) as daemon:
        process = start_filter(daemon, "-i", "lines",
                               programs.write_file("stream.txt", long_stream()))
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(programs.PATIENCE) == -signal.SIGPIPE
        with process.stderr:
            assert process.stderr.read() == b""
        assert run_filter(daemon, input=b"MKT\n").stdout.startswith(b"1\t")


@tap.case("a client that is killed takes nobody with it")
def killed_client():
    with Daemon(model=programs.TINY1) as daemon:
        process = start_filter(daemon, "-i", "lines", stdin=subprocess.PIPE)

        def write():
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(long_stream())

        writer = threading.Thread(target=write)
        writer.start()
        process.stdout.readline()
        process.kill()
        process.stdout.close()
        process.stderr.close()
        process.wait()
        writer.join()
        assert run_filter(daemon, input=b"MKT\n").stdout.startswith(b"1\t")


tap.main(programs.finish)

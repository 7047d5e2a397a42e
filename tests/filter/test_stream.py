#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The pump: order, line in and line out, difficult libraries, input in any pieces, FIFOs, gzip,
# xz, what is output before an error, memory, progress.
import gzip
import io
import lzma
import os
import pty
import resource
import select
import subprocess
import threading
import time

from harness import LIMIT, PROGRAM, data, path, read, run, start, wait_until_taken, write
from patience import at_most
from tap import check, equal, finish, section

EDGE = read(data("edge.fasta"))
MANY = b"".join(b">r%d\n%s\n" % (i, b"J" if i % 7 == 3 else b"MKTACDEF"[: 1 + i % 8] * (1 + i % 90))
                for i in range(1500))


def answer(process, seconds=LIMIT):
    """The next line it writes, waiting for it."""
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return os.read(process.stdout.fileno(), 1 << 16) if ready else None


def close(process):
    process.stdin.close()
    status = process.wait(LIMIT)
    rest = process.stdout.read()
    process.stdout.close()
    process.stderr.close()
    return status, rest


PLAIN = {name: run("-f", "jsonl", stdin=text) for name, text in (("edge", EDGE), ("many", MANY))}

for what, settings in (("answers come late", {"FAKE_DELAY": 3}),
                       ("AGAIN every other time", {"FAKE_AGAIN": 1}),
                       ("one record at a time", {"FAKE_ROOM": 1}),
                       ("all of that", {"FAKE_DELAY": 1, "FAKE_AGAIN": 1, "FAKE_ROOM": 3})):
    section("the same output when " + what)
    for name, text in (("edge", EDGE), ("many", MANY if len(settings) == 1 else MANY[:20000])):
        result = run("-f", "jsonl", stdin=text, **settings)
        wanted = PLAIN[name] if text in (EDGE, MANY) else run("-f", "jsonl", stdin=text)
        check(result.out == wanted.out, name, "output differs")
        equal((result.status, result.err), (65, wanted.err))

section("rows that wait to be written are given back before the filter sleeps")
few = b"".join(b">r\nMK\n" for _ in range(600))  # more than the fake library has room for
equal(run("-f", "raw", stdin=few, FAKE_ROOM=1, FAKE_DELAY=1).out,
      run("-f", "raw", stdin=few).out)

section("order: every record in its place, failed ones too")
names = [line.split(b'"')[3] for line in PLAIN["many"].out.split(b"\n")[:-1]]
equal(names, [b"r%d" % i for i in range(1500)])
failed = [b'"error"' in line for line in PLAIN["many"].out.split(b"\n")[:-1]]
equal(failed, [i % 7 == 3 for i in range(1500)])

section("the same output when the input comes byte by byte")
for text in (EDGE[:6000], EDGE[-3500:], read(data("edge_bom_crlf.fasta")),
             read(data("edge_cr_only.fasta")), b"\xef", b"\x1f",
             b"\xef\xbb\xbf\n\n a\tM\xc3\xa4\xe9K*\r\nAC\r", b">a\nM>K\n>b\r\n>c\n \nM",
             b"M\rA\nC\n\r\rG", gzip.compress(b"\xef\xbb\xbf>a\nMKT\n")):
    wanted = run("-f", "jsonl", "-p", "none", "--invalid", "unk", stdin=text)
    process = start("-f", "jsonl", "-p", "none", "--invalid", "unk")
    got = []
    reader = threading.Thread(target=lambda: got.append(process.stdout.read()))
    reader.start()
    try:
        for i in range(len(text)):
            os.write(process.stdin.fileno(), text[i:i + 1])
            wait_until_taken(process.stdin, process)
    except BrokenPipeError:
        pass  # it found something unreadable and left
    process.stdin.close()
    reader.join(LIMIT)
    equal((process.wait(LIMIT), got[0] == wanted.out), (wanted.status, True), text[:40])
    process.stdout.close()
    process.stderr.close()

for arguments in ([], ["-f", "jsonl"], ["-f", "raw"], ["-p", "none"]):
    section("line in, line out: " + " ".join(arguments or ["tsv"]))
    process = start(*arguments)
    for line in (b"MKT\n", b"a\tAC\n", b"MKTACD\r\n", b"G\r"):
        os.write(process.stdin.fileno(), line)
        check(answer(process), "no answer to", line)
    equal(close(process), (0, b""))

section("line in, line out: failed records answer in jsonl, in place")
process = start("-f", "jsonl", "-i", "lines")
for line in (b"J\n", b"\n", b"MKT\n"):
    os.write(process.stdin.fileno(), line)
    check(answer(process), "no answer to", line)
equal(close(process)[0], 65)

section("FASTA: a record is out when the next header begins")
process = start()
os.write(process.stdin.fileno(), b">a\nMKT\n>")
check((answer(process) or b"").startswith(b"a\t"))
equal(answer(process, 0.05), None)
equal(close(process)[0], 65)

section("what was answered is out while the next is awaited")
process = start(FAKE_DELAY=30)
os.write(process.stdin.fileno(), b"MKT\nAC\nG")
got = b""
while got.count(b"\n") < 2:
    part = answer(process)
    check(part, "no answer")
    if not part:
        break
    got += part
status, rest = close(process)
equal((status, rest.count(b"\n")), (0, 1))

section("the daemon goes away and stays away: 75, what came before is output, and counted")
wanted = run(stdin=MANY[:3000])
for wait, least in ((0, 0), (1, 1)):
    begin = time.monotonic()
    result = run("--wait", str(wait), stdin=MANY[:3000], FAKE_LOST=20)
    check(least <= time.monotonic() - begin < at_most(least + 5), "it waited wrongly")
    equal(result.status, 75)
    check(wanted.out.startswith(result.out))
    equal(result.out.count(b"\n"), 19 - 3)
    check("went away" in result.err and " 19 records are done" in result.err, result.err)

for arguments in ([], ["-p", "none"], ["--long", "window"], ["-p", "none", "--long", "window"],
                  ["-f", "jsonl"], ["-f", "raw"]):
    section("the daemon goes away again and again: the same output, " + " ".join(arguments))
    text = MANY[:3000] + b"\n".join([b"", b"MKT" * 700, b"A" * 513, b"", b"MK" * 800]) + b"\n"
    wanted = run(*arguments, stdin=text)
    for flaky in (1, 7):
        for settings in ({}, {"FAKE_ROOM": 3}, {"FAKE_AGAIN": 1}):
            result = run(*arguments, stdin=text, FAKE_FLAKY=flaky, **settings)
            equal((result.status, result.err), (wanted.status, wanted.err))
            check(result.out == wanted.out, "the output differs", flaky, settings)

for settings, status, name in (({"FAKE_REBORN": -8}, 75, "another"),
                               ({"FAKE_REBORN": -7}, 75, "another"),
                               ({"FAKE_BACKEND": "cpu"}, 75, "cpu f32 instead of null f32"),
                               ({"FAKE_REBORN": -5}, 75, "waited 1 second in vain"),
                               ({"FAKE_REBORN": -6}, 75, "waited 1 second in vain"),
                               ({"FAKE_REBORN": -10}, 70, "the fake refuses")):
    section("the daemon comes back, but %s" % settings)
    result = run("--wait", "1", stdin=MANY[:3000], FAKE_FLAKY=20, **settings)
    equal((result.status, result.out.count(b"\n")), (status, 19 - 3))
    check(name in result.err, result.err)
    check(status != 75 or "19 records are done" in result.err, result.err)

section("a busy daemon at the beginning is waited for")
result = run("--wait", "1", stdin=b"MKT\n", FAKE_CONNECT=-6)
equal((result.status, result.out), (75, b""))
check("waited 1 second in vain" in result.err and "0 records are done" in result.err, result.err)

section("unreadable input in the middle: what came before is output, 66")
result = run(write("good", b"MKT\nAC\n"), write("text", b"M\n>x\n"), path("good"), FAKE_DELAY=20)
equal((result.status, result.out.count(b"\n")), (66, 3))

section("gzip: plain, in members, padded, by its magic alone, with CR LF and a mark inside")
members = gzip.compress(EDGE[:5000]) + gzip.compress(b"") + gzip.compress(EDGE[5000:], 1)
for packed in (gzip.compress(EDGE), members, members + bytes(700)):
    result = run("-f", "jsonl", write("packed", packed))
    check((result.status, result.out) == (65, PLAIN["edge"].out), "differs", len(packed))
    check(run("-f", "jsonl", stdin=packed).out == PLAIN["edge"].out, "differs from stdin")
equal(run(write("crlf", gzip.compress(read(data("edge_bom_crlf.fasta"))))).out,
      run(data("edge_bom_crlf.fasta")).out)
equal(run(write("empty", gzip.compress(b""))).status, 0)

section("gzip cut short: 66, never a cut sequence, and what came before is output")
lines = b"".join(b"r%d\tMKTAC%s\n" % (i, b"ACDEFGHIKL"[i % 10:]) for i in range(3000))
packed = gzip.compress(lines)
whole = run(stdin=lines).out
for size in (3, 9, 10, 11, len(packed) // 2, len(packed) - 9, len(packed) - 8, len(packed) - 1):
    result = run(write("cut", packed[:size]))
    equal(result.status, 66, size)
    check(path("cut") in result.err and "short" in result.err, result.err)
    check(whole.startswith(result.out), "a wrong row", size)
check(result.out == whole, "all rows but the check sum were there")
equal(run(write("cut", gzip.compress(lines)[:len(packed) // 2])).out.count(b"\n") > 100, True)

section("gzip damaged, or with something behind it: 66")
damaged = bytearray(packed)
damaged[len(packed) // 2] ^= 0x55
result = run(write("damaged", bytes(damaged)))
equal(result.status, 66)
result = run(write("behind", packed + b"MKT\n"))
equal((result.status, result.out == whole), (66, True))
check("behind" in result.err and "gzip" in result.err, result.err)

section("xz and zstd are named, with what to do: 66; nothing else is taken for them")
packed = lzma.compress(EDGE)
result = run(write("packed.xz", packed))
equal((result.status, result.out), (66, b""))
check("xz-compressed" in result.err and "xzcat" in result.err and "packed.xz |" in result.err,
      result.err)
result = run(stdin=b"\x28\xB5\x2F\xFD" + bytes(20))
equal((result.status, result.out), (66, b""))
check("stdin: zstd-compressed" in result.err and "zstdcat" in result.err, result.err)
process = start()
for byte in packed[:6]:
    process.stdin.write(bytes([byte]))
    process.stdin.flush()
    wait_until_taken(process.stdin, process)
equal(close(process), (66, b""))
for near in (packed[:5], b"\x28\xB5\x2F", b"(", b"\xFD7zXY\0"):
    equal(run(stdin=near).status, 65, near)

section("line in, line out through gzip that is flushed")
process = start()
buffer = io.BytesIO()
packer = gzip.GzipFile(fileobj=buffer, mode="wb")
for line in (b"MKT\n", b"AC\n"):
    packer.write(line)
    packer.flush()
    os.write(process.stdin.fileno(), buffer.getvalue())
    buffer.seek(0)
    buffer.truncate()
    check(answer(process), "no answer")
packer.close()
os.write(process.stdin.fileno(), buffer.getvalue())
equal(close(process), (0, b""))

section("named FIFOs, whose writers come one after the other")
fifos = [path("fifo1"), path("fifo2")]
for name in fifos:
    os.mkfifo(name)
process = start(*fifos)
for name, line in zip(fifos, (b"MKT\n", b"AC\n")):
    with open(name, "wb", buffering=0) as fifo:
        fifo.write(line)
        check(answer(process), "no answer")
equal(close(process), (0, b""))

section("memory does not grow with a record, or with the input")


def most_memory(pieces, *arguments):
    """Kilobytes at most, by the child's own accounting."""
    def limit():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    process = subprocess.Popen([PROGRAM, "-o", "/dev/null", *arguments], stdin=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, preexec_fn=limit)
    for piece in pieces:
        process.stdin.write(piece)
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    equal(process.returncode, 0)
    return usage.ru_maxrss


block = b"MKTACDEFGHIKLNPQ" * 4096
small = most_memory([b">a\n", block, b"\n"])
for pieces in ([b">a\n"] + [block] * 800, [b">a\n"] + [block + b"\n"] * 800, [block] * 800,
               [b"MKTAC\n" * 10000] * 20):
    grown = most_memory(pieces) - small
    check(grown < 16384, grown, "KB more")

section("progress: when asked for, on a terminal when the run is long, never in between")
check("records" in run("--progress", "always", stdin=MANY, FAKE_DELAY=5).err)
for arguments, wanted in (([], True), (["--progress", "never"], False)):
    main, terminal = pty.openpty()
    process = subprocess.Popen([PROGRAM, *arguments, "-o", "/dev/null"], stdin=subprocess.PIPE,
                               stderr=terminal)
    os.close(terminal)
    process.stdin.write(b"MKT\n")
    process.stdin.flush()
    deadline = time.monotonic() + (LIMIT if wanted else 2)
    seen = b""
    while time.monotonic() < deadline and b"1 record," not in seen:
        if select.select([main], [], [], 0.1)[0]:
            seen += os.read(main, 1000)
    equal(b"1 record," in seen, wanted)
    process.stdin.close()
    equal(process.wait(LIMIT), 0)
    os.close(main)
finish()

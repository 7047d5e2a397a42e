#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# --long window against a stitching of its own: windows are cut by hand, embedded one by one with
# --pool none, and each residue takes the row of the window in which it stands farthest from the
# nearer end. With FAKE_POSITIONS the model is small, so that every length can be tried.
import json
import os

import numpy as np

from harness import HIDDEN, data, index_of, run, start
from tap import check, equal, finish, section

LETTERS = b"MKTACDEFGHILNPQRSVWYXBUZO"


def sequence(length, seed=0):
    return bytes(LETTERS[(i * i // 7 + i * 3 + seed) % 25] for i in range(length))


def starts_of(length, positions):
    """Where the windows begin."""
    size, step = positions - 2, max(1, (positions - 2) // 2)
    starts = [start for start in range(0, length, step) if start + size <= length]
    return starts + ([length - size] if starts[-1] + size < length else [])


def embed(sequences, **settings):
    """The residue rows of each sequence, embedded by itself."""
    out = run("-p", "none", "-f", "raw", "-i", "lines", stdin=b"\n".join(sequences), **settings).out
    rows = np.frombuffer(out, "<f4").reshape(-1, HIDDEN)
    return np.split(rows, np.cumsum([len(each) for each in sequences])[:-1])


def stitch(residues, positions, **settings):
    if len(residues) <= positions:
        return embed([residues], FAKE_POSITIONS=positions, **settings)[0]
    size, starts = positions - 2, starts_of(len(residues), positions)
    windows = embed([residues[start:start + size] for start in starts], FAKE_POSITIONS=positions,
                    **settings)
    rows = []
    for residue in range(len(residues)):
        depth = [min(residue - start, start + size - 1 - residue) for start in starts]
        window = depth.index(max(depth))
        rows.append(windows[window][residue - starts[window]])
    return np.array(rows, np.float32)


def pooled(rows, pooling):
    """In float32, row after row."""
    total = rows[0].copy()
    for row in rows[1:]:
        total = total + row if pooling == "mean" else np.maximum(total, row)
    return total / np.float32(len(rows)) if pooling == "mean" else total


def rows_of_run(*arguments, dtype="<f4", **settings):
    result = run("--long", "window", "-f", "raw", *arguments, **settings)
    equal((result.status, result.err), (0, ""))
    return np.frombuffer(result.out, dtype).reshape(-1, HIDDEN)


section("the example of the manual: 600 residues have windows at 0 and 90")
equal(starts_of(600, 512), [0, 90])
equal(starts_of(1020, 512), [0, 255, 510])

section("every length up to 40, of models with 3 to 12 positions: residue rows")
for positions in range(3, 13):
    sequences = [sequence(length, positions) for length in range(1, 41)]
    got = rows_of_run("-p", "none", stdin=b"\n".join(sequences), FAKE_POSITIONS=positions)
    wanted = np.concatenate([stitch(each, positions) for each in sequences])
    check(np.array_equal(got, wanted), positions, "rows differ")

LENGTHS = [1, 509, 511, 512, 513, 514, 600, 764, 765, 766, 1019, 1020, 1021, 1275, 2000]
MIXED = [sequence(length, length) for length in LENGTHS]
STITCHED = [stitch(each, 512) for each in MIXED]
TEXT = b"\n".join(MIXED)

section("512 positions: residue rows in f32 and f16")
wanted = np.concatenate(STITCHED)
check(np.array_equal(rows_of_run("-p", "none", stdin=TEXT), wanted), "rows differ")
got = rows_of_run("-p", "none", "--dtype", "f16", dtype="<f2", stdin=TEXT)
check(np.array_equal(got, wanted.astype("<f2")), "f16 rows differ")

for pooling in ("mean", "max"):
    section("--pool %s: over the stitched rows, and as ever for records that fit" % pooling)
    plain = np.frombuffer(run("-p", pooling, "-f", "raw", stdin=TEXT).out, "<f4")
    plain = plain.reshape(-1, HIDDEN)
    wanted = np.array([plain[i] if len(each) <= 512 else pooled(STITCHED[i], pooling)
                       for i, each in enumerate(MIXED)])
    check(np.array_equal(rows_of_run("-p", pooling, stdin=TEXT), wanted), "f32 differs")
    got = rows_of_run("-p", pooling, "--dtype", "f16", dtype="<f2", stdin=TEXT)
    check(np.array_equal(got, wanted.astype("<f2")), "f16 differs")
    for settings in ({"FAKE_ROOM": 1}, {"FAKE_AGAIN": 1}, {"FAKE_ROOM": 2, "FAKE_DELAY": 1}):
        got = rows_of_run("-p", pooling, stdin=TEXT, **settings)
        check(np.array_equal(got, wanted), "differs with", settings)

section("values that float16 has only roughly, or not at all")
text = sequence(700)
for value in ("1e-7", "5.96e-8", "2.9e-8", "6.1e-5", "6.0999e-5", "0.1", "-0.3", "65503", "65519",
              "-65519", "1.0004883", "1.0014648"):
    got = rows_of_run("-p", "max", "--dtype", "f16", dtype="<f2", stdin=text, FAKE_VALUE=value)
    equal(got[0, 0].tobytes(), np.float32(value).astype("<f2").tobytes(), value)
result = run("--long", "window", "-p", "max", "-f", "raw", "--dtype", "f16", stdin=text,
             FAKE_VALUE="65520")
equal((result.status, result.out), (65, b""))
result = run("--long", "window", "-f", "raw", stdin=text, FAKE_VALUE="3e38")
equal((result.status, result.out), (65, b""))
check("finite" in result.err, result.err)

section("--pool bos: a record longer than the positions fails, others do not")
result, lines = index_of("--long", "window", "-p", "bos", stdin=b"\n".join(MIXED[:6]))
equal([line[4][:5] for line in lines], ["ok", "ok", "ok", "error", "error", "error"])
equal(result.status, 65)

section("short and long records in turn: raw is what JSON says")
text = b"\n".join(sequence(3 + i) + b"\n" + sequence(513 + i) for i in range(40))
for pooling in ("mean", "max", "none"):
    answers = run("--long", "window", "-p", pooling, "-f", "jsonl", stdin=text).out.decode()
    wanted = [np.array(json.loads(line)["embedding"], "<f4").tobytes()
              for line in answers.split("\n")[:-1]]
    got = run("--long", "window", "-p", pooling, "-f", "raw", stdin=text).out
    check(got == b"".join(wanted), "rows differ with --pool", pooling)

section("a failed window fails its record, and only that")
text = sequence(30) + b"\n" + sequence(2000) + b"\n" + sequence(700)
for pooling in ("mean", "none"):
    result = run("--long", "window", "-p", pooling, "-f", "raw", stdin=text, FAKE_BAD=2)
    equal(result.status, 65)
    wanted = run("--long", "window", "-p", pooling, "-f", "raw",
                 stdin=sequence(30) + b"\n" + sequence(700)).out
    check(result.out == wanted, "rows differ")

section("tsv, jsonl and the index count all residues, none is cut")
text = sequence(500) + b"*" + sequence(500)
result = run("--long", "window", "-p", "none", "--invalid", "unk", stdin=text)
lines = [line.split("\t") for line in result.out.decode().split("\n")[:-1]]
equal(["".join(line[2] for line in lines), lines[-1][1]], [text.decode(), "1001"])
answer = json.loads(run("--long", "window", "-f", "jsonl", "-p", "none", stdin=sequence(1001)).out)
equal((answer["length"], answer["rows"], len(answer["embedding"]), "truncated" in answer),
      (1001, 1001, 1001, False))
result, lines = index_of("--long", "window", stdin=sequence(1001) + b"\nM\n")
equal([line[1:] for line in lines], [["1001", "1", "0", "ok"], ["1", "1", "1", "ok"]])

section("edge.fasta, titin and all: lengths of the residue rows, means of the rows")
arguments = ["--long", "window", data("edge.fasta")]
result, lines = index_of("-p", "none", *arguments)
equal([line[2] for line in lines if line[4] == "ok"], [line[1] for line in lines if line[4] == "ok"])
equal(max(int(line[2]) for line in lines), 35000)
check("cut" not in result.err and "longer" not in result.err, result.err)
rows = np.frombuffer(run("-p", "none", "-f", "raw", *arguments).out, "<f4").reshape(-1, HIDDEN)
means = np.frombuffer(run("-f", "raw", *arguments).out, "<f4").reshape(-1, HIDDEN)
offset = number = 0
for line in lines:
    count = int(line[2])
    if count > 512:
        wanted = pooled(rows[offset:offset + count], "mean")
        check(np.array_equal(means[number], wanted), line[0], "mean differs")
    offset, number = offset + count, number + (count > 0)

section("the daemon goes away in the middle of a record: 75, what came before is output")
text = b"\n".join([sequence(30), sequence(30000), sequence(30)])
result = run("--long", "window", "-f", "raw", "--wait", "0", stdin=text,
             FAKE_LOST=2)
equal((result.status, len(result.out)), (75, HIDDEN * 4))

section("memory does not grow with long records")


def most_memory(count, sequences, status, **settings):
    """Kilobytes at most. A sanitizer would keep freed memory."""
    process = start("--long", "window", "-f", "raw", "-o", "/dev/null",
                    ASAN_OPTIONS="quarantine_size_mb=1", **settings)
    process.stdin.write(b">m\nM\n")
    for _ in range(count):
        process.stdin.write(sequences)
    process.stdin.close()
    _, ended, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(ended)
    equal(process.returncode, status)
    process.stdout.close()
    process.stderr.close()
    return usage.ru_maxrss


TITIN = b">t\n" + sequence(3500) * 10
grown = most_memory(200, TITIN + b"\n", 0) - most_memory(2, TITIN + b"\n", 0)
check(grown < 5120, grown, "KB more")
few = most_memory(2, TITIN + b"J\n", 65)
grown = most_memory(800, TITIN + b"J\n", 65, FAKE_DELAY=1000) - few  # all behind the first one
check(grown < 20480, grown, "KB more")

section("more rows than can be held together fail the record")
result, lines = index_of("--long", "window", "-p", "none", stdin=b"M\n" + b"A" * 70000 + b"\nM\n",
                         FAKE_HIDDEN=16384)
equal([line[4][:12] for line in lines], ["ok", "error: 70000", "ok"])
equal(result.status, 65)
finish()

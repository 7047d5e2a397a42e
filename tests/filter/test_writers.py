#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Every format, read back by NumPy, Python's json and its msgpack.
import json
import re
import subprocess

import msgpack
import numpy as np

from harness import HIDDEN, LIMIT, PROGRAM, path, read, rows_of, run
from tap import check, equal, finish, section

POOLINGS = ["mean", "max", "bos", "none"]
LONG = b"MKTACDEFGHIL" * 50  # 600 residues
FASTA = b">a first\nMKT\n>b\nJ\n>c\n" + LONG + b"\n>d\nACDEF\n"
GOOD = [("a", b"MKT"), ("c", LONG[:512]), ("d", b"ACDEF")]


def fails(pooling, residues):
    return pooling == "bos" and len(residues) >= 512


def wanted_rows(pooling):
    rows = [rows_of(residues, pooling) for _, residues in GOOD if not fails(pooling, residues)]
    return np.concatenate(rows)


def msgpack_of(packed):
    """All objects of the stream, of which every byte must be part."""
    unpacker = msgpack.Unpacker(max_buffer_size=1 << 30)
    unpacker.feed(packed)
    found = list(unpacker)
    equal(unpacker.tell(), len(packed))
    return found


for pooling in POOLINGS:
    section("tsv, --pool " + pooling)
    result = run("-p", pooling, stdin=FASTA)
    equal(result.status, 65)
    lines = [line.split("\t") for line in result.out.decode().split("\n")[:-1]]
    wanted = []
    for name, residues in GOOD:
        if not fails(pooling, residues):
            wanted += [[name, str(i + 1), chr(letter)] for i, letter in enumerate(residues)] \
                if pooling == "none" else [[name]]
    head = 3 if pooling == "none" else 1
    equal([line[:head] for line in lines], wanted)
    values = np.array([[float(value) for value in line[head:]] for line in lines], np.float32)
    check(np.array_equal(values, wanted_rows(pooling)), "values differ")

    section("jsonl, --pool " + pooling)
    result = run("-p", pooling, "-f", "jsonl", stdin=FASTA)
    objects = [json.loads(line, object_pairs_hook=list)
               for line in result.out.decode().split("\n")[:-1]]
    equal([pairs[0][1] for pairs in objects], ["a", "b", "c", "d"])
    rows = []
    for pairs in objects:
        keys = [key for key, _ in pairs]
        found = dict(pairs)
        if found["id"] == "b" or (found["id"] == "c" and pooling == "bos"):
            equal(keys, ["id", "error"])
            continue
        equal(keys, ["id", "length", "rows", "embedding"] + ["truncated"] * (found["id"] == "c"))
        equal(found["length"], {"a": 3, "c": 600, "d": 5}[found["id"]])
        each = found["embedding"] if pooling == "none" else [found["embedding"]]
        equal(found["rows"], len(each))
        rows += each
    check(np.array_equal(np.array(rows, np.float32), wanted_rows(pooling)), "values differ")

    for dtype, numpy_type in (("f32", "<f4"), ("f16", "<f2")):
        section("raw and npy with --index, --pool %s --dtype %s" % (pooling, dtype))
        wanted = wanted_rows(pooling).astype(numpy_type)
        result = run("-p", pooling, "-f", "raw", "--dtype", dtype, stdin=FASTA)
        equal((result.status, result.out), (65, wanted.tobytes()))
        result = run("-p", pooling, "-f", "npy", "--dtype", dtype, "-o", path("npy"), "--index",
                     path("index"), stdin=FASTA)
        equal((result.status, result.out), (65, b""))
        array = np.load(path("npy"))
        equal((array.dtype.str, array.shape), (numpy_type, wanted.shape))
        check(array.tobytes() == wanted.tobytes(), "values differ")
        equal(len(read("npy")) - wanted.nbytes, 128)
        lines = [line.split("\t") for line in read("index").decode().split("\n")]
        equal(lines[0], ["id", "length", "rows", "offset", "status"])
        equal(lines[-1], [""])
        offset = 0
        for (name, length, residues), line in zip(
                [("a", 3, b"MKT"), ("b", 1, b""), ("c", 600, LONG[:512]), ("d", 5, b"ACDEF")],
                lines[1:-1]):
            rows = 0 if not residues or fails(pooling, residues) else \
                len(residues) if pooling == "none" else 1
            equal(line[:4], [name, str(length), str(rows), str(offset)])
            status = "error: " if rows == 0 else "truncated" if name == "c" else "ok"
            check(line[4].startswith(status), line)
            offset += rows

        section("msgpack, --pool %s --dtype %s" % (pooling, dtype))
        result = run("-p", pooling, "-f", "msgpack", "--dtype", dtype, stdin=FASTA)
        equal(result.status, 65)
        found = msgpack_of(result.out)
        equal([each["id"] for each in found], ["a", "b", "c", "d"])
        rows = []
        for each in found:
            if each["id"] == "b" or (each["id"] == "c" and pooling == "bos"):
                equal(list(each), ["id", "error"])
                check(each["error"] and type(each["error"]) is str, each)
                continue
            equal(sorted(each), sorted(["id", "length", "rows", "embedding", "dtype", "shape"] +
                                       ["truncated"] * (each["id"] == "c")))
            equal((each["length"], each.get("truncated", True)),
                  ({"a": 3, "c": 600, "d": 5}[each["id"]], True))
            check(type(each["embedding"]) is bytes, type(each["embedding"]))
            array = np.frombuffer(each["embedding"], each["dtype"]).reshape(each["shape"])
            equal((array.ndim, array.shape[-1]), (2 if pooling == "none" else 1, HIDDEN))
            rows.append(array.reshape(-1, HIDDEN))
            equal(each["rows"], len(rows[-1]))
        equal(rows[0].dtype.str, numpy_type)
        check(np.array_equal(np.concatenate(rows), wanted), "values differ")

section("msgpack: ids of all lengths, and rows of all widths")
ids = ["x" * length for length in (1, 31, 32, 255, 256, 65535, 65536)] + ['\u03b2"\\\x01\u0085']
text = "".join(">%s\n%s\n" % (name, "MKT" * 50) for name in ids).encode()
for hidden in (1, 63, 64, 16383, 16384, 20000):
    found = msgpack_of(run("-f", "msgpack", stdin=text, FAKE_HIDDEN=hidden).out)
    equal([each["id"] for each in found], ids)
    wanted = rows_of(b"MKT" * 50, "mean", hidden).tobytes()
    for each in found:
        equal(each["shape"], [hidden])
        check(each["embedding"] == wanted, "values differ")
found = msgpack_of(run("-f", "msgpack", "-p", "none", stdin=text, FAKE_HIDDEN=300).out)
check(found[0]["embedding"] == rows_of(b"MKT" * 50, "none", 300).tobytes(), "values differ")

section("an empty npy has the model's width")
result = run("-f", "npy", "-o", path("npy"), stdin=b"")
equal(result.status, 0)
equal((np.load(path("npy")).shape, np.load(path("npy")).dtype.str), ((0, HIDDEN), "<f4"))
equal(run("-f", "raw", stdin=b"").out, b"")

section("npy to a file as stdout")
with open(path("npy"), "wb") as file:
    status = subprocess.run([PROGRAM, "-f", "npy"], input=FASTA, stdout=file,
                            stderr=subprocess.DEVNULL, timeout=LIMIT).returncode
equal((status, np.load(path("npy")).shape), (65, (3, HIDDEN)))

section("wide rows of many values, larger than any buffer")
many = b"".join(b">r%d\n%s\n" % (i, LONG[:100 + i]) for i in range(40))
result = run("-p", "none", stdin=many, FAKE_HIDDEN=3000)
lines = result.out.split(b"\n")[:-1]
equal(len(lines), sum(100 + i for i in range(40)))
row = rows_of(LONG[:139], "none", 3000)[138]
last = np.array([float(value) for value in lines[-1].split(b"\t")[3:]], np.float32)
check(np.array_equal(last, row), "last row")
result = run("-p", "none", "-f", "raw", stdin=many, FAKE_HIDDEN=3000)
check(result.out == b"".join(rows_of(LONG[:100 + i], "none", 3000).tobytes() for i in range(40)))

section("numbers at the edges of the notations")
result = run(stdin=b"M\n", FAKE_EXTREME=1)
equal(result.out, b"1\t0\t-0\t1e-05\t1e-45\t3.4028235e+38\t1e+09\t0.1\t-1\n")
result = run("-f", "jsonl", stdin=b"M\n", FAKE_EXTREME=1)
equal(len(json.loads(result.out)["embedding"]), HIDDEN)

section("ids in JSON: quotes, backslashes, controls and UTF-8 come back as they were")
ids = ['a"b\\c', "\x01\x1f\x7f\u0085x", "\u03b2-\u9396\U0001f600", "x" * 10000]
text = "".join(">%s\nM\n" % name for name in ids).encode()
result = run("-f", "jsonl", stdin=text)
equal([json.loads(line)["id"] for line in result.out.decode().split("\n")[:-1]], ids)
check(not re.search(b"[\x00-\x09\x0b-\x1f\x7f]", result.out), "a raw control character")

section("ids in tsv and index: controls are blanks")
result = run("--id", "full", stdin=b">a\x01b\tc\x7f\xc2\x85d\nM\n")
check(result.out.startswith(b"a b c  d\t"), result.out[:40])

section("a result that failed has no row, but its place")
result = run("-f", "jsonl", stdin=b"M\nK\nT\n", FAKE_BAD=2)
lines = result.out.split(b"\n")
equal((result.status, lines[1]), (65, b'{"id":"2","error":"a value is not finite"}'))
equal(run(stdin=b"M\nK\nT\n", FAKE_BAD=2).out.count(b"\n"), 2)
finish()

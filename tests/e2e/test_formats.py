# SPDX-License-Identifier: Apache-2.0
"""What the filter writes, read by others: npy and raw by numpy, jsonl by json, tsv by float
parsing. All formats carry the same float32 bits, for every pooling.
"""
import json
import os
import stat

import numpy as np

import programs
import tap
from programs import Daemon, run_filter

HIDDEN = 128
RECORDS = programs.read_fasta(programs.PROTEINS)[:10] + [
    ("one", "M"), ("dressed", "mk tay 12\tia*"), ("edge", "A" * 511), ("full", "W" * 512),
    ("over", "L" * 600)]
CLEANED = {"dressed": "MKTAYIA"}
POOLS = ("mean", "max", "none")
daemon = Daemon("-b", "cpu", "-p", "f32")


def letters(record):
    return CLEANED.get(record[0], record[1])


def counts(pool, records=RECORDS):
    return [min(len(letters(record)), 512) if pool == "none" else 1 for record in records]


def embed(pool, *arguments, records=RECORDS, **keywords):
    return run_filter(daemon, "-p", pool, *arguments, input=programs.write_fasta(records),
                      **keywords)


def raw(pool, records=RECORDS):
    data = embed(pool, "-f", "raw", records=records).stdout
    return np.frombuffer(data, "<u4").reshape(sum(counts(pool, records)), HIDDEN)


def bits(fields):
    """The float32 bits of numbers in text, each rounded once."""
    return np.array([np.float32(field) for field in fields], "<f4").view("<u4")


@tap.cases("tsv: pool %s", POOLS)
def tsv(pool):
    lines = embed(pool).stdout.decode().splitlines()
    expected = raw(pool)
    assert len(lines) == len(expected)
    places = [(record, position) for record, count in zip(RECORDS, counts(pool))
              for position in range(count)]
    for line, row, (record, position) in zip(lines, expected, places):
        fields = line.split("\t")
        head = [record[0]]
        if pool == "none":
            head += [str(position + 1), letters(record)[position]]
        assert fields[:len(head)] == head, fields[:3]
        assert (bits(fields[len(head):]) == row).all(), record[0]


@tap.cases("jsonl: pool %s", POOLS)
def jsonl(pool):
    lines = embed(pool, "-f", "jsonl").stdout.decode().splitlines()
    expected, at = raw(pool), 0
    assert len(lines) == len(RECORDS)
    for line, record, count in zip(lines, RECORDS, counts(pool)):
        answer = json.loads(line)
        truncated = ["truncated"] if len(letters(record)) > 512 else []
        assert sorted(answer) == sorted(["id", "length", "rows", "embedding", *truncated]), answer
        assert (answer["id"], answer["length"], answer["rows"]) == (
            record[0], len(letters(record)), count)
        assert answer.get("truncated", False) is bool(truncated)
        values = np.array(answer["embedding"], "<f4").view("<u4")
        assert values.shape == ((count, HIDDEN) if pool == "none" else (HIDDEN,))
        assert (values == expected[at:at + count]).all(), record[0]
        at += count


@tap.cases("npy: pool %s", POOLS)
def npy(pool):
    path = programs.in_work("out.npy")
    embed(pool, "-f", "npy", "-o", path)
    array = np.load(path, allow_pickle=False)
    assert array.dtype == np.dtype("<f4") and array.shape == (sum(counts(pool)), HIDDEN)
    assert (array.view("<u4") == raw(pool)).all()
    assert os.path.getsize(path) == 128 + array.nbytes


@tap.case("npy to a redirected file; an empty one is (0, H)")
def npy_stdout():
    path = programs.in_work("redirected.npy")
    for records in (RECORDS, []):
        with open(path, "wb") as file:
            embed("mean", "-f", "npy", records=records, stdout=file)
        assert np.load(path).shape == (len(records), HIDDEN)
    run = embed("mean", "-f", "npy", expect=64)
    assert run.stdout == b"" and run.stderr.startswith("esm1nv: "), run


@tap.case("bos is the row of <s>, and fails the record that has none")
def bos():
    fits = [record for record in RECORDS if len(letters(record)) < 512]
    run = embed("bos", "-f", "jsonl", expect=65)
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [name for name, _ in RECORDS]
    failed = [answer["id"] for answer in answers if "error" in answer]
    assert failed == [record[0] for record in RECORDS if record not in fits], failed
    assert all(sorted(answer) == ["error", "id"] for answer in answers if "error" in answer)
    rows = embed("bos", "-f", "raw", expect=65).stdout
    assert len(rows) == len(fits) * HIDDEN * 4
    assert rows == embed("bos", "-f", "raw", records=fits).stdout


@tap.cases("f16 in %s", ["raw", "npy"])
def half(form):
    """The nearest float16 of every float32, ties to even, as numpy rounds."""
    expected = raw("none").view("<f4").astype("<f2")
    path = programs.in_work("half")
    embed("none", "-f", form, "--dtype", "f16", "-o", path)
    values = np.load(path) if form == "npy" else np.fromfile(path, "<f2").reshape(-1, HIDDEN)
    assert values.dtype == np.dtype("<f2") and (values.view("<u2") == expected.view("<u2")).all()


@tap.case("f16 is for binary formats")
def half_text():
    for form in ("tsv", "jsonl"):
        assert embed("mean", "-f", form, "--dtype", "f16", expect=64).stdout == b""


@tap.case("-o replaces a file at the end, keeps its mode, and leaves it when the run fails")
def output_file():
    path = programs.write_file("kept.tsv", b"old")
    os.chmod(path, 0o640)
    before = set(os.listdir(programs.work_folder()))
    run_filter(daemon, "-o", path, "-i", "lines", programs.in_work("absent.txt"), expect=66)
    assert open(path).read() == "old"
    embed("mean", "-o", path)
    assert len(open(path).read().splitlines()) == len(RECORDS)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert set(os.listdir(programs.work_folder())) == before, "temporary files are left"


@tap.case("several files are one stream")
def several_files():
    first = programs.write_file("1.fasta", programs.write_fasta(RECORDS[:5]))
    second = programs.write_file("2.txt", programs.write_lines(RECORDS[5:10]))
    out = run_filter(daemon, "-f", "raw", first, second).stdout
    assert out == raw("mean", RECORDS[:10]).tobytes()


tap.main(lambda: programs.finish(daemon))

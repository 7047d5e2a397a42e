# SPDX-License-Identifier: Apache-2.0
"""Difficult FASTA through both programs: every record of edge.fasta and its neighbours gets what
the manual promises, and its rows are those that the reference has for the cleaned residues. What
is promised is worked out here anew, in a few lines of Python.
"""
import functools
import json
import os
import re

import numpy as np

import programs
import tap
from programs import Daemon, run_filter
from nemo_file import PIECES
from reference import Reference

FOLDER = os.path.join(programs.DATA, "fasta")
ALPHABET = {piece for piece in PIECES if len(piece) == 1}
NEIGHBOURS = ["edge_blank", "edge_bom_crlf", "edge_cr_only", "edge_empty", "edge_latin1",
              "edge_nul"]
daemon = Daemon("-b", "cpu", "-p", "f32", model=programs.TINY1)


def path_of(name):
    return os.path.join(FOLDER, name + ".fasta")


reference_rows = functools.lru_cache(maxsize=None)(Reference(programs.TINY1).embed)


def records_of(name):
    """[(header, sequence)] as bytes, of a FASTA file."""
    data = programs.read_file(path_of(name))
    lines = re.split(b"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf"))
    records = []
    for line in lines:
        if line.startswith(b">"):
            records.append((line[1:], []))
        elif records:
            records[-1][1].append(line)
    return [(header, b"".join(body)) for header, body in records]


def record_id(header, ordinal, full=False):
    text = header.decode(errors="replace").lstrip(" \t")
    return (text if full else re.split("[ \t]", text)[0]) or str(ordinal)


def clean(sequence, policy):
    """The residues that are embedded, with "?" for an unknown one; None when the record fails."""
    letters = [letter for letter in sequence.decode(errors="surrogateescape").upper()
               if letter not in " \t0123456789"]
    if letters[-1:] == ["*"]:
        letters.pop()
    if policy == "drop":
        letters = [letter for letter in letters if letter in ALPHABET]
    if not letters or policy == "error" and not set(letters) <= ALPHABET:
        return None
    return "".join(letter if letter in ALPHABET else "?" for letter in letters)


def check(name, policy, pool):
    records = records_of(name)
    expected = [clean(sequence, policy) for _, sequence in records]
    run = run_filter(daemon, "-f", "jsonl", "-p", pool, "--invalid", policy, path_of(name),
                     expect=65 if None in expected else 0)
    answers = [json.loads(line) for line in run.stdout.decode().splitlines()]
    assert len(answers) == len(records), "%d answers to %d records" % (len(answers), len(records))
    for ordinal, (answer, (header, _), residues) in enumerate(zip(answers, records, expected), 1):
        assert answer["id"] == record_id(header, ordinal), (answer["id"], ordinal)
        if residues is None:
            assert sorted(answer) == ["error", "id"] and answer["error"], answer
        else:
            check_rows(answer, residues, pool)


def check_rows(answer, residues, pool):
    assert answer["length"] == len(residues), (answer["id"], answer["length"])
    assert answer.get("truncated", False) == (len(residues) > 512), answer["id"]
    rows = reference_rows(residues[:512])
    if pool == "mean":
        rows = rows.mean(axis=0)
    values = np.array(answer["embedding"])
    assert values.shape == rows.shape, (answer["id"], values.shape, rows.shape)
    error = np.linalg.norm(values - rows) / np.linalg.norm(rows)
    assert error < 5e-6, "%s: relative error %.3g" % (answer["id"], error)


@tap.cases("edge.fasta: %s", [(policy, pool) for policy in ("error", "unk", "drop")
                              for pool in ("mean", "none")])
def edge(policy, pool):
    check("edge", policy, pool)


@tap.cases("%s.fasta", NEIGHBOURS)
def neighbours(name):
    for policy in ("error", "unk", "drop"):
        check(name, policy, "mean")


@tap.case("a failed record shifts nothing: the good ones alone give the same bytes")
def shifts_nothing():
    records = records_of("edge")
    good = [record for record in records if clean(record[1], "error")]
    alone = b"".join(b">" + header + b"\n" + body + b"\n" for header, body in good)
    mixed = run_filter(daemon, "-f", "raw", path_of("edge"), expect=65)
    assert mixed.stdout == run_filter(daemon, "-f", "raw", input=alone).stdout
    assert len(mixed.stdout) == len(good) * 128 * 4


@tap.case("--index has a line per record, with the row each begins at")
def index():
    records = records_of("edge")
    path = programs.in_work("index.tsv")
    run_filter(daemon, "-f", "raw", "-p", "none", "--index", path, path_of("edge"), expect=65)
    with open(path, newline="\n", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in file]
    assert lines[0] == ["id", "length", "rows", "offset", "status"], lines[0]
    assert len(lines) == len(records) + 1
    offset = 0
    for line, (_, body) in zip(lines[1:], records):
        residues = clean(body, "error")
        rows = min(len(residues), 512) if residues else 0
        assert line[2:4] == [str(rows), str(offset)], line
        if residues:
            assert line[1] == str(len(residues))
            assert line[4] == ("truncated" if len(residues) > 512 else "ok"), line
        else:
            assert line[4].startswith("error: "), line
        offset += rows


@tap.case("--id full is the whole header; control characters become blanks in tsv")
def full_id():
    records = records_of("edge")
    lines = run_filter(daemon, "--id", "full", path_of("edge"),
                       expect=65).stdout.decode().splitlines()
    expected = [re.sub("[\x00-\x1f\x7f]", " ", record_id(header, ordinal, full=True))
                for ordinal, (header, body) in enumerate(records, 1) if clean(body, "error")]
    assert [line.split("\t")[0] for line in lines] == expected


@tap.case("--long error fails what truncate cuts")
def long_error():
    records = records_of("edge")
    fits = [record_id(header, ordinal) for ordinal, (header, body) in enumerate(records, 1)
            if (residues := clean(body, "error")) and len(residues) <= 512]
    lines = run_filter(daemon, "--long", "error", path_of("edge"), expect=65).stdout.splitlines()
    assert [line.split(b"\t")[0].decode() for line in lines] == fits


@tap.case("text before the first record is unreadable input")
def text_first():
    run = run_filter(daemon, "-i", "fasta", path_of("edge_text_first"), expect=66)
    assert run.stdout == b"" and "edge_text_first.fasta" in run.stderr, run.stderr


@tap.case("what failed is named on stderr")
def named():
    run = run_filter(daemon, path_of("edge_nul"), expect=65)
    assert "edge_nul.fasta" in run.stderr and "n2" in run.stderr, run.stderr


tap.main(lambda: programs.finish(daemon))

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Random small input, full of what is difficult, in random pieces, against a second reading of the
# contract in Python: id and length of every record, and the exit status. The seed is fixed.
import json
import random
import re

from harness import ALPHABET, start, wait_until_taken
from tap import check, finish, section

PIECES = [b">", b"\n", b"\n", b"\r", b"\r\n", b"\t", b" ", b"*", b"A", b"MK", b"j", b"7", b"\0",
          b"MKA" * 85, b"L" * 300, b"x y", b"\xc3\xa4", b"\xe9", b"\xe2\x82", b"\xef\xbb\xbf", b"\n>",
          b"\n>id q\n", b"A\n", b"-", b","]
NOT_BLANK = re.compile(rb"[^ \t\v\f\r\n]")


def letters(line):
    """The code points of a line; each byte that is part of none is a letter of its own."""
    return re.sub("[\udc80-\udcff]", "\ufffd", line.decode(errors="surrogateescape"))


def length_of(lines, policy):
    if any(b">" in line or b"\xef\xbb\xbf" in line for line in lines):
        return None  # a lost record boundary
    kept = [letter.upper() if letter.isascii() else letter for line in lines
            for letter in letters(line) if letter not in " \t\v\f0123456789"]
    if kept[-1:] == ["*"]:
        kept.pop()
    if policy == "drop":
        kept = [letter for letter in kept if letter in ALPHABET.decode()]
    return len(kept)


def id_of(header, rule, ordinal):
    header = header.lstrip(b" \t")
    if rule == "first":
        header = re.split(rb"[ \t]", header, 1)[0]
    return letters(header) or str(ordinal)


def split_lines(data):
    lines = re.split(rb"\r\n|\r|\n", data)
    return lines if lines[-1] else lines[:-1]


def read_fasta(data):
    first = NOT_BLANK.search(data)
    if not first or first.group() != b">":
        return [], 66 if first else 0
    records = []
    for line in split_lines(data[first.start():]):
        if line.startswith(b">"):
            records.append((line[1:], []))
        else:
            records[-1][1].append(line)
    return records, 0


def read_lines(data):
    records = []
    for line in split_lines(data):
        if line.startswith(b">"):
            return records, 66
        name, tab, sequence = line.partition(b"\t")
        records.append((name, [sequence]) if tab else (b"", [line]))
    return records, 0


def expected(data, kind, policy, rule):
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    head = re.split(rb"[\r\n]", data)[0]
    zeros = [byte == 0 for byte in head[:4]]
    if zeros[:1] == [True] or zeros in ([False, True, False, True], [False, True, True, True]):
        return [], 66
    first = NOT_BLANK.search(data)
    if kind == "auto" and not first:
        return [], 0
    fasta = kind == "fasta" or (kind == "auto" and first.group() == b">")
    records, status = read_fasta(data) if fasta else read_lines(data)
    answers = [(id_of(header, rule, ordinal), length_of(lines, policy) or None)
               for ordinal, (header, lines) in enumerate(records, 1)]
    failed = any(length is None for _, length in answers)
    return answers, status or (65 if failed else 0)


def answers_of(data, chance, *arguments):
    process = start("-f", "jsonl", *arguments)
    cut = chance.randrange(len(data) + 1)
    process.stdin.write(data[:cut])
    process.stdin.flush()
    wait_until_taken(process.stdin, process)
    out, _ = process.communicate(data[cut:])
    answers = [json.loads(line) for line in out.decode().split("\n")[:-1]]
    return [(answer["id"], answer.get("length")) for answer in answers], process.returncode


for kind in ("auto", "fasta", "lines"):
    section("150 random inputs, --input " + kind)
    chance = random.Random(kind)
    for _ in range(150):
        data = b"".join(chance.choice(PIECES) for _ in range(chance.randrange(25)))
        data = b">" + data if chance.random() < 0.4 else data
        policy, rule = chance.choice(["unk", "drop"]), chance.choice(["first", "full"])
        got = answers_of(data, chance, "-i", kind, "--invalid", policy, "--id", rule)
        wanted = expected(data, kind, policy, rule)
        check(got == wanted, data, policy, rule, "got", got, "wanted", wanted)
finish()

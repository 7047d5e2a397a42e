#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The command line: what is refused and how it is said, the other verbs, and what the daemon's
# errors become.
import json
import os
import re

from harness import data, path, run, write
from tap import check, equal, finish, section

GOOD = b"a\tMKT\nb\tAC\n"

REFUSED = [  # arguments, what the message must name
    (["--nonsense"], ["--nonsense", "--help"]),
    (["-x"], ["x", "--help"]),
    (["-i", "genbank"], ["--input", "genbank", "auto", "fasta", "lines"]),
    (["--id", "last"], ["--id", "last", "first", "full"]),
    (["--invalid", "keep"], ["--invalid", "keep", "unk"]),
    (["--long", "windows"], ["--long", "windows", "truncate", "window"]),
    (["-p", "sum"], ["--pool", "sum", "mean"]),
    (["-f", "csv"], ["--format", "csv", "tsv, jsonl, npy, raw, msgpack, h5"]),
    (["-f", "h5"], ["--format h5", "--output FILE"]),
    (["-f", "npy", "--dtype", "f64"], ["--dtype", "f64", "f16"]),
    (["--dtype", "f16"], ["--dtype f16", "--format tsv", "use npy, raw, msgpack or h5"]),
    (["--dtype", "f32", "-f", "jsonl"], ["--dtype f32", "--format jsonl"]),
    (["--progress", "maybe"], ["--progress", "maybe", "never"]),
    (["--progress"], ["--progress", "value", "--help"]),
    (["--status=xml"], ["--status", "xml", "json"]),
    (["--expect-model", "xyz"], ["--expect-model", "xyz", "hex"]),
    (["--expect-model", ""], ["--expect-model"]),
    (["--expect-model", "0" * 65], ["--expect-model"]),
    (["--status", "--stop"], ["--status and --stop cannot"]),
    (["--help", "--status=json"], ["--help and --status cannot"]),
    (["--dry-run=json"], ["--dry-run"]), (["--status", "json"], ["--status takes no FILE", "json"]),
    (["--status", "file"], ["--status", "file"]),
    (["--stop", "file"], ["--stop", "file"]),
    (["--wait", "-3"], ["--wait", "-3"]), (["--wait", "3s"], ["--wait", "3s"]),
    (["--wait", "1000000001"], ["--wait", "0 to 1000000000"]), (["--wait", "1K"], ["--wait", "1K"]),
    (["--wait", "99999999999999999999"], ["--wait"]),
    (["--idle-exit", "0"], ["--idle-exit", "1 to 1000000000"]),
    (["-m", "x.nemo", "-s", "path"], ["--model", "--socket path"]), (["--cache"], ["cache"]),
    (["--metrics", "--stop"], ["--metrics", "--stop"]),
    (["--metrics", "file"], ["--metrics", "file"]),
]
for arguments, names in REFUSED:
    section("refused: " + " ".join(arguments)[:60])
    result = run(*arguments, stdin=GOOD)
    equal((result.status, result.out), (64, b""))
    check(all(line.startswith("esm1nv: ") for line in result.err.split("\n")[:-1]), result.err)
    for name in names:
        check(name in result.err, name, result.err)

section("--version and --help")
result = run("--version")
equal(result.status, 0)
check(re.fullmatch(rb"esm1nv \d+\.\d+\.\d+\n", result.out), result.out)
result = run("--help")
equal((result.status, result.err), (0, ""))
for option in ("--input", "--id", "--invalid", "--long", "--pool", "--format", "--dtype", "--index",
               "--output", "--verbose", "--progress", "--socket", "--expect-model", "--status",
               "--stop", "--model", "--no-autostart", "--idle-exit", "--wait", "--dry-run", "--version", "--help"):
    check(option.encode() in result.out, option)
check(b"tsv|jsonl|npy|raw|msgpack|h5" in result.out, "formats")
check(max(len(line) for line in result.out.split(b"\n")) <= 80, "help is too wide")
equal(run("--verb", "--wai=1000000000", "--idle-exit", "1", "--version").status, 0)

section("the last of an option given twice counts")
equal(run("-p", "none", "-p", "mean", stdin=GOOD).out, run(stdin=GOOD).out)

section("files behind --, and options behind files")
write("-p", GOOD)
os.chdir(os.path.dirname(path("-p")))
equal(run("--", "-p").out, run(stdin=GOOD).out)
equal(run("./-p", "-p", "mean").status, 0)

section("input that cannot be opened: 66, named, before any output or connection")
result = run(write("good", GOOD), path("missing"), FAKE_CONNECT=-5)
equal((result.status, result.out), (66, b""))
check(path("missing") in result.err, result.err)
result = run(path("good"), os.path.dirname(path("good")))
equal((result.status, result.out), (66, b""))
check("directory" in result.err, result.err)

for code, status, names in ((-4, 70, []), (-5, 69, ["--model", "ESM1NV_MODEL", "synthetic"]),
                            (-6, 75, ["again"]), (-7, 78, []), (-8, 78, ["--status"]), (-9, 75, []),
                            (-10, 70, []), (-11, 70, [])):
    section("error %d of the library is exit status %d" % (code, status))
    result = run("--wait", "0", stdin=GOOD, FAKE_CONNECT=code)
    equal((result.status, result.out), (status, b""))
    for name in names + ["esm1nv: the fake refuses"]:
        check(name in result.err, name, result.err)

section("--expect-model: a prefix, in either case; another one is 78")
equal(run("--expect-model", "01234", stdin=GOOD).status, 0)
equal(run("--expect-model", "ABCD", stdin=GOOD).status, 78)

section("synthetic weights are told once")
result = run(stdin=GOOD, FAKE_SYNTHETIC=1)
equal((result.status, result.err),
      (0, "esm1nv: synthetic weights: these embeddings carry no biology\n"))

section("a good run says nothing")
equal(run(stdin=GOOD).err, "")

section("--status: a table, and JSON")
result = run("--status")
equal(result.status, 0)
check(re.search(rb"^clients +12345678901$", result.out, re.M), result.out)
result = run("--status=json")
equal(json.loads(result.out),
      {"version": '0 "fake"\n\x7f\u00c0\u0080', "clients": 12345678901})
check(b"\\u007f\xc3\x80\xc2\x80" in result.out, result.out)  # beyond ASCII as it came
equal(run("--status=json").out.count(b"\n"), 1)
result = run("--status", FAKE_CONNECT=-5)
equal((result.status, result.out), (69, b""))

section("--stop")
equal((run("--stop").status, run("--stop").out), (0, b""))
equal(run("--stop", FAKE_CONNECT=-5).status, 69)
equal(run("--stop", FAKE_CONNECT=-12).status, 77)


def dry_run(*arguments, **settings):
    result = run("--dry-run", *arguments, FAKE_CONNECT=-5, **settings)
    facts = dict(line.rsplit("  ", 1) for line in result.out.decode().split("\n")[:-1])
    return result.status, {name.strip(): value.strip() for name, value in facts.items()}


section("--dry-run counts, without a daemon")
status, facts = dry_run("-f", "npy", data("edge.fasta"))
equal(status, 0)
lengths = {"records": "59", "over-long records": "8", "invalid records": "8", "empty records": "3",
           "failing records": "11", "output rows": "48", "output bytes": str(128 + 48 * 768 * 4)}
for name, value in lengths.items():
    equal(facts.get(name), value, name)

section("--dry-run: bytes of the binary formats are exact")
for arguments, rows in ((["-p", "none"], 3 + 512 + 511), (["-p", "bos"], 2), (["-p", "max"], 3),
                        (["--long", "error"], 2), (["--long", "window"], 3),
                        (["-p", "none", "--long", "window"], 3 + 600 + 511),
                        (["-p", "bos", "--long", "window"], 2)):
    text = b"MKT\n" + b"A" * 600 + b"\n" + b"C" * 511 + b"\n"
    status, facts = dry_run("-f", "raw", "--dtype", "f16", *arguments, stdin=text)
    equal((status, facts["output bytes"]), (0, str(rows * 768 * 2)))
    equal((facts["residues"], facts["over-long records"]), (str(3 + 600 + 511), "1"))

section("--dry-run: bytes of text are about right")
for name in ("tsv", "jsonl"):
    text = b"".join(b"record%d\tMKT\n" % i for i in range(100))
    estimate = dry_run("-f", name, stdin=text)[1]["output bytes"]
    check(estimate.startswith("about "), estimate)
    # The made-up values are shorter than real ones: about 9 bytes each instead of 11.6.
    real = len(run("-f", name, stdin=text, FAKE_HIDDEN=768).out)
    check(0.9 < int(estimate.split()[1]) / real < 1.9, estimate, real)

section("--dry-run: long ids count")
text = b">%s\nMKT\n>%s\nACD\n" % (b"x" * 60000, b"y" * 40000)
for name, times in (("tsv", 1), ("jsonl", 1), ("msgpack", 1), ("h5", 2)):
    values = 2 * 768 * (11.6 if name in ("tsv", "jsonl") else 4)
    estimate = int(dry_run("-f", name, stdin=text)[1]["output bytes"].split()[1])
    check(0 <= estimate - values - times * 100000 < 1000, name, estimate)

section("--dry-run: bytes of msgpack and h5 are nearly right")
text = b"".join(b">record%d some protein\n%s\n" % (i, b"MKT" * (i % 9)) for i in range(500))
for name, bound in (("msgpack", 0.002), ("h5", 0.02)):
    estimate = dry_run("-f", name, stdin=text)[1]["output bytes"]
    check(estimate.startswith("about "), estimate)
    if name == "h5" and run("-f", "h5", "-o", path("real"), stdin=b"").status == 73:
        continue  # built without it
    run("-f", name, "-o", path("real"), stdin=text, FAKE_HIDDEN=768)
    real = os.path.getsize(path("real"))
    check(abs(int(estimate.split()[1]) / real - 1) < bound, name, estimate, real)

section("--dry-run: unreadable input is 66")
equal(run("--dry-run", path("missing")).status, 66)
equal(run("--dry-run", "-i", "fasta", stdin=b"x\n").status, 66)
finish()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# --format h5, read back by h5py: names and what stands for names that are taken, whole headers as
# attributes, types and shapes; that it needs a file; that what cannot be written is told.
import os
import resource
import shutil
import subprocess
import sys
import time

from harness import HIDDEN, LIMIT, PROGRAM, data, folder, path, read, rows_of, run, start, write
from patience import at_most
from tap import check, equal, finish, section

try:
    import h5py
except ImportError:
    print("1..0 # SKIP Python has no h5py")
    sys.exit(0)

LONG = b"MKTACDEFGHIL" * 50  # 600 residues
FASTA = b">sp|P1|A_B first of all\nMKT\n>b/c\nJ\n>b/c d\n" + LONG + b"\n>e\tf  g\nACDEF\n"
GOOD = [("sp|P1|A_B", "sp|P1|A_B first of all", b"MKT"), ("b_c", "b/c d", LONG[:512]),
        ("e", "e\tf  g", b"ACDEF")]
OUT = path("out.h5")


def convert(*arguments, **settings):
    return run("-f", "h5", "-o", OUT, *arguments, **settings)


def names_of(text, *arguments):
    """{name: original_id} of what comes out."""
    result = convert(*arguments, stdin=text)
    check(result.status in (0, 65), result.err)
    with h5py.File(OUT) as file:
        return {name: file[name].attrs["original_id"] for name in file}


for pooling in ("mean", "max", "bos", "none"):
    for dtype, numpy_type in (("f32", "<f4"), ("f16", "<f2")):
        section("values, shapes and types, --pool %s --dtype %s" % (pooling, dtype))
        result = convert("-p", pooling, "--dtype", dtype, stdin=FASTA)
        equal((result.status, result.out), (65, b""))
        with h5py.File(OUT) as file:
            wanted = [each for each in GOOD if pooling != "bos" or len(each[2]) < 512]
            equal(sorted(file), sorted(name for name, _, _ in wanted))
            for name, header, residues in wanted:
                rows = rows_of(residues, pooling).astype(numpy_type)
                rows = rows if pooling == "none" else rows[0]
                equal((file[name].dtype.str, file[name].shape), (numpy_type, rows.shape), name)
                check(file[name][()].tobytes() == rows.tobytes(), name, "values differ")
                equal(dict(file[name].attrs), {"original_id": header})

section("--index beside it, and --id full")
equal(convert("--index", path("index"), stdin=FASTA).status, 65)
equal([line.split("\t")[0] for line in read("index").decode().split("\n")[1:-1]],
      ["sp|P1|A_B", "b/c", "b/c", "e"])
equal(names_of(FASTA, "--id", "full"), {"sp|P1|A_B first of all": "sp|P1|A_B first of all",
                                         "b_c d": "b/c d", "e\tf  g": "e\tf  g"})

section("--long window: all residues of edge.fasta's titin")
equal(convert("--long", "window", "-p", "none", data("edge.fasta")).status, 65)
with h5py.File(OUT) as file:
    equal(file["e46_titin_like_35000"].shape, (35000, HIDDEN))
    check(".._.._e52_path:like?id*" in file, list(file)[:5])
    check("e20_myoglobine_\u03b2-\u9396_\u00f1" in file)

section("a name that is taken gets the first suffix that is free")
text = b"".join(b">%s x\nMKT\n" % name for name in
                (b"a", b"a_3", b"a", b"a/2", b"a", b"a", b"a_3", b"b/", b"b_", b"a_2"))
equal(sorted(names_of(text)), sorted(
    ["a", "a_3", "a_2", "a_2_2", "a_4", "a_5", "a_3_2", "b_", "b__2", "a_2_3"]))

section("names HDF5 would not take, and lines without an id")
equal(names_of(b".\tMKT\n..\tMKT\n/\tMKT\na\0b\tMKT\nMKT\n./x\tMKT\n"),
      {"_": ".", "..": "..", "__2": "/", "a_b": "a b", "5": "5", "._x": "./x"})

section("long headers are kept, names are cut between letters")
header = "x" * 4095 + "\u03b2" * 3 + "y" * 300000
equal(names_of(">{0}\nM\n>{0}\nM\n".format(header).encode()),
      {"x" * 4095: header, "x" * 4095 + "_2": header})
equal(names_of(b">" + b"z" * 2000000 + b"\nM\n"), {"z" * 4096: "z" * (1 << 20)})
equal(names_of(b">caf\xe9 \xff\nM\n"), {"caf\ufffd": "caf\ufffd \ufffd"})

section("20,000 records of one name, and as many of their own")
begin = time.monotonic()
text = b"".join(b">same\nMK\n>own%d\nMK\n" % i for i in range(20000))
found = names_of(text)
equal(len(found), 40000)
wanted = {"same"} | {"same_%d" % i for i in range(2, 20001)} | {"own%d" % i for i in range(20000)}
check(set(found) == wanted, "names differ")
check(time.monotonic() - begin < at_most(60), time.monotonic() - begin, "seconds")

section("no records: an empty file")
equal((convert(stdin=b"").status, names_of(b"")), (0, {}))

section("the same bytes again")
convert(stdin=FASTA)
before = read("out.h5")
time.sleep(1.1)
convert(stdin=FASTA)
check(read("out.h5") == before, "bytes differ")

section("it needs a regular file: 64")
for arguments in ([], ["-o", "/dev/null"], ["-o", "-"]):
    result = run("-f", "h5", *arguments, stdin=FASTA)
    equal((result.status, result.out), (64, b""), arguments)
    check("--output" in result.err and "h5" in result.err, result.err)

section("it appears when complete, with its mode; never after an error")
os.chmod(write("out.h5", b"before"), 0o640)
equal(convert("--wait", "0", stdin=b"MKT\n", FAKE_LOST=1).status, 75)
equal(read("out.h5"), b"before")
equal(convert(stdin=b"MKT\n").status, 0)
equal((os.stat(OUT).st_mode & 0o777, len(names_of(b"MKT\n"))), (0o640, 1))
process = start("-f", "h5", "-o", path("never.h5"))
process.stdin.write(b"MKT\n" * 100)
process.stdin.flush()
process.terminate()
process.communicate(timeout=LIMIT)
equal([name for name in os.listdir(folder) if name.startswith((".", "never"))], [])

section("a file size limit, reached while writing or at the end: 74")
for text in (b"MKT\n" * 5000, b"MKT\n" * 10):
    result = subprocess.run(
        [PROGRAM, "-f", "h5", "-o", OUT], input=text, stderr=subprocess.PIPE, timeout=LIMIT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)))
    equal(result.returncode, 74)
    check(b"out.h5: cannot write" in result.stderr and b"too large" in result.stderr,
          result.stderr)
equal([name for name in os.listdir(folder) if name.startswith(".")], [])

section("the program alone is not linked with it; without the module: 73, and how to get it")
shutil.copy(PROGRAM, path("alone"))
result = subprocess.run([path("alone"), "-f", "h5", "-o", path("never.h5")], input=b"MKT\n",
                        stderr=subprocess.PIPE, timeout=LIMIT)
if result.returncode != 0:  # one may be installed on this machine
    equal(result.returncode, 73)
    check(b"esm1nv-h5.so" in result.stderr and b"HDF5" in result.stderr, result.stderr)
linked = subprocess.run(["ldd", PROGRAM], stdout=subprocess.PIPE, timeout=LIMIT).stdout
check(b"hdf5" not in linked, linked)
finish()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Input that is something else: what is no text of sequences is refused before any row, a record
# that lost its end fails, and what is legal but looks like another format is warned of, once; each
# whatever --invalid says. The files are small ones of the kinds that stand in folders with
# sequences.
import bz2
import gzip
import io
import lzma
import os
import select
import tarfile
import zipfile

from harness import LIMIT, path, run, start, wait_until_taken, write
from tap import check, equal, finish, section

POLICIES = ["error", "unk", "drop"]
FASTA = b">a first\nMKTAYIAKQR\n>b second\nMSKGEELFTG\n"
MARK = b"\xef\xbb\xbf"


def zip_of(data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.fasta", data)
    return out.getvalue()


def tar_of(data, kind):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        info = tarfile.TarInfo("a.fasta")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


# --- refused: what it is called, what is advised, the file ---
TAR = tar_of(FASTA, tarfile.USTAR_FORMAT)
REFUSED = [
    ("bzip2", "bzcat", bz2.compress(FASTA)),
    ("bzip2", "bzcat", bz2.compress(b"")),
    ("xz", "xzcat", lzma.compress(FASTA)),
    ("lzma", "xz -dc --format=lzma", lzma.compress(FASTA, lzma.FORMAT_ALONE)),
    ("zstd", "zstdcat", b"\x28\xB5\x2F\xFD\x24\x2B" + bytes(20)),
    ("zstd", "zstdcat", b"\x50\x2A\x4D\x18\4\0\0\0abcd"),
    ("lz4", "lz4 -dc", b"\x04\x22\x4D\x18\x64\x40\xA7"),
    ("lz4", "lz4 -dc", b"\x02\x21\x4C\x18abcd"),
    ("lzip", "lzip -dc", b"LZIP\1\x0C"),
    ("lzop", "lzop -dc", b"\x89LZO\0\r\n\x1a\n\x10"),
    ("snappy", "snzip", b"\xFF\x06\0\0sNaPpY"),
    (".Z", "zcat", b"\x1F\x9D\x90\x3E\xC2"),
    ("pack ", "zcat", b"\x1F\x1E\0\0"),
    ("gzip", "zcat", gzip.compress(gzip.compress(FASTA))),
    ("xz-compressed data inside gzip", "| xzcat - | esm1nv", gzip.compress(lzma.compress(FASTA))),
    ("zip archive", "unzip -p", zip_of(FASTA)),
    ("empty zip", "nothing is in it", b"PK\5\6" + bytes(18)),
    ("7z", "7z x -so", b"7z\xBC\xAF\x27\x1C\0\4"),
    ("rar", "unrar", b"Rar!\x1A\x07\1\0"),
    ("tar", "tar -xOf", TAR),
    ("tar", "tar -xOf", tar_of(FASTA, tarfile.GNU_FORMAT)),
    ("tar archive inside gzip", "| tar -xOf - | esm1nv", gzip.compress(TAR)),
    ("UTF-16", "iconv -f UTF-16 ", FASTA.decode().encode("utf-16")),
    ("UTF-16", "iconv -f UTF-16 ", b"\xFE\xFF" + FASTA.decode().encode("utf-16-be")),
    ("UTF-16", "iconv -f UTF-16LE", FASTA.decode().encode("utf-16-le")),
    ("UTF-16", "iconv -f UTF-16BE", FASTA.decode().encode("utf-16-be")),
    ("UTF-32", "iconv -f UTF-32 ", FASTA.decode().encode("utf-32")),
    ("UTF-32", "iconv -f UTF-32 ", b"\0\0\xFE\xFF" + FASTA.decode().encode("utf-32-be")),
    ("UTF-32", "iconv -f UTF-32LE", FASTA.decode().encode("utf-32-le")),
    ("UTF-32", "iconv -f UTF-32BE", FASTA.decode().encode("utf-32-be")),
    ("UTF-16 text inside gzip", "| iconv", gzip.compress(FASTA.decode().encode("utf-16"))),
    ("NUL bytes", "damaged", bytes(4096)),
    ("NUL bytes", "damaged", b"\0" + FASTA),
    ("NUL bytes", "damaged", MARK + b"\0" + FASTA),
    ("BAM", "translate", gzip.compress(b"BAM\1\x10\0\0\0@HD\tVN:1.6\n")),
    ("CRAM", "translate", b"CRAM\3\0" + bytes(20)),
    ("CRAM", "translate", b"CRAM\2\1" + bytes(20)),
    ("BCF", "translate", gzip.compress(b"BCF\2\2\0\0\0\0##fileformat")),
    ("2bit", "translate", b"\x43\x27\x41\x1A\0\0\0\0"),
    ("2bit", "translate", b"\x1A\x41\x27\x43\0\0\0\0"),
    ("SFF", "translate", b".sff\0\0\0\1"),
    ("SCF", "translate", b".scf\0\0\0\1"),
    ("ABI", "translate", b"ABIF\0\x65tdir"),
    ("POD5", "translate", b"\x8BPOD\r\n\x1A\n"),
    ("SRA", "translate", b"NCBI.sra\5\3\x19\x88"),
    ("DIAMOND", "diamond getseq", b"\x6D\x18\xEE\x15\xA4\xF8\x4A\x02\xA8"),
    ("HDF5", "FASTA", b"\x89HDF\r\n\x1A\n" + bytes(20)),
    ("NumPy", "FASTA", b"\x93NUMPY\1\0v\0{'descr': '<f4'}\n"),
    ("pickle", "FASTA", b"\x80\x04\x95\x10\0\0\0\0\0\0\0]"),
    ("Parquet", "FASTA", b"PAR1\x15\4\x15"),
    ("Arrow", "FASTA", b"ARROW1\0\0\xFF\xFF\xFF\xFF"),
    ("SQLite", "FASTA", b"SQLite format 3\0\x10\0"),
    ("PDF", "FASTA", b"%PDF-1.5\n%\xBF\xF7\n"),
    ("office", "FASTA", b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1" + bytes(20)),
    ("RTF", "FASTA", b"{\\rtf1\\ansi >a}\n"),
    ("image", "FASTA", b"\x89PNG\r\n\x1a\n"),
    ("image", "FASTA", b"\xFF\xD8\xFF\xE0\0\x10JFIF"),
    ("program", "FASTA", b"\x7FELF\2\1\1"),
    ("web page", "download", b"<!DOCTYPE html>\n<html>"),
    ("web page", "download", b"<!doctype html>\n<html>"),
    ("web page", "download", MARK + b"<html lang=en>\n"),
    ("XML", "download", b"<?xml version='1.0'?>\n<entry>"),
]
for name, advice, data in REFUSED:
    section("refused: %s, %s" % (name, data[:12]))
    file = write("refused.file", data)
    for policy in POLICIES:
        for kind in ("auto", "fasta", "lines"):
            result = run("--invalid", policy, "-i", kind, file)
            equal((result.status, result.out, result.err.count("\n")), (66, b"", 1), policy, kind)
            check(file + ": " in result.err and name in result.err and advice in result.err,
                  result.err)
    result = run("--invalid", "drop", stdin=data)
    equal((result.status, result.out), (66, b""))
    check("stdin: " in result.err and name in result.err, result.err)
    equal(run("--dry-run", file).status, 66)

section("refused byte by byte, and through a FIFO behind a file that was read")
for name, _, data in (REFUSED[0], REFUSED[19], REFUSED[24], REFUSED[14]):
    process = start("--invalid", "drop")
    try:
        for i in range(len(data)):
            os.write(process.stdin.fileno(), data[i:i + 1])
            wait_until_taken(process.stdin, process)
    except BrokenPipeError:
        pass
    out, err = process.communicate()
    equal((process.returncode, out, name.encode() in err), (66, b"", True))
result = run("--invalid", "drop", write("good", FASTA), "-", stdin=bz2.compress(FASTA))
equal((result.status, result.out), (66, run(path("good")).out))

section("a later file is refused before any row, and all are read from their beginning")
for data in (bz2.compress(FASTA), bz2.compress(b""), lzma.compress(FASTA)[:9],
             gzip.compress(gzip.compress(FASTA))):
    result = run(path("good"), write("bad", data), path("good"))
    equal((result.status, result.out), (66, b""))
    check(path("bad") + ": " in result.err, result.err)
packed = write("packed", gzip.compress(MARK + FASTA * 3000))
result = run(path("good"), packed, write("one", b"MKT"), packed, write("none", b""))
equal((result.status, result.out.count(b"\n")), (0, 2 + 6000 + 1 + 6000))

section("what only begins like another form is text, when its line ends before")
for text in (b"\x1f\n", b"BZh91AY\n", b"BZh91AY&S", b"LZIP\n", b"LZIP", b"CRAM\n", b"ABIF\nMK\n",
             b"PAR1\n", b"P*M\n", b"\n\0\0\0\0", b"M\0K\n", b"M\0\0K\n", b"7z\n", b"<htm\n",
             b">ab1AY&SY\nM\n",
             b">" + b"x" * 256 + b"ustar\nM\n", b">" + b"x" * 256 + b"ustar  00\nM\n"):
    result = run("--invalid", "unk", stdin=text)
    check(result.status in (0, 65), text, result.status, result.err)

section("nothing that tells a form keeps a line waiting")
process = start("--invalid", "unk", "-f", "jsonl", "-i", "lines")
for line in (b"B\n", b"LZIP\r", b"BZh9\n", b"\n", b"\x1f\n", b"M" * 600 + b"\n"):
    os.write(process.stdin.fileno(), line)
    check(select.select([process.stdout], [], [], LIMIT)[0], "no answer to", line)
    os.read(process.stdout.fileno(), 1 << 16)
process.communicate()

# --- lost record boundaries: input, {id: status in the index} ---
LOST = [
    ("joined without a line end", b">a\nMKT>b\nMKV\n>c\nMK\n", "a", 4, "'>'"),
    ("a > behind blanks", b">a\nMKT\n  >b\nMKV\n>c\nMK\n", "a", 4, "'>'"),
    ("a mark before a header", b">a\nMKT\n" + MARK + b">b\nMKV\n>c\nMK\n", "a", 4,
     "byte order mark"),
    ("a mark inside of a sequence", b">a\nMK" + MARK + b"T\n>c\nMK\n", "a", 3, "byte order mark"),
    ("behind the last star", b">a\nMKT*>b\n>c\nMK\n", "a", 5, "'>'"),
    ("behind the cut", b">a\n" + b"M" * 600 + b">b\n>c\nMK\n", "a", 601, "'>'"),
    ("in lines", b"a\tMKT>b\nc\tMK\n", "a", 4, "'>'"),
    ("a mark in lines", b"a\tMKT" + MARK + b"MKV\nc\tMK\n", "a", 4, "byte order mark"),
    ("only a mark", b"a\t" + MARK + b"\nc\tMK\n", "a", 1, "byte order mark"),
    ("a mark at the beginning of a line", b"MKT\n" + MARK + b"MKV\nMK\n", "2", 1,
     "byte order mark"),
]
for what, text, failed, position, letter in LOST:
    section("lost boundary: " + what)
    text += b">d\nMK\n" * 5 if text.startswith(b">") else b"MK\n" * 5
    for policy in POLICIES:
        result = run("--invalid", policy, "--index", path("index"), stdin=text)
        with open(path("index"), encoding="utf-8") as file:
            status = {line.split("\t")[0]: line.split("\t")[4] for line in file}
        equal(result.status, 65)
        for name in status:
            if name not in (failed, "id"):
                equal(status[name], "ok\n", name)
        drop = policy == "drop" and "star" in what  # letters that were left out do not count
        check(status[failed].startswith("error: %s at position %d is a lost record boundary"
                                        % (letter.replace("byte", "a byte"), position - drop)),
              status[failed])
        check("line end" in result.err and "one by one" in result.err, result.err)
        counts = run("--invalid", policy, "--dry-run", stdin=text).out.decode()
        check("failing records    1\n" in counts, counts)

section("no boundary: a > in a header or an id, a mark at the beginning of each file")
for text in (b">a>b >c\nMKT\n>c " + MARK + b">\nM\n", b"a>b\tMKT\n", MARK + b"MKT\n", b">>a\nM\n"):
    equal(run(stdin=text).status, 0, text)
equal(run(write("mark1", MARK + FASTA), write("mark2", MARK + FASTA)).status, 0)

# --- looks: the name that the warning gives, rows with error, unk and drop, the file ---
LOOKS = [
    ("PIR", (1, 1, 1), b">P1;CRAB_TEST\nCytochrome c\nMKTAYIAKQR\nMSKGE*\n"),
    ("PIR", (2, 2, 2), b">a\nMK\n>F1;X\nTitle\nMKT*\n"),
    ("A3M", (1, 2, 2), b">query\nMKTAYIAK\n>hit1\nMK-aaAYAIAK\n"),
    ("A3M", (0, 1, 1), b">hit\nMKtaT\nA--YI\n"),
    ("A3M", (0, 1, 1), b"#query\n"),
    ("; comments", (2, 4, 4), b"; LCBO - old Pearson header\n; more\nMDSKGSSQK\nGSRLLL*\n"),
    ("; comments", (0, 1, 1), b">a\n; more\nMDSKGSSQK\n"),
    ("GenPept", (3, 5, 4), b"LOCUS       AAA1           10 aa\nDEFINITION  test.\nORIGIN\n"
     b"        1 mktayiakqr\n//\n"),
    ("FASTQ", (1, 4, 3), b"@read1 x\nATGAAAACCGCGTATATTGCG\n+\nIIIIIIII!IIII@IIII#II\n"),
    ("table", (2, 2, 2), b"Entry\tSequence\nP12345\tMKTAYIAK\n"),
    ("table", (1, 2, 2), b"id\tprotein_sequence\nP12345\tMKTAYIAK\n"),
    ("table", (2, 2, 2), b"sequence\nMKTAYIAK\n"),
    ("table", (2, 2, 2), b"id\tseq\nP1\tMKTAYIAK\n"),
    ("table", (2, 2, 2), b"id\tclass\tsequence\nP1\treviewed\tMKTAYIAK\n"),
    ("table", (1, 1, 1), b"P1\tMKTAYIAK\tyes\n"),
    ("table", (0, 2, 2), b"P1,MKTAYIAK\nP2,MSKGE\n"),
    ("blank", (2, 2, 2), b"P12345 MKTAYIAK\nQ9XYZ1 MSKGE\n"),
    ("blank", (1, 1, 1), b"Not Found\n"),
    ("nucleotides", (2, 2, 2), b">d1 cds\nATGAAAACCGCGTATATTGCGAAACAGCGT\n>d2 cds\nATGNNNACC\n"),
    ("nucleotides", (1, 1, 1), b"augaaaaccgcguauauugc\n"),
]
for name, rows, data in LOOKS:
    section("looks like %s: %s" % (name, data[:16]))
    file = write("looks.file", data)
    for policy, count in zip(POLICIES, rows):
        result = run("--invalid", policy, file, file)
        equal(result.out.count(b"\n"), 2 * count, policy)
        equal(result.status in (0, 65), True)
        check(result.err.count("looks like") == 1 and name in result.err and file in result.err,
              result.err)
    equal(run("--dry-run", file).err.count("looks like"), 1)
    equal(run("-v", "--dry-run", file).err.count("looks like"), 1)
    equal(run(write("looks.gz", gzip.compress(data))).err.count("looks like"), 1)

section("each look of several files is told once")
result = run("--invalid", "unk", *[write("looks%d" % i, data) for i, (_, _, data)
                                   in enumerate(LOOKS)])
for name in {name for name, _, _ in LOOKS}:
    equal(sum(name in line for line in result.err.split("\n") if "looks like" in line),
          2 if name in ("A3M", "nucleotides") else 1, name)  # comments and FASTQ name them too

section("nothing is said of sequences as they are written everywhere")
for text in (FASTA, FASTA.lower(), b">a\n1 mktay iakqr\n61 MKT ayi*\n", b">a\nMK--TA..YI\n",
             b">a\nmk--tayi\n", b">a\nMKtayiAK\n", b">a\nMK;T#\n", b">a\nMK--T\n" + b">b\nMKta\n" * 9,
             b">P1\nMKT\n", b">P12;x\nMKT\n", b"a b\tMKT\n", b" MKT \n", b"a\tMKT \n", b"61 MKT\n", b"MKT\nSEQ\n", b"ACGT\nGATTACA\n",
             b"AAAAAAAAAAAAAAAAAAAAAAAAA\n", b"GAGAGAGANNTAGAGAGAGA\n", b"@a\tMKT\n", b">@a\nMKT\n",
             b">;a\nMKT\n", b"LOCUS\nMKT\n", b">a b;c #d\nMKT\n"):
    result = run("--invalid", "unk", stdin=text)
    check("looks like" not in result.err, text, result.err)
    equal(result.status, 0, text)
    check("looks like" not in run("--dry-run", stdin=text).err, text)
finish()

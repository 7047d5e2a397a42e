#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# What becomes of every record of difficult input: its id, length and fate, written down from the
# contract and from what is known of the files, and the residues that reach the library.
from harness import data, index_of, path, rows_of, run, write
from tap import check, equal, finish, section

# --- edge.fasta: id, length, and where not embedded or cut, its fate ---
L304 = "e50_" + "L" * 300
EDGE = [
    ("MYG_HORSE", 153), ("e02_crlf", 153), ("e03_lower", 153), ("e04_softmask", 153),
    ("e05_blank_lines", 153), ("e06_stop_end", 153), ("e07_stop_inside", 155, "*", 51),
    ("tr|A0A147A8B6|A0A147A8B6_FUNHE", 340), ("P00293", 99), ("Q923V8", 162), ("1nth-A", 458),
    ("e12_leu_ile_J", 153, "J", 2), ("e13_26_letters", 26, "J", None),
    ("e14_gaps_dot", 171, ".", None), ("e15_gaps_dash", 171, "-", None), ("e16_blocks", 153),
    ("e17_numbered", 153), ("e18_tab_after_id", 153), ("e19_blank_before_id", 153),
    ("e20_myoglobine_\u03b2-\u9396_\u00f1", 153), ("e21_nbsp\u00a0in_id", 153), ("e22_dup", 153),
    ("e22_dup", 141), ("e24_same", 141), ("e24_same", 141), ("e26_Case", 153), ("E26_case", 141),
    ("28", 153), ("29", 153), ("e30_empty", 0, "empty"), ("e31_only_blank_lines", 0, "empty"),
    ("e32_only_stop", 0, "empty"), ("e33_only_gaps", 10, "-", 1), ("e34_one_residue", 1),
    ("e35_two_residues", 2), ("e36_len509", 509), ("e37_len510", 510), ("e38_len511", 511),
    ("e39_len512", 512), ("e40_len513", 513, "cut"), ("e41_len1022", 1022, "cut"),
    ("e42_len1023", 1023, "cut"), ("e43_len1024", 1024, "cut"), ("e44_len1025", 1025, "cut"),
    ("sp|Q8WZ42|TITIN_HUMAN", 34350, "cut"), ("e46_titin_like_35000", 35000, "cut"),
    ("e47_polyQ", 600, "cut"), ("e48_all_X", 100), ("e49_long_header", 153), (L304, 153),
    ("e51,comma;semi\"quote's=eq<tag>&amp;", 153), ("../../e52/path:like?id*", 153),
    ("PF00042/12-88|e53", 153), ("e54_ncbi_nr", 153), ("e55_comment_lines", 190, ";", 1),
    ("e56_not_a_protein", 34, "U+00E4", 29), ("Sequence0", 153), ("e58_mixed_eol", 153),
    ("e59_last_no_newline", 153),
]
# With --invalid drop: the lengths that differ, from the counts of other characters in the file.
DROPPED = {"e07_stop_inside": 153, "e12_leu_ile_J": 148, "e13_26_letters": 25, "e14_gaps_dot": 146,
           "e15_gaps_dash": 146, "e33_only_gaps": 0, "e55_comment_lines": 188,
           "e56_not_a_protein": 32}


def check_fate(line, fate, position, name):
    status = line[4]
    if fate is None:
        equal(status, "ok", name)
    elif fate == "cut":
        equal(status, "truncated", name)
    elif fate == "empty":
        check(status == "error: the sequence is empty", name, status)
    else:
        where = "position %d " % position if position else "position "
        check(status.startswith("error: ") and fate in status and where in status, name, status)


section("edge.fasta: id, length and fate of all 59 records")
result, lines = index_of(data("edge.fasta"))
equal(result.status, 65)
equal(len(lines), len(EDGE))
offset = 0
for line, (name, length, *more) in zip(lines, EDGE):
    fate, position = (more + [None, None])[:2]
    rows = 1 if fate in (None, "cut") else 0
    equal(line[:4], [name, str(length), str(rows), str(offset)], name)
    check_fate(line, fate, position, name)
    offset += rows

section("edge.fasta with --invalid unk: only empty records fail, lengths stay")
result, lines = index_of("--invalid", "unk", data("edge.fasta"))
equal(result.status, 65)
for line, (name, length, *more) in zip(lines, EDGE):
    equal(line[:2], [name, str(length)])
    fate = more[0] if more and more[0] in ("empty", "cut") else None
    check_fate(line, fate, None, name)

section("edge.fasta with --invalid drop: other characters do not count")
result, lines = index_of("--invalid", "drop", data("edge.fasta"))
for line, (name, length, *more) in zip(lines, EDGE):
    length = DROPPED.get(name, length)
    equal(line[:2], [name, str(length)])
    check_fate(line, "empty" if length == 0 else "cut" if length > 512 else None, None, name)

section("edge.fasta with --long error")
result, lines = index_of("--long", "error", data("edge.fasta"))
equal([line[0] for line in lines if "--long" in line[4]],
      [name for name, length, *more in EDGE if length > 512])

section("edge.fasta with --id full: whole headers, control characters as blanks")
result, lines = index_of("--id", "full", data("edge.fasta"))
equal(lines[0][0], "MYG_HORSE control record")
equal(lines[17][0], "e18_tab_after_id MYG_HORSE Equus caballus")
equal(lines[18][0], "e19_blank_before_id MYG_HORSE")
equal(lines[28][0], "29")
equal(len(lines[48][0]), 10016)
check("\x01" not in lines[53][0] and len(lines[53][0]) == 70, lines[53][0])

# --- whole files ---
WHOLE = [("edge_bom_crlf.fasta", 0, [("b1", 153, "ok"), ("b2", 141, "ok")]),
         ("edge_cr_only.fasta", 0, [("c1", 153, "ok"), ("c2", 141, "ok")]),
         ("edge_latin1.fasta", 0, [("l1_caf\ufffd", 153, "ok"), ("l2", 141, "ok")]),
         ("edge_nul.fasta", 65, [("n1", 153, "ok"),
                                 ("n2", 142, "error: U+0000 at position 31 is not a letter of the "
                                  "model's alphabet (--invalid unk embeds it as <unk>, --invalid "
                                  "drop leaves it out)")]),
         ("edge_empty.fasta", 0, []), ("edge_blank.fasta", 0, [])]
for name, status, wanted in WHOLE:
    section(name)
    result, lines = index_of(data(name))
    equal(result.status, status)
    equal([(line[0].strip(), int(line[1]), line[4]) for line in lines], wanted)
    check(("UTF-8" in result.err) == ("latin1" in name), result.err)

section("edge_text_first.fasta: what came before is output, then 66 with the line")
result = run("--invalid", "drop", data("edge_text_first.fasta"))
equal(result.status, 66)
equal(result.out.count(b"\n"), 4)
check("edge_text_first.fasta:5:" in result.err, result.err)
result = run("-i", "fasta", data("edge_text_first.fasta"))
equal((result.status, result.out), (66, b""))
check("edge_text_first.fasta:1:" in result.err, result.err)
for text, line in ((b"\r\n\r\nx", 3), (b"\n\n\rx", 4), (b"x", 1)):
    result = run("-i", "fasta", stdin=text)
    check("stdin:%d:" % line in result.err, text, result.err)
for text, line in ((b"M\r\nM\r\n>", 3), (b"M\rM\r>", 3), (b"\n\nM\n>", 4)):
    result = run("-i", "auto", stdin=text)
    check(result.status == 66 and "stdin:%d:" % line in result.err, text, result.err)

# --- small input: what is embedded, in tsv with --pool none: id, position, residue ---


def residues(text, *arguments, **settings):
    result = run("-p", "none", *arguments, stdin=text, **settings)
    records = {}
    for line in result.out.decode().split("\n")[:-1]:
        fields = line.split("\t")
        records.setdefault(fields[0], []).append(fields[2])
    return result.status, {name: "".join(letters) for name, letters in records.items()}


SMALL = [
    # what, arguments, input, status, {id: residues}
    ("one sequence per line", [], b"MKT\nAC\n", 0, {"1": "MKT", "2": "AC"}),
    ("ID<TAB>SEQ, no last line end", [], b"a\tMKT\nb c\tAC", 0, {"a": "MKT", "b": "AC"}),
    ("--id full keeps the whole of it", ["--id", "full"], b" b c\tAC\n", 0, {"b c": "AC"}),
    ("only the first tab splits", [], b"a\tMK\tT\n", 0, {"a": "MKT"}),
    ("a tab and no id", [], b"\tMKT\n \tAC\n", 0, {"1": "MKT", "2": "AC"}),
    ("blank lines are failed records", ["-i", "lines"], b"\nMKT\n\n", 65, {"2": "MKT"}),
    ("blank lines first, auto", [], b"\n \t\n \ta\tMKT\n", 65, {"3": "AMKT"}),
    ("blank lines first, then FASTA", [], b"\n \n >a\nMKT\n", 0, {"a": "MKT"}),
    ("a lone CR ends a line", [], b"MKT\rAC\rG", 0, {"1": "MKT", "2": "AC", "3": "G"}),
    ("CR LF is one line end", ["-i", "lines"], b"MKT\r\nAC\r\n", 0, {"1": "MKT", "2": "AC"}),
    ("CR CR LF is two", ["-i", "lines"], b"MKT\r\r\nAC\n", 65, {"1": "MKT", "3": "AC"}),
    ("byte order mark before a line", [], b"\xef\xbb\xbfMKT\n", 0, {"1": "MKT"}),
    ("half a byte order mark is letters", ["--invalid", "unk"], b"\xef\xbbM\n", 0,
     {"1": "\ufffd\ufffdM"}),
    ("digits and blanks inside", [], b">a\n1 mk t 61\n\tac\v\f\n", 0, {"a": "MKTAC"}),
    ("a stop at the end, then blanks", [], b">a\nMKT* \n 1\n\n", 0, {"a": "MKT"}),
    ("only one stop is dropped", ["--invalid", "unk"], b">a\nMKT**\n", 0, {"a": "MKT*"}),
    ("a stop inside", ["--invalid", "drop"], b">a\nM*KT*\n", 0, {"a": "MKT"}),
    ("lower case outside the alphabet", ["--invalid", "unk"], b">a\nmj\n", 0, {"a": "MJ"}),
    ("a code point is one letter", ["--invalid", "unk"], "M\u00e4\u9396\U0001f600K\n".encode(), 0,
     {"1": "M\u00e4\u9396\U0001f600K"}),
    ("a bad byte is one letter", ["--invalid", "unk"], b"M\xe9K\xff\xc0\x80\n", 0,
     {"1": "M\ufffdK\ufffd\ufffd\ufffd"}),
    ("a code point cut by a line end", ["--invalid", "unk"], b">a\nM\xe9\n\x8e\x96K\n", 0,
     {"a": "M\ufffd\ufffd\ufffdK"}),
    ("overlong forms", ["--invalid", "unk"], b"\xe0\x80\x80\xf0\x80\x80\x80\n", 0,
     {"1": "\ufffd" * 7}),
    ("a surrogate and too large a code point", ["--invalid", "unk"],
     b"\xed\xa0\x80\xf4\x90\x80\x80\n", 0, {"1": "\ufffd" * 7}),
    ("a NUL is a letter outside", ["--invalid", "unk"], b"M\0K\n", 0, {"1": "M K"}),
    ("more than one record fails, order stays", [], b"MKT\nJ\nAC\n\nG\n", 65,
     {"1": "MKT", "3": "AC", "5": "G"}),
    ("a > inside a line", ["--invalid", "unk"], b">a\nM>K\n >\n>b\nM\n", 65, {"b": "M"}),
    ("FASTA: header at the end of the file", [], b">a\nMKT\n>b", 65, {"a": "MKT"}),
    ("--input lines refuses a header", ["-i", "lines"], b"MKT\n>a\nAC\n", 66, {"1": "MKT"}),
    ("--input fasta with blanks first", ["-i", "fasta"], b"\n \r\n>a\nMKT\n", 0, {"a": "MKT"}),
    ("no records, no output", [], b"", 0, {}),
    ("nothing but blanks, lines", ["-i", "lines"], b"\n\n", 65, {}),
]
for what, arguments, text, status, wanted in SMALL:
    section(what)
    equal(residues(text, *arguments), (status, wanted))

section("cut at the model's positions, the length is the whole one")
result, lines = index_of("-p", "none", stdin=b"MKTAC\nMKTA\n", FAKE_POSITIONS=4)
equal([line[1:] for line in lines], [["5", "4", "0", "truncated"], ["4", "4", "4", "ok"]])
check("1 record longer than 4 residues" in result.err, result.err)

section("an invalid letter behind the cut fails too; --invalid drop leaves it out of the length")
result, lines = index_of(stdin=b"MKTAJ\nMKTJA\n", FAKE_POSITIONS=4)
equal([line[1] + line[4][:6] for line in lines], ["5error:", "5error:"])
result, lines = index_of("--invalid", "drop", stdin=b"MKTAJ\nMKTJA\n", FAKE_POSITIONS=4)
equal([line[1:] for line in lines], [["4", "1", "0", "ok"], ["4", "1", "1", "ok"]])

section("unknown letters are submitted as zero bytes")
result = run("-f", "raw", "-p", "none", "--invalid", "unk", stdin=b"M\xc3\xa4*K\n")
equal(result.out, rows_of(b"M\0\0K", "none").tobytes())

section("ids: one warning for bytes that are not UTF-8, details with -v")
text = b">a\xff\nM\n>b\xe2\x82 x\nK\n"
result, lines = index_of(stdin=text)
equal([line[0] for line in lines], ["a\ufffd", "b\ufffd\ufffd"])
equal(result.err.count("UTF-8"), 1)
result, lines = index_of("-v", stdin=text)
equal(result.err.count("UTF-8"), 3)

section("several files are one stream, each of its own kind")
one, two = write("one", b">a\nMKT\n>\nG"), write("two", b"AC\nb\tGG")
result, lines = index_of(one, two, "-", stdin=b"\x1f\n\nM")
equal([line[:2] for line in lines],
      [["a", "3"], ["2", "1"], ["3", "2"], ["b", "2"], ["5", "1"], ["6", "0"], ["7", "1"]])
equal(result.status, 65)
result = run("-", "-", stdin=b"AC\n")
equal((result.status, result.out.count(b"\n")), (0, 1))

section("failed records: file, line, number and id on stderr, a handful of them, then a count")
result = run(write("bad", b"".join(b">r%d\n\nJ\n" % i for i in range(25))))
equal(result.status, 65)
check("esm1nv: %s:4: record 2 \"r1\": 'J' at position 1" % path("bad") in result.err, result.err)
equal(result.err.count("position 1"), 10)
check("25 of 25 records failed" in result.err, result.err)
equal(run("-v", path("bad")).err.count("position 1"), 25)

section("a very long id is kept, to a megabyte")
result, lines = index_of(stdin=b">" + b"x" * 300000 + b"\nM\n>" + b"y" * 3000000 + b"\nM\n")
equal([len(line[0]) for line in lines], [300000, 1048576])
finish()

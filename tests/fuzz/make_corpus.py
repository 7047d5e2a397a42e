# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of the fuzz targets: small, sound inputs of every shape, and some that
are a byte away from sound. Files named found-* are inputs that once broke a target; they stay.

    make_corpus.py [DIRECTORY]      into corpus/ beside this file if none is named
"""
import gzip
import io
import os
import struct
import sys
import tarfile

import msgpack
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
sys.dont_write_bytecode = True
import nemo_file  # noqa: E402

DATA = os.path.join(HERE, "..", "data")
DIGEST = "0123456789abcdef" * 4


def read(*path):
    with open(os.path.join(DATA, *path), "rb") as file:
        return file.read()


# --- messages -----------------------------------------------------------------------------------

def status_keys():
    texts = {26: "0.1.0", 29: "io_uring", 30: "avx512bf16", 41: "a GPU",
             44: "a GPU broke"}
    return {key: texts.get(key, key * 1000) for key in range(26, 45)}


MODEL_KEYS = {6: DIGEST, 7: "f32", 8: "cpu", 9: "esm1nv.nemo", 10: 0, 11: 768, 12: 512}
MESSAGES = {
    "hello": {0: 1, 1: 1, 2: "esm1nv 0.1.0", 3: 1, 4: 0},
    "hello-expect": {0: 1, 1: 1, 2: "esm1nv 0.1.0", 3: 0, 4: 1, 5: DIGEST},
    "welcome": {0: 2, **MODEL_KEYS, 13: bytes(range(32)), 14: 64 << 20, 15: 8},
    "refused": {0: 3, 22: 3, 21: "busy: 256 clients; try again later", 23: 1},
    "submit": {0: 4, 16: 2**64 - 1, 17: b"MASMTGGQQM\0GRDPNSSS"},
    "result": {0: 5, 16: 7, 18: 0, 19: 1, 20: bytes(64)},
    "result-failed": {0: 5, 16: 8, 18: 3, 19: 0, 20: b""},
    "ring": {0: 6, 24: 65536, 25: 1 << 20},
    "status-query": {0: 7, 1: 1},
    "later": {0: 1, 1: 2, 99: [None, {2: 1.5}], "name": b"x"},
    "status": {0: 8, **MODEL_KEYS, **status_keys()},
    "stop": {0: 9, 1: 1},
    "stopping": {0: 10},
}


def wide(message):
    """In the longest forms that msgpack has."""
    out = b"\xdf" + struct.pack(">I", len(message))
    for key, value in message.items():
        out += b"\xcf" + struct.pack(">Q", key)
        if isinstance(value, int):
            out += b"\xcf" + struct.pack(">Q", value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += (b"\xdb" if isinstance(value, str) else b"\xc6")
            out += struct.pack(">I", len(data)) + data
    return out


def messages():
    for name, message in MESSAGES.items():
        yield name, msgpack.packb(message)
    yield "status-wide", wide(MESSAGES["status"])
    yield "submit-wide", wide(MESSAGES["submit"])
    yield "key-twice", b"\x82\x00\x0a\x00\x0a"
    yield "nested", b"\x82\x00\x07\x01\x81\x00\x07"
    yield "array", b"\x92\x00\x0a"
    yield "extension", b"\x82\x00\x07\x01\xd4\x01\x01"
    yield "bell", b"\xc1"


def sent(data, flags=0):
    return struct.pack("<BH", flags, len(data)) + data


def channels():
    packed = {name: msgpack.packb(message) for name, message in MESSAGES.items()}
    bell = b"\x08"
    yield "session", (sent(packed["hello"]) + sent(packed["welcome"]) + sent(packed["submit"])
                      + sent(packed["result"]) + sent(packed["ring"], 1) + bell + bell)
    yield "descriptors", sent(packed["ring"], 1) + sent(b"", 2) + sent(packed["submit"], 3)
    yield "cut", sent(packed["welcome"], 4) + sent(b"x", 4) + sent(packed["ring"], 5)
    yield "queued", sent(packed["submit"], 16) * 3 + b"\x18" + sent(packed["stop"], 17)
    yield "empty", sent(b"") + sent(b"", 16) + sent(b"\xc1")
    yield "daemon", (sent(packed["hello"], 32) + sent(packed["submit"]) + sent(packed["ring"], 1)
                     + bell + sent(packed["ring"], 3) + sent(b"", 1) + sent(b""))
    yield "daemon-queued", (sent(packed["ring"], 51) + sent(packed["submit"], 16) + b"\x18"
                            + sent(packed["stop"], 2))
    yield "status", sent(packed["status-query"]) + sent(packed["status"]) + sent(packed["stop"])


# --- rings: see enum operation ------------------------------------------------------------------

SET_TAIL, SET_HEAD, ADVANCE_TAIL, ADVANCE_HEAD, PUT_HEADER, POKE, TAKE, RELEASE, RESERVE, PUBLISH, \
    SLEEP = range(11)
SIZE = 65536


def record(length, align):
    units = (align + length + align - 1) // align
    return struct.pack("<BIBH", PUT_HEADER, length, ADVANCE_TAIL, min(units, 65535))


def rings():
    for side, align, back in ((1, 16, 64), (0, 64, 16)):
        name, start = ("daemon", "client")[side == 0], bytes([side])
        turn = record(200, align) + bytes([TAKE, RELEASE])
        yield name + "-stream", start + turn * 8 + bytes([TAKE, SLEEP])
        yield name + "-batch", start + record(100, align) * 5 + bytes([TAKE] * 6 + [RELEASE])
        # Nearly around, a skip record to the end, and on from the beginning.
        big = record(30000, align) + bytes([TAKE, RELEASE])
        used = 2 * ((30000 + align + align - 1) // align * align)
        skip = struct.pack("<BIBH", PUT_HEADER, 0xFFFFFFFF, ADVANCE_TAIL, (SIZE - used) // align)
        yield name + "-wrap", start + big * 2 + skip + turn * 2
        yield name + "-overlong", start + record(0xFFFFFFF0, align) + bytes([TAKE])
        yield name + "-over-wrap", start + big * 2 + record(20000, align) + bytes([TAKE])
        yield name + "-tail-far", start + struct.pack("<BQ", SET_TAIL, 2**63) + bytes([TAKE])
        yield name + "-tail-back", (start + turn * 2 + struct.pack("<BQ", SET_TAIL, align)
                                    + bytes([TAKE]))
        yield name + "-tail-odd", start + struct.pack("<BQ", SET_TAIL, 24) + bytes([TAKE])
        yield name + "-poke", start + struct.pack("<B3sB", POKE, b"\0\0\0", 8) + bytes(
            [0, 1, 0, 0, 0, 0, 0, 0, TAKE])
        reserve = struct.pack("<BH", RESERVE, 20000)
        full = reserve * 4 + bytes([PUBLISH, SLEEP])
        units = (20000 + back + back - 1) // back
        yield name + "-produce", (start + full + struct.pack("<BH", ADVANCE_HEAD, units)
                                  + reserve + bytes([PUBLISH]))
        yield name + "-head-far", start + full + struct.pack("<BQ", SET_HEAD, 2**40) + reserve
        yield name + "-head-odd", start + full + struct.pack("<BQ", SET_HEAD, 8) + reserve
        yield name + "-too-large", start + struct.pack("<BH", RESERVE, 40000)


# --- checkpoints and model files ----------------------------------------------------------------

TINY = nemo_file.esm1nv_config(1, 64, ffn=64, positions=3, make_vocab_size_divisible_by=1)


def tiny_pickle(config=TINY, dtype="f16", wrap=False, prefix=""):
    """All tensors over one element, by strides of 0."""
    body = b""
    for name, shape in nemo_file.tensor_shapes(config):
        body += nemo_file.pickle_text(prefix + name)
        body += nemo_file.pickle_tensor(0, dtype, 1, 0, shape, [0] * len(shape))
    opcodes = b"}(" + body + b"u"
    if wrap:
        opcodes = (b"}(" + nemo_file.pickle_text("epoch") + b"K\x03"
                   + nemo_file.pickle_text("state_dict") + opcodes + b"u")
    return b"\x80\x02" + opcodes + b"."


def small_tensors():
    return {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float32)}


def find_pickle(checkpoint):
    """The stored data.pkl, by Python's own reader of zips."""
    import zipfile
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as archive:
        return archive.read(next(n for n in archive.namelist() if n.endswith("/data.pkl")))


def pickles():
    yield "tiny", tiny_pickle()
    yield "tiny-wrapped", tiny_pickle(wrap=True, prefix="model.")
    for name in ("shared-new", "wrapped-old"):
        yield name, find_pickle(read("models", name + ".ckpt"))[:8192]
    tensor = nemo_file.pickle_tensor(0, "f32", 1, 0, (1,), (1,))
    named = nemo_file.pickle_text("w") + tensor
    yield "one", b"\x80\x02}" + named + b"s."
    yield "parameter", (b"\x80\x02}" + nemo_file.pickle_text("w")
                        + b"ctorch._utils\n_rebuild_parameter\n(" + tensor
                        + b"\x88ccollections\nOrderedDict\n)RtRs.")
    yield "metadata", (b"\x80\x02ccollections\nOrderedDict\n)R" + named + b"s}"
                       + nemo_file.pickle_text("_metadata") + b"}sb.")
    yield "memo", b"\x80\x02}q\x00" + nemo_file.pickle_text("w") + b"q\x01h\x00h\x01NsG" + bytes(
        8) + b"\x85\x86\x87."
    yield "numbers", b"\x80\x02}(K\x01M\x02\x01J\xff\xff\xff\xff\x8a\x08" + bytes(
        8) + b"]N\x88\x89)a(e."
    yield "memo-empty", b"\x80\x02h\x05."
    yield "cut", tiny_pickle()[:700]
    yield "system", b"\x80\x02cposix\nsystem\nX\x02\0\0\0id\x85R."
    # An empty tensor that begins before everything.
    lowest = (b"ctorch._utils\n_rebuild_tensor_v2\n((" + nemo_file.pickle_text("storage")
              + b"ctorch\nFloatStorage\n" + nemo_file.pickle_text("0")
              + nemo_file.pickle_text("cpu") + b"K\x01tQ\x8a\x08" + bytes(7) + b"\x80"
              + b"(K\0t(K\0t\x89)tR")
    yield "lowest-offset", b"\x80\x02}" + nemo_file.pickle_text("w") + lowest + b"s."


def zips():
    for name, dtype in (("f32", "f32"), ("bf16", "bf16")):
        yield name, nemo_file.write_checkpoint(small_tensors(), dtype=dtype)
    yield "shared", nemo_file.write_checkpoint(small_tensors(), shared=True, dtype="f16")
    yield "transposed", nemo_file.write_checkpoint(small_tensors(), transposed=True)
    yield "wrapped", nemo_file.write_checkpoint(small_tensors(), wrap=True, prefix="module.")
    yield "strides", nemo_file.zip_checkpoint(tiny_pickle(), [b"\x00\x3c"])
    whole = nemo_file.write_checkpoint(small_tensors())
    yield "cut", whole[:-9]
    yield "comment", whole[:-2] + b"\x03\0abc"
    yield "zip64", zip64(whole)
    lowest = next(data for name, data in pickles() if name == "lowest-offset")
    yield "lowest-offset", nemo_file.zip_checkpoint(lowest, [bytes(4)])


def zip64(whole):
    """The same with a zip64 end record, and all numbers of the plain one at their most."""
    end = whole.rindex(b"PK\5\6")
    count, size, start = struct.unpack("<HII", whole[end + 10:end + 20])
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    plain = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    return whole[:end] + end64 + locator + plain


def configurations():
    yield "tiny", nemo_file.write_yaml(TINY).encode()
    yield "real", nemo_file.write_yaml(nemo_file.real_config()).encode()
    yield "erf", nemo_file.write_yaml({**TINY, "bias_gelu_fusion": "off",
                                       "bias_activation_fusion": False}).encode()
    yield "references", (b"model:\n  {a: {b: 4}, c: '${model.a.b}'}\nnum_layers: ${model.c}\n"
                         b"hidden_size: ${.d}\nd: ${seq_length}\nseq_length: ${d}\n")
    yield "relative", b"activation: ${.a.b}\na: {b: ${..c}, d: ${...c}}\nc: gelu\nbias: ${a.d}\n"
    yield "styles", (b"%YAML 1.1\n---\n! num_layers: !!int \"1\"\n? hidden_size\n: |\n  64\n"
                     b"activation: >-\n  ge\n  lu\nx: &a [1, *a, {y: ~}]\n...\n")
    yield "heads", nemo_file.write_yaml({**TINY, "num_attention_heads": 2}).encode()
    yield "twice", b"num_layers: 1\nnum_layers: 2\n"
    yield "merge", b"a: &a {b: 1}\n<<: *a\n"
    yield "another", b"normalization: rmsnorm\n"
    yield "utf16", "\ufeffnum_layers: 1\n".encode("utf-16-le")
    yield "deep", b"a: " + b"[" * 200 + b"]" * 200
    yield "anchors", b"".join(b"- &a%d x\n- *a%d\n" % (i, i) for i in range(40))


def tokenizers():
    whole = nemo_file.tokenizer_model()
    yield "whole", whole
    yield "fixture", read("models", "tokenizer.model")
    few = ["<unk>", "<s>", "</s>", "A"]
    yield "few", nemo_file.tokenizer_model(few)
    yield "twice", nemo_file.tokenizer_model(few + ["A"])
    yield "long", nemo_file.tokenizer_model(few + ["AB"])
    yield "no-unknown", nemo_file.tokenizer_model(few[1:])
    yield "cut", whole[:100]
    yield "wide", (b"\x0a\x05\x0a\x01A\x18\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00"
                   b"\x09" + bytes(8) + b"\x15" + bytes(4))


def tar(*arguments, **keywords):
    """Less the padding at its end."""
    whole = nemo_file.tar_of(*arguments, **keywords)
    return whole[:len(whole.rstrip(b"\0")) // 512 * 512 + 1536]


def tiny_members(folder=""):
    checkpoint = nemo_file.zip_checkpoint(tiny_pickle(), [b"\x00\x3c"])
    return nemo_file.nemo_members(TINY, checkpoint, folder)


def tars():
    few = [("a", b"1"), ("model_weights.ckpt", b"2"), ("empty", b"")]
    tiny = tar(tiny_members())
    yield "tiny", tiny
    yield "tiny-gzip", gzip.compress(tar(tiny_members("mp_rank_00/"), dot_slash=True), 9, mtime=0)
    yield "few", tar(few)
    yield "few-gzip", gzip.compress(tar(few), 9, mtime=0)
    yield "gzip-members", (gzip.compress(tar(few)[:700], mtime=0)
                           + gzip.compress(tar(few)[700:], mtime=0))
    yield "gzip-cut", gzip.compress(tar(few), mtime=0)[:-4]
    yield "pax", tar(few, form=tarfile.PAX_FORMAT, pax_headers={"comment": "x", "path": "p\u00e9"})
    yield "long-name", tar([("n" * 150, b"x")])
    yield "long-pax", tar([("n" * 300, b"x")], form=tarfile.PAX_FORMAT)
    yield "ustar", tar(few, form=tarfile.USTAR_FORMAT)
    yield "twice", tar(few + few)
    yield "two-parts", tar([("mp_rank_00/model_weights.ckpt", b"1"),
                            ("mp_rank_01/model_weights.ckpt", b"2")])
    yield "cut", tar(few)[:2048]
    yield "sparse", sparse_tar()
    yield "old", bytes(tiny[:257]) + bytes(8) + tiny[265:512] + tiny[512:1024] + bytes(1024)


def sparse_tar():
    """A GNU sparse file: 4 bytes at 512 of 1,024."""
    header = bytearray(tar([("hole", b"abcd")]))
    header[156:157] = b"S"
    header[386:410] = b"00000001000\x0000000000004\x00"
    header[483:495] = b"00000002000\0"
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header[:512])
    return bytes(header)


# --- records ------------------------------------------------------------------------------------

def flags(full=False, invalid=0, window=False, auto=False, long_error=False, piece=1):
    return bytes([full | invalid << 1 | window << 3 | auto << 4 | long_error << 5
                  | (piece - 1) << 6])


def records(auto_first):
    fasta = b">a one\nMASMT\nGG*\n>\nACDEFGHIKLMNPQRSTVWY\n>c\xc3\xa9\tx\n\n> d\nM1 2\t3-x*.\n"
    lines = b"MASMT\nid\tACD\n\nid with blanks\tac-d*\nJ*J\n\tM\nlast\tACDEFGHIKLMNPQRST"
    ends = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
    for name, end in ends.items():
        yield "fasta-" + name, flags(auto=True) + fasta.replace(b"\n", end)
        yield "lines-" + name, flags(auto=True, piece=3) + lines.replace(b"\n", end)
    text = fasta if auto_first == "fasta" else lines
    yield "plain", flags() + text
    yield "unk", flags(full=True, invalid=1) + text + "\u00e9\u20ac\U0001F9EC\xff".encode()
    yield "drop", flags(invalid=2, long_error=True) + text + b"\xe2\x82\xed\xa0\x80\xf4\x90"
    yield "gzip", flags(auto=True, piece=4) + gzip.compress(text, mtime=0)
    yield "gzip-members", (flags(auto=True, window=True) + gzip.compress(text[:9], mtime=0)
                           + gzip.compress(text[9:], mtime=0) + bytes(3))
    yield "gzip-cut", flags(auto=True) + gzip.compress(text, mtime=0)[:-6]
    yield "gzip-mark", flags(auto=True) + gzip.compress(b"\xef\xbb\xbf" + text, mtime=0)
    yield "mark", flags(auto=True, piece=2) + b"\xef\xbb\xbf" + text
    yield "files", flags(auto=True, window=True) + text + b"\xfe\xfe \n\n\xfe" + fasta
    damaged = bytearray(gzip.compress(text, mtime=0))
    damaged[len(damaged) // 2] ^= 0x55
    yield "gzip-damaged", flags() + damaged
    yield "long", flags(window=True, full=True) + b">x y\n" + b"MAS9j-" * 12
    yield "signs", flags(piece=2) + b">>a >b\nM>AS\n >\n" + b"M>AS\nid>\tM>\n"
    yield "blank-first", flags(auto=True) + b" \r\n\n\t M\n"
    yield "text-first", flags() + b"\n\nMAS\n>a\nM\n"
    mark = b"\xef\xbb\xbf"
    yield "boundary", flags(invalid=2) + b">a\nMKT>b\nM\n" + mark + b">c\nM\n>d\nM" + mark + b"K"
    yield "boundary-lines", flags(auto=True, piece=2) + b"MKT>\na>b\tMKT\nM" + mark + b"K\n"
    yield "a3m", flags(auto=True, invalid=2) + b">a\nMKtaT\nA--YI\n>b\nmk\n"
    yield "pir", flags(auto=True, full=True) + b">P1;A\nA title\nMKT*\n"
    yield "comment", flags(auto=True, invalid=1) + b">a\n;b\nMK\n#c\nACGTACGTACGT\n"
    yield "comment-inside", flags(auto=True, invalid=1) + b">a\nMK;T#K\nG#\n"
    yield "genpept", flags(auto=True, invalid=1) + b"LOCUS  A 9 aa\nORIGIN\n  1 mkt\n//\n"
    yield "fastq", flags(auto=True, invalid=1) + b"@a b\nACGTACGTACGT\n+\nIII@;I\n"
    yield "table", flags(auto=True, invalid=1) + b"id\tclass\tsequence\nP1\tx\tMK\na,b\n\xfea b\n"
    yield "nucleotides", flags(auto=True) + b">a\nATGAAAACCGCGTATATTG\n\xfeauguuuacguua\n"
    yield "bzip2", flags(auto=True, invalid=2) + b"BZh91AY&SY\0\xfeBZh91AY\xfe"
    yield "gzip-gzip", flags(auto=True) + gzip.compress(gzip.compress(text, mtime=0), mtime=0)
    yield "gzip-bam", flags(auto=True) + gzip.compress(b"BAM\1" + text, mtime=0)
    yield "tar", flags(invalid=2) + tar([("a", text)], tarfile.USTAR_FORMAT)[:1024]
    yield "long-header", flags(auto=True) + b">" + b"x" * 600 + b"\nMK\n"
    for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        yield name, flags(auto=True, invalid=1) + text.decode("latin-1").encode(name)
    yield "edge", flags(auto=True, piece=2) + read("fasta", "edge_latin1.fasta")


CORPORA = {
    "message": messages, "channel": channels, "ring": rings, "pickle": pickles, "zip": zips,
    "tar": tars, "yaml": configurations, "sentencepiece": tokenizers,
    "fasta": lambda: records("fasta"), "lines": lambda: records("lines"),
}


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "corpus")
    for target, seeds in CORPORA.items():
        folder = os.path.join(root, target)
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):
            if not name.startswith("found-"):
                os.remove(os.path.join(folder, name))
        for name, data in seeds():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)


if __name__ == "__main__":
    main()

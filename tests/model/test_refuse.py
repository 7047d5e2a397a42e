# SPDX-License-Identifier: Apache-2.0
"""Model files that must be refused: each in one line that names the file, the member and the
reason, with status 78. The same program opens them all; under sanitizers it must stay silent."""
import gzip
import io
import os
import struct
import zipfile

import numpy as np

from harness import Cases, nemo_file, small_config

CONFIG, WEIGHTS = "model_config.yaml: ", "model_weights.ckpt: "
WORDS = "language_model.embedding.word_embeddings.weight"
QKV = "language_model.encoder.layers.0.self_attention.query_key_value.weight"


def refused(*parts):
    """Judges an error: one line, the file first, then each of the parts in order."""
    def judge(loaded, specification):
        text = loaded.get("error", "it was loaded")
        at = len(specification) + 2
        if (loaded.get("status") != 78 or not text.startswith(specification + ": ")
                or len(text) > 1000):
            return f"{loaded.get('status')}: {text}"
        for part in parts:
            found = text.find(part, at)
            if found < 0:
                return f"no {part!r} in: {text}"
            at = found + len(part)
        return None
    return judge


class Base:
    """A good small model, to be spoilt."""

    def __init__(self):
        self.config = small_config()
        self.tensors = nemo_file.esm1nv_tensors(self.config, 1)
        self.checkpoint = nemo_file.write_checkpoint(self.tensors)

    def members(self, **changes):
        members = dict(nemo_file.nemo_members(self.config, self.checkpoint))
        members.update(changes)
        return members

    def tar(self, members=None):
        return nemo_file.tar_of((members or self.members()).items())


def set_tar_size(data, name, size):
    """Makes the header of a member give another size, with a right checksum."""
    at = data.index(name.encode() + b"\0")
    header = bytearray(data[at:at + 512])
    header[124:136] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:at] + bytes(header) + data[at + 512:]


def add_archives(cases, base):
    tar, packed = base.tar(), gzip.compress(base.tar())
    end = -(-len(tar.rstrip(b"\0")) // 512) * 512
    for name, parts, data in [
            ("an empty file", ["empty"], b""),
            ("text", ["not a tar archive"], b"seq_length: 512\n" * 100),
            ("zeros", [CONFIG, "no such member"], bytes(4096)),
            ("a bare checkpoint", ["not a tar archive"], base.checkpoint),
            ("cut in a member", [WEIGHTS, "cut short"], tar[:len(tar) // 2]),
            ("cut before the end blocks", ["cut short"], tar[:end]),
            ("cut between the end blocks", ["cut short"], tar[:end + 512]),
            ("gzip cut short", ["gzip", "cut short"], packed[:-500]),
            ("gzip cut in its checksum", ["gzip", "cut short"], packed[:-5]),
            ("gzip of a wrong checksum", ["gzip", "incorrect data check"],
             packed[:-8] + b"abcd" + packed[-4:]),
            ("gzip with a tail", ["gzip", "damaged"], packed + b"tail"),
            ("gzip of nothing", ["nothing"], gzip.compress(b"")),
            ("a gzip magic alone", ["gzip"], b"\x1f\x8b"),
            ("a tar size too large", [WEIGHTS, "cut short"],
             set_tar_size(tar, "model_weights.ckpt", 1 << 30)),
            ("a tar size too small", ["not a sound tar archive behind model_weights.ckpt"],
             set_tar_size(tar, "model_weights.ckpt", 1000)),
            ("a tar size of nothing", ["behind model_config.yaml"],
             set_tar_size(tar, "model_config.yaml", 0))]:
        cases.add_bytes("archive: " + name, refused(*parts), data)
    for size in range(0, len(packed), len(packed) // 97):
        cases.add_bytes(f"archive: gzip of {size} bytes", refused(), packed[:size])
    os.mkdir(cases.path())
    cases.add("archive: a folder", refused("not a regular file"))
    cases.add("archive: nothing there", refused("No such file"))
    cases.add("archive: a name too long for a message", lambda loaded, name: None if (
        loaded["status"] == 78 and loaded["error"] == name[:1023]) else loaded, "/" + "x" * 3000)
    for name in base.members():
        if not name.endswith(".vocab"):
            members = base.members()
            del members[name]
            cases.add_bytes(f"archive: without {name}", refused(name, "no such member"),
                            base.tar(members))
    cases.add_bytes("archive: members twice", refused(CONFIG, "twice"), tar[:end] + tar)
    many = {f"member {number}": b"" for number in range(4097)}
    cases.add_bytes("archive: too many members", refused("more than 4096 members"), base.tar(many))
    for folder in ("mp_rank_01/", "tp_rank_01_pp_rank_000/", "tp_rank_00_pp_rank_001/",
                   "mp_rank_00/"):
        members = base.members(**{folder + "model_weights.ckpt": base.checkpoint})
        cases.add_bytes(f"archive: weights in {folder}, too",
                        refused("model_weights.ckpt", "several parts"), base.tar(members))


def add_configs(cases, base):
    for key, value in [
            ("position_embedding_type", "rope"), ("position_embedding_type", "alibi"),
            ("transformer_block_type", "post_ln"), ("normalization", "rmsnorm"),
            ("activation", "swiglu"), ("megatron_legacy", True), ("attention_type", "local"),
            ("tensor_model_parallel_size", 2), ("pipeline_model_parallel_size", 4),
            ("mcore_bert", True), ("bert_binary_head", True), ("headscale", True),
            ("multi_query_attention", True), ("apply_residual_connection_post_layernorm", True),
            ("normalize_attention_scores", False), ("bias", False), ("num_query_groups", 4),
            ("kv_channels", 32), ("num_attention_heads", 2), ("hidden_size", 100),
            ("hidden_size", "big"), ("hidden_size", -64), ("ffn_hidden_size", 100),
            ("num_layers", 0), ("num_layers", "1e9"), ("num_layers", 99999999999999999999),
            ("max_position_embeddings", 4097),
            ("layernorm_epsilon", 0), ("layernorm_epsilon", "nan"), ("layernorm_epsilon", "small"),
            ("bias_gelu_fusion", "maybe"), ("openai_gelu", 2),
            ("max_position_embeddings", "${.nowhere}"),
            ("max_position_embeddings", "${oc.env:HOME}"),
            ("max_position_embeddings", "${seq_length"),
            ("max_position_embeddings", "1${seq_length}")]:
        text = nemo_file.write_yaml({**base.config, key: value})
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        cases.add_nemo(f"configuration: {key}: {value}", refused(CONFIG, key, shown), base.config,
                       None, config_text=text, checkpoint=base.checkpoint)
    good = nemo_file.write_yaml(base.config)
    short, long = (good.replace("seq_length: 8", f"seq_length: {number}") for number in (2, 5000))
    circle = good.replace("${.seq_length}", "${.a}") + "a: ${.b}\nb: ${.a}\n"
    for name, text, parts in [
            ("two positions", short, ["max_position_embeddings: 2"]),
            ("5,000 positions", long, ["max_position_embeddings: 5000"]),
            ("no YAML", "a: [b\n" * 3, ["line", "not YAML"]),
            ("a list", "- 1\n- 2\n", ["not a YAML mapping"]),
            ("empty", "", ["not a YAML mapping"]),
            ("nested too deeply", "[" * 100000, ["too deeply"]),
            ("nested without end", "[" * 900, ["not YAML"]),
            ("nested lists", "- " * 30000, ["not a YAML mapping"]),
            ("nested keys", "? " * 30000, ["num_layers", "missing"]),
            ("many anchors", "".join(f"a{i}: &a{i} [*a{i - 1}]\n" if i else "a0: &a0 x\n"
                                     for i in range(900)), ["num_layers", "missing"]),
            ("a circle of interpolations", circle, ["max_position_embeddings", "circle"]),
            ("a key twice", good + "hidden_size: 128\n", ["hidden_size", "twice"]),
            ("a missing key", good.replace("hidden_size", "hidden"), ["hidden_size", "missing"]),
            ("a merge key", "a: &a {bias: false}\n<<: *a\n" + good, ["<<"]),
            ("a mapping for a value", good.replace("num_layers: 1", "num_layers: {a: 1}"),
             ["num_layers", "not a single value"]),
            ("another tokenizer", good.replace("sentencepiece\n", "regex\n", 1),
             ["tokenizer.library", "regex"]),
            ("a tokenizer outside", good.replace("nemo:", "/tmp/"), ["tokenizer.model", "/tmp/"]),
            ("switches that differ", good + "bias_activation_fusion: false\n",
             ["bias_gelu_fusion", "contradicts"]),
            ("zeros", "\0" * 100, ["not YAML"]),
            ("huge", "# " + "x" * 2000000, ["too large"])]:
        cases.add_nemo("configuration: " + name, refused(CONFIG, *parts), base.config, None,
                       config_text=text, checkpoint=base.checkpoint)


def add_tokenizers(cases, base):
    pieces, model = nemo_file.PIECES, nemo_file.tokenizer_model
    types = [nemo_file.piece_type(piece) for piece in pieces]
    for name, data, part in [
            ("empty", b"", "not a whole"), ("garbage", b"\xff" * 50, "not a whole"),
            ("cut short", model()[:100], "not a whole"),
            ("two unknown pieces", model(pieces, [nemo_file.UNKNOWN] * 30), "two unknown"),
            ("no <unk>", model(pieces[1:]), "<unk>"),
            ("no <s>", model(pieces[:1] + pieces[2:]), "<s>"),
            ("no </s>", model(pieces[:2] + pieces[3:]), "</s>"),
            ("words", model(pieces + ["LA"]), "LA"),
            ("a wide letter", model(pieces + ["▁"]), "▁"),
            ("a letter twice", model(pieces + ["L"]), "both"),
            ("bytes", model(pieces + ["<0x41>"], types + [6]), "<0x41>"),
            ("no letters", model(pieces[:5]), "no piece for any residue"),
            ("more pieces than rows", model(pieces + ["J", "*", "-"]), "33 pieces")]:
        member = WEIGHTS if name == "more pieces than rows" else nemo_file.TOKENIZER
        cases.add_nemo("tokenizer: " + name, refused(member, part), base.config, None,
                       tokenizer=data, checkpoint=base.checkpoint)


def patch(data, at, form, value):
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form):]


def patch_sizes(data, header, size):
    """Both sizes in a central header."""
    return patch(patch(data, header + 20, "<I", size), header + 24, "<I", size)


def central(data, name):
    """Where the central header of a member begins."""
    at = struct.unpack("<I", data[data.rindex(b"PK\5\6") + 16:][:4])[0]
    while True:
        name_size, extra, comment = struct.unpack("<HHH", data[at + 28:at + 34])
        if data[at + 46:at + 46 + name_size].endswith(b"/" + name.encode()):
            return at
        at += 46 + name_size + extra + comment


def rezip(data, change, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            for renamed, content in change(name, old.read(name)):
                new.writestr(zipfile.ZipInfo(renamed), content, compression)
    return out.getvalue()


def two_pickles(name, data):
    return [(name, data), ("b/data.pkl", data)] if name.endswith("data.pkl") else [(name, data)]


def big_endian(name, data):
    order = ("model_weights/byteorder", b"big")
    return [(name, data), order] if name.endswith("version") else [(name, data)]


def is_third(member):
    return member[0].endswith("data/3")


def add_zips(cases, base):
    good = base.checkpoint
    end, zero, one = good.rindex(b"PK\5\6"), central(good, "data/0"), central(good, "data/1")
    start = struct.unpack("<I", good[end + 16:end + 20])[0]
    local = struct.unpack("<I", good[one + 42:one + 46])[0]
    short = (b"PK\1\2" + bytes(16) + b"\xff" * 8 + struct.pack("<HH", 15, 4) + bytes(14)
             + b"model_weights/x" + struct.pack("<HH", 1, 0))
    locator = b"PK\6\7" + struct.pack("<IQI", 0, 1 << 60, 1)
    large = patch_sizes(good, zero, 1 << 30)
    first = struct.unpack("<I", good[zero + 42:zero + 46])[0]
    for name, data, parts in [
            ("not a zip", b"\x80\x02}q\0." * 50, ["not a whole zip"]),
            ("empty", b"", ["not a whole zip"]),
            ("cut short", good[:-1], ["not a whole zip"]),
            ("an end record alone", good[end:], ["outside the archive"]),
            ("compressed", rezip(good, lambda name, data: [(name, data)], zipfile.ZIP_DEFLATED),
             ["compressed"]),
            ("encrypted", patch(good, zero + 8, "<H", 1), ["data/0", "encrypted"]),
            ("a size beyond the end", patch(large, first + 6, "<H", 8), ["data/0", "outside"]),
            ("sizes that differ", patch(good, zero + 24, "<I", 5), ["data/0", "compressed"]),
            ("a size against the local header", patch_sizes(good, zero, 64),
             ["data/0", "contradicts"]),
            ("a header beyond the end", patch(good, zero + 42, "<I", len(good)),
             ["data/0", "outside"]),
            ("a header elsewhere", patch(good, zero + 42, "<I", local), ["data/0", "contradicts"]),
            ("a zip64 field too short", add_central(good, short), ["model_weights/x", "zip64"]),
            ("another name in the local header", patch(good, first + 30, "<B", 65),
             ["data/0", "contradicts"]),
            ("another method in the local header", patch(good, first + 8, "<H", 8),
             ["data/0", "contradicts"]),
            ("a directory beyond the end", patch(good, end + 16, "<I", len(good)), ["outside"]),
            ("a directory too large", patch(good, end + 12, "<I", len(good)), ["outside"]),
            ("too many members", patch(good, end + 10, "<H", 60000), ["outside"]),
            ("one member too many", patch(good, end + 10, "<H", struct.unpack(
                "<H", good[end + 10:end + 12])[0] + 1), ["directory"]),
            ("a member too few", patch(good, end + 10, "<H", 3), ["more than it says"]),
            ("several disks", patch(good, end + 4, "<H", 1), ["disk"]),
            ("a zip64 locator to nowhere", good[:end] + locator + good[end:], ["zip64"]),
            ("a zip64 size without field", patch_sizes(good, zero, 2**32 - 1),
             ["data/0", "contradicts"]),
            ("a damaged directory", patch(good, start, "<I", 0), ["directory is damaged"]),
            ("a name too long", patch(good, start + 28, "<H", 65535), ["cut short"]),
            ("two dictionaries", rezip(good, two_pickles), ["more than one data.pkl"]),
            ("no dictionary", rezip(good, lambda name, data: [(name.replace(".pkl", ""), data)]),
             ["no data.pkl"]),
            ("big-endian", rezip(good, big_endian), ["byteorder", "big", "little"]),
            ("a missing storage", rezip(good, lambda *member: [] if is_third(member) else [member]),
             ["data/3"]),
            ("a short storage", rezip(good, lambda name, data: [
                (name, data[:-4] if is_third((name, data)) else data)]),
             ["language_model.encoder", "storage"]),
            ("members twice", double_member(good), ["twice"]),
            ("members that overlap", overlapping(good), ["overlaps"])]:
        cases.add_nemo("zip: " + name, refused(WEIGHTS, *parts), base.config, None, checkpoint=data)


def add_central(data, header):
    """One more central header behind the others."""
    end = data.rindex(b"PK\5\6")
    count, size, start = struct.unpack("<HII", data[end + 10:end + 20])
    last = struct.pack("<HHHHIIH", 0, 0, count + 1, count + 1, size + len(header), start, 0)
    return data[:end] + header + b"PK\5\6" + last


def double_member(data):
    """Two local headers and two central ones of one name."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for number, name in enumerate(old.namelist()):
            renamed = "model_weights/data/B" if number == 2 else name
            new.writestr("model_weights/data/A" if number == 1 else renamed, old.read(name))
    return out.getvalue().replace(b"data/B", b"data/A")


def overlapping(data):
    """A member whose local header lies inside the content of another."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("model_weights/inside", b"x" * 20)
    local = inner.getvalue()[:30 + 20 + 20]
    at = central(data, "data/0")
    offset = struct.unpack("<I", data[at + 42:at + 46])[0]
    name, extra = struct.unpack("<HH", data[offset + 26:offset + 30])
    inside = offset + 30 + name + extra + 128
    data = data[:inside] + local + data[inside + len(local):]
    header = inner.getvalue()[inner.getvalue().index(b"PK\1\2"):inner.getvalue().rindex(b"PK\5\6")]
    return add_central(data, patch(header, 42, "<I", inside))


def pickled(opcodes, storages=(bytes(64),)):
    return nemo_file.zip_checkpoint(b"\x80\x02" + opcodes, storages)


def tensor(**changes):
    """A pickle of one tensor, described wrongly."""
    given = {"storage": 0, "dtype": "f32", "elements": 16, "offset": 0, "shape": (4, 4),
             "strides": (4, 1), **changes}
    return pickled(b"}(" + nemo_file.pickle_text(WORDS) + nemo_file.pickle_tensor(**given) + b"u.")


def add_pickles(cases, base):
    text, big = nemo_file.pickle_text, b"J\xff\xff\xff\x7f"
    for name, opcodes, parts in [
            ("a command", b"cos\nsystem\n(" + text("true") + b"tR.", ["os.system", "not run"]),
            ("a builtin", b"cbuiltins\neval\n(" + text("1") + b"tR.", ["builtins.eval"]),
            ("a global of torch", b"ctorch.storage\n_load_from_bytes\n.", ["_load_from_bytes"]),
            ("an escape in a name", b"cos\x1b[31m\nsystem\n.", ["os?[31m.system"]),
            ("an instance", b"(ios\nsystem\n.", ["INST"]),
            ("protocol 4", b"\x95" + bytes(8) + b".", ["FRAME"]),
            ("a global from the stack", text("os") + text("system") + b"\x93.", ["STACK_GLOBAL"]),
            ("a new object", b"ccollections\nOrderedDict\n)\x81.", ["NEWOBJ"]),
            ("an unknown opcode", b"\xfe.", ["0xfe"]), ("empty", b"", ["cut short"]),
            ("no end", b"}" * 1000, ["cut short"]), ("a number", b"K\x01.", ["no dictionary"]),
            ("nothing", b".", ["left over"]), ("two things", b"}}.", ["left over"]),
            ("bytes behind the end", b"}.x", ["left over"]),
            ("an empty stack", b"s.", ["runs empty"]),
            ("a mark for a value", b"}((s.", ["runs empty"]),
            ("no mark", b"}u.", ["mark is missing"]), ("a key alone", b"}(Nu.", ["no value"]),
            ("items of a number", b"K\1(NNu.", ["not for"]),
            ("attributes of a list", b"]}b.", ["not for"]),
            ("attributes of a kind", b"}Nb.", ["attributes"]),
            ("a memo never set", b"h\0.", ["memo"]),
            ("a memo far away", b"}r\xff\xff\xff\x7f.", ["memo"]),
            ("a memo of a mark", b"(q\0.", ["runs empty"]),
            ("a long text", b"X\xff\xff\xff\xff.", ["cut short"]),
            ("a long number", b"\x8a\xff" + b"\1" * 255 + b".", ["64 bits"]),
            ("a longer number", b"\x8b\xff\xff\xff\x7f.", ["LONG4"]),
            ("a global without end", b"ctorch", ["cut short"]),
            ("a call of a number", b"K\1)R.", ["no function"]),
            ("a call of a dictionary class", b"ccollections\nOrderedDict\nK\1\x85R.",
             ["OrderedDict"]),
            ("a storage called", b"ctorch\nFloatStorage\n)R.", ["FloatStorage"]),
            ("a tensor of nothing", b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
             ["_rebuild_tensor_v2"]),
            ("a parameter of nothing", b"ctorch._utils\n_rebuild_parameter\n)R.",
             ["_rebuild_parameter"]),
            ("a storage of nothing", b"NQ.", ["storage"]),
            ("a storage of text", b"(" + text("storage") * 4 + big + b"tQ.", ["storage"]),
            ("nested tuples", b")" + b"\x85" * 1000000 + b".", ["no dictionary"]),
            ("nested marks", b"(" * 1000000 + b".", ["left over"]),
            ("nested lists", b"]" * 500001 + b"a" * 500000 + b".", ["no dictionary"]),
            ("a dictionary in itself", b"}q\0" + text("state_dict") + b"h\0s.", [WORDS, "no such"]),
            ("tuples that double", b")" + b"q\0h\0\x86" * 500000 + b".", ["no dictionary"]),
            ("a state_dict of another kind", b"}" + text("state_dict") + b"Ns.", ["no dictionary"]),
            ("an empty dictionary", b"}.", [WORDS, "no such"]),
            ("a huge pickle", b"N0" * 5000000, ["bytes, more than"])]:
        cases.add_nemo("pickle: " + name, refused(WEIGHTS, *parts), base.config, None,
                       checkpoint=pickled(opcodes))


def add_tensors(cases, base):
    huge = 2**62
    for name, changes, part in [
            ("one row beyond its storage", {"shape": (5, 4)}, "outside"),
            ("an offset beyond", {"offset": 1}, "outside"),
            ("an offset before", {"offset": -1}, "outside"),
            ("a huge offset", {"offset": 2**63 - 1}, "outside"),
            ("a negative stride", {"strides": (-4, 1)}, "outside"),
            ("a negative size", {"shape": (-4, 4)}, "outside"),
            ("sizes that overflow", {"shape": (huge, huge)}, "outside"),
            ("sizes that overflow, strides 0", {"shape": (huge, 8), "strides": (0, 0)}, "outside"),
            ("strides that overflow", {"strides": (huge, huge)}, "outside"),
            ("strides and an offset that overflow", {"strides": (huge, 1), "offset": 2**63 - 1},
             "outside"),
            ("a storage that lies", {"elements": 17}, "storage should have"),
            ("a storage that overflows", {"elements": huge}, "storage should have"),
            ("a storage of less than nothing", {"elements": -16}, "storage should have"),
            ("a storage that is not there", {"storage": 9}, "data/9")]:
        cases.add_nemo("tensor: " + name, refused(WEIGHTS, WORDS, part), base.config, None,
                       checkpoint=tensor(**changes))
    for name, changes in [("of rank 9", {"shape": (1,) * 9, "strides": (1,) * 9}),
                          ("with a stride missing", {"strides": (1,)})]:
        cases.add_nemo("tensor: " + name, refused(WEIGHTS, "_rebuild_tensor_v2"), base.config, None,
                       checkpoint=tensor(**changes))
    for name in base.tensors:
        if name.startswith("language_model"):
            others = {key: value for key, value in base.tensors.items() if key != name}
            cases.add_nemo(f"tensor: without {name}", refused(WEIGHTS, name, "no such"),
                           base.config, others)
            value = base.tensors[name]
            wrongs = [value[..., :-1], value[..., None]]
            if value.ndim == 2 and name != WORDS:
                wrongs.append(value[:-1])
            for wrong in wrongs:
                cases.add_nemo(f"tensor: {name} of {wrong.shape}", refused(WEIGHTS, name, "shape"),
                               base.config, {**base.tensors, name: wrong})
    for name, changes, parts in [
            ("fewer rows than pieces", {WORDS: base.tensors[WORDS][:29]}, [WORDS, "29 rows"]),
            ("one more layer", {QKV.replace("layers.0", "layers.1"): base.tensors[QKV]},
             ["layers.1"]),
            ("token types", {WORDS.replace("word", "tokentype"): np.zeros((2, 64))},
             ["tokentype"])]:
        cases.add_nemo("tensor: " + name, refused(WEIGHTS, *parts), base.config,
                       {**base.tensors, **changes})
    cases.add_nemo("tensor: of whole numbers", refused(WEIGHTS, QKV, "int64"), base.config,
                   base.tensors, dtypes={QKV: "i64"})
    items = nemo_file.pickle_text("a") + nemo_file.pickle_tensor(0, "f32", 16, 0, (16,), (1,))
    cases.add_nemo("tensor: a name twice", refused(WEIGHTS, "a: ", "twice"), base.config, None,
                   checkpoint=pickled(b"}(" + items * 2 + b"u."))


def main():
    cases, base = Cases(), Base()
    add_archives(cases, base)
    add_configs(cases, base)
    add_tokenizers(cases, base)
    add_zips(cases, base)
    add_pickles(cases, base)
    add_tensors(cases, base)
    for seed in ("x", "-1", "", "18446744073709551616", "1 "):
        cases.add(f"synthetic:{seed}", refused("seed"), f"synthetic:{seed}")
    cases.run()


if __name__ == "__main__":
    main()

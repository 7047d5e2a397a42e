# SPDX-License-Identifier: Apache-2.0
"""Model files that must load, in every form of the family: the configuration, every value of every
tensor, the tokens and the digests are held against torch (expected.json), numpy and hashlib."""
import gzip
import json
import os
import struct
import tarfile

import numpy as np

from harness import MODELS, Cases, nemo_file, sha256, small_config

PARTS = ("language_model.embedding.", "language_model.encoder.")


def differences(got, wanted):
    wrong = [f"{key}: {got.get(key)!r}, not {value!r}" for key, value in wanted.items()
             if got.get(key) != value]
    return "\n".join(wrong)


def hashes(tensors):
    """SHA-256 of the encoder's tensors, as the program under test prints them."""
    return {name: sha256(np.ascontiguousarray(values, "<f4").tobytes())
            for name, values in tensors.items() if name.startswith(PARTS)}


def digest(loaded, pieces):
    """The model digest, from the loader's own description of its text."""
    epsilon = struct.unpack("<I", struct.pack("<f", loaded["epsilon"]))[0]
    text = f"esm1nv model 1\narithmetic 1\nweights {loaded['weights']}\n"
    for key in ("layers", "hidden", "ffn", "heads", "positions", "vocabulary"):
        text += f"{key} {loaded[key]}\n"
    text += f"epsilon {epsilon:08x}\ngelu {loaded['gelu']}\n"
    for number, (piece, kind) in enumerate(pieces):
        text += f"piece {number} {kind} {len(piece.encode())} {piece}\n"
    return sha256(text.encode())


def judge_model(config, weights, tensors, parameters, pieces=None, **more):
    """Judges a loaded model. tensors: {name: SHA-256}."""
    pieces = pieces or [(piece, nemo_file.piece_type(piece)) for piece in nemo_file.PIECES]
    ids = {piece: number for number, (piece, _) in enumerate(pieces)}
    letters = [piece for piece, kind in pieces if kind == 1]

    def judge(loaded, _):
        if "error" in loaded:
            return loaded["error"]
        hidden = config["hidden_size"]
        multiple = config["make_vocab_size_divisible_by"]
        wanted = {
            "layers": config["num_layers"], "hidden": hidden, "heads": hidden // 64,
            "ffn": config["ffn_hidden_size"], "positions": config["seq_length"],
            "vocabulary": -(-30 // multiple) * multiple,
            "epsilon": float(f"{np.float32(1e-5):.9g}"),
            "gelu": "tanh", "parameters": parameters, "pieces": len(pieces), "weights": weights,
            "specials": [ids[piece] for piece in nemo_file.PIECES[:5]], "synthetic": 0,
            "ids": [ids.get(chr(i), -1) for i in range(256)],
            "alphabet": [int(chr(i) in letters) for i in range(256)],
            "tensors": {"": "", **tensors}, "digest": digest(loaded, pieces), **more}
        return differences(loaded, wanted)
    return judge


def rounded(values, dtype):
    if dtype == "bf16":
        return nemo_file.from_bf16(nemo_file.to_bf16(values))
    return values.astype({"f32": np.float32, "f16": np.float16}[dtype]).astype(np.float32)


def add_written(cases, name, config=None, judged=None, written=None, extra=0, **options):
    """A model written by nemo_file. judged: more keys to judge; written: write_nemo's options."""
    config = config or small_config()
    tensors = nemo_file.esm1nv_tensors(config, 7)
    dtype = options.get("dtype", "f32")
    dtypes = options.get("dtypes", {})
    stored = {key: rounded(values, dtypes.get(key, dtype)) for key, values in tensors.items()}
    more = options.pop("more_tensors", {})
    checkpoint = nemo_file.write_checkpoint({**tensors, **more}, **options)
    parameters = sum(values.size for values in tensors.values()) + extra
    kind = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[dtype]
    judge = judge_model(config, sha256(checkpoint), hashes(stored), parameters,
                        **{"type": "mixed" if dtypes else kind, **(judged or {})})
    cases.add_nemo(name, judge, config, None, checkpoint=checkpoint, **(written or {}))


def add_types_and_layouts(cases):
    for dtype in ("f32", "f16", "bf16"):
        add_written(cases, dtype, dtype=dtype)
        add_written(cases, f"{dtype}, one storage", dtype=dtype, shared=True)
        add_written(cases, f"{dtype}, transposed, one storage", dtype=dtype, shared=True,
                    transposed=True)
    add_written(cases, "transposed", transposed=True)
    add_written(cases, "mixed types", dtypes={
        "language_model.encoder.final_layernorm.weight": "bf16",
        "language_model.embedding.word_embeddings.weight": "f16"})
    for prefix in ("model.", "module.", "model.module."):
        add_written(cases, f"names with {prefix}", prefix=prefix)
    add_written(cases, "under state_dict", wrap=True, prefix="model.")
    add_written(cases, "two layers, 128 wide, ffn 384",
                nemo_file.esm1nv_config(2, 128, ffn=384, positions=3))
    add_written(cases, "more positions than ESM-1nv", small_config(positions=4096))
    add_written(cases, "tensors beside the encoder", extra=5, more_tensors={
        "lm_head.more": np.zeros(5, np.float32), "steps": np.arange(3)}, dtypes={"steps": "i64"},
        judged={"type": "float32"})


def add_archives(cases):
    for folder in ("mp_rank_00/", "tp_rank_00_pp_rank_000/"):
        add_written(cases, f"weights in {folder}", written={"folder": folder})
        add_written(cases, f"weights in ./{folder}, gzip", written={
            "folder": folder, "dot_slash": True, "compress": True})
    add_written(cases, "names with ./", written={"dot_slash": True})
    add_written(cases, "gzip", written={"compress": True})


CONFIGS = [
    ("absolute interpolation", {"max_position_embeddings": "${seq_length}"}, {}),
    ("interpolation of model.", {"max_position_embeddings": "${model.seq_length}"}, {}),
    ("interpolation down", {"seq_length": "${data.length}", "data": {"length": 8}}, {}),
    ("interpolation up and in a chain", {
        "layernorm_epsilon": "${optim.eps}", "optim": {"eps": "${.inner.eps}", "inner": {
            "eps": "${...sizes.eps}"}}, "sizes": {"eps": 1e-05}}, {}),
    ("a number", {"max_position_embeddings": 8, "kv_channels": 64}, {}),
    ("seq_length alone", {"max_position_embeddings": None}, {}),
    ("max_position_embeddings alone", {"max_position_embeddings": 8, "seq_length": None}, {}),
    ("erf", {"bias_gelu_fusion": False}, {"gelu": "erf"}),
    ("erf, the newer key", {"bias_gelu_fusion": None, "bias_activation_fusion": False},
     {"gelu": "erf"}),
    ("tanh of OpenAI", {"bias_gelu_fusion": False, "openai_gelu": True}, {}),
    ("fused is the default", {"bias_gelu_fusion": None}, {}),
    ("another epsilon", {"layernorm_epsilon": 1e-12}, {"epsilon": 9.99999996e-13}),
    ("values that say what is so", {
        "position_embedding_type": "learned_absolute", "transformer_block_type": "pre_ln",
        "normalization": "layernorm", "activation": "gelu", "megatron_legacy": False,
        "bias_gelu_fusion": "True", "num_query_groups": None, "bias": True}, {}),
]


def add_configs(cases):
    for name, changes, judged in CONFIGS:
        config = small_config()
        text = nemo_file.write_yaml({**config, **changes})
        add_written(cases, f"configuration: {name}", config, judged, {"config_text": text})
    text = nemo_file.write_yaml(small_config())
    add_written(cases, "configuration: comments, anchors, lists", judged={}, written={
        "config_text": "# a comment\n---\nlist: [1, {a: b}]\nbase: &b {x: 1}\nuse: *b\n" + text})


def add_special_values(cases):
    config = small_config()
    tensors = nemo_file.esm1nv_tensors(config, 8)
    values = tensors["language_model.encoder.layers.0.mlp.dense_h_to_4h.weight"].reshape(-1)
    values[:8] = [np.inf, -np.inf, 0.0, -0.0, 6e-8, -6e-8, 6e-5, 65504]
    for dtype in ("f32", "f16", "bf16"):
        stored = {key: rounded(array, dtype) for key, array in tensors.items()}
        checkpoint = nemo_file.write_checkpoint(tensors, dtype)
        judge = judge_model(config, sha256(checkpoint), hashes(stored),
                            sum(array.size for array in tensors.values()))
        cases.add_nemo(f"infinities, zeros and subnormal values in {dtype}", judge, config, None,
                       checkpoint=checkpoint)


def repack(members, form=tarfile.PAX_FORMAT):
    return nemo_file.tar_of(members, form=form, headers={"comment": "x" * 600})


def add_other_writers(cases):
    """The containers in forms that other programs write."""
    config = small_config()
    tensors = nemo_file.esm1nv_tensors(config, 9)
    parameters = sum(array.size for array in tensors.values())
    checkpoint = nemo_file.write_checkpoint(tensors)
    judge = judge_model(config, sha256(checkpoint), hashes(tensors), parameters)
    members = nemo_file.nemo_members(config, checkpoint)
    long_name = ("x" * 150 + "/" + "y" * 120, b"not needed")
    for name, form in (("pax", tarfile.PAX_FORMAT), ("GNU", tarfile.GNU_FORMAT)):
        cases.add_bytes(f"tar of {name} with long names", judge,
                        repack([long_name, *members], form))
    plain = repack(members)
    cases.add_bytes("ustar, weights first", judge, repack(members[::-1], tarfile.USTAR_FORMAT))
    halves = gzip.compress(plain[:7777]) + gzip.compress(plain[7777:])
    cases.add_bytes("gzip in two members", judge, halves)

    commented = checkpoint[:-2] + b"\x09\0a comment"
    for name, data in [("a comment", commented), ("zip64 end record", end64(checkpoint)),
                       ("zip64 sizes and offsets", wide64(checkpoint))]:
        judge = judge_model(config, sha256(data), hashes(tensors), parameters)
        cases.add_nemo(f"zip: {name}", judge, config, None, checkpoint=data)


def wide64(data):
    """Moves sizes and offsets of all members into zip64 fields."""
    end = data.rindex(b"PK\5\6")
    at = start = struct.unpack("<I", data[end + 16:end + 20])[0]
    local, central, full = bytearray(data[:start]), b"", b"\xff" * 4
    while at < end:
        packed, size, name, extra = struct.unpack("<IIHH", data[at + 20:at + 32])
        offset = struct.unpack("<I", data[at + 42:at + 46])[0]
        local[offset + 18:offset + 26] = full * 2
        field = b"FB\0\0" + struct.pack("<HHQQQ", 1, 24, size, packed, offset)
        central += (data[at:at + 20] + full * 2 + struct.pack("<HH", name, extra + len(field))
                    + data[at + 32:at + 42] + full + data[at + 46:at + 46 + name] + field
                    + data[at + 46 + name:at + 46 + name + extra])
        at += 46 + name + extra
    return (bytes(local) + central + data[end:end + 12]
            + struct.pack("<IIH", len(central), start, 0))


def end64(data):
    """Moves what the end record says into a zip64 end record."""
    end = data.rindex(b"PK\5\6")
    count, size, start = struct.unpack("<HII", data[end + 10:end + 20])
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, start)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, end, 1)
    last = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    return data[:end] + record + locator + last


def torch_judge(expected, name, config, checkpoint, **more):
    """Judges by what torch itself said of the checkpoint's tensors."""
    tensors = {key.removeprefix("model.").removeprefix("module."): value
               for key, value in expected[name]["tensors"].items()}
    encoder = {key: value[2] for key, value in tensors.items() if key.startswith(PARTS)}
    floats = [value for value in tensors.values() if "float" in value[0]]
    parameters = sum(int(np.prod(value[1])) for value in floats)
    return judge_model(config, sha256(checkpoint), encoder, parameters, type=floats[0][0], **more)


def add_torch(cases):
    """What the real torch.save wrote, with the tokenizer that the real SentencePiece wrote."""
    def read(name):
        with open(os.path.join(MODELS, name), "rb") as file:
            return file.read()
    expected = json.loads(read("expected.json"))
    tokenizer = read("tokenizer.model")
    for name in expected:
        if name.endswith(".ckpt"):
            judge = torch_judge(expected, name, small_config(), read(name))
            cases.add_nemo(f"torch {expected[name]['torch']}: {name}", judge, small_config(), None,
                           checkpoint=read(name), tokenizer=tokenizer)
            continue
        path = os.path.join(MODELS, name)
        members = nemo_file.read_members(path)
        config = nemo_file.read_yaml(members["model_config.yaml"].decode())
        gelu = "tanh" if config["bias_gelu_fusion"] else "erf"
        judge = torch_judge(expected, name, config, members["model_weights.ckpt"], gelu=gelu)
        cases.add(f"torch {expected[name]['torch']}: {name}", judge, path)
        nemo_file.write_tar(cases.path(), members.items(), compress=True, dot_slash=True)
        cases.add(f"{name}, packed again with gzip and ./", judge)


def synthetic_tensors(seed):
    """The generator, in numpy."""
    def mix(x):
        x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return x ^ x >> np.uint64(31)
    key, first = mix(np.array([seed], np.uint64)), 0
    for name, shape in nemo_file.tensor_shapes(nemo_file.real_config()):
        count = int(np.prod(shape))
        if name.startswith(PARTS):
            numbers = np.arange(first, first + count, dtype=np.uint64)
            hashed = mix(key + numbers * np.uint64(0x9E3779B97F4A7C15))
            total = hashed.view("<u2").reshape(-1, 4).sum(1, dtype=np.int32) - 131070
            gain = name.endswith("layernorm.weight")
            scale = np.float32(5.285802e-06 if gain else 1.3214505e-06)
            yield name, total.astype(np.float32) * scale + np.float32(1 if gain else 0), gain
        first += count


def judge_synthetic(seed):
    """Of other seeds than 0, one tensor is held against numpy."""
    values, wrong = {}, []
    for name, array, gain in synthetic_tensors(seed):
        values[name] = sha256(array.tobytes())
        center, spread = (1, 0.2) if gain else (0, 0.05)
        if array.size > 500000 and abs(array.std(dtype=np.float64) / spread - 1) > 0.01:
            wrong.append(f"{name} spreads by {array.std()}")
        if abs(array.mean(dtype=np.float64) - center) > 6 * spread / array.size ** 0.5:
            wrong.append(f"{name} has mean {array.mean()}")
        if seed:
            break
    weights = sha256(f"esm1nv synthetic weights 1, seed {seed}".encode())
    judge = judge_model(nemo_file.real_config(), weights, values, 43612544, synthetic=1,
                        type="float32", name=f"synthetic:{seed}")

    def judge_some(loaded, specification):
        loaded["tensors"] = {"": "", **{name: loaded["tensors"][name] for name in values}}
        return "\n".join(wrong) or judge(loaded, specification)
    return judge_some


def main():
    cases = Cases()
    add_types_and_layouts(cases)
    add_archives(cases)
    add_configs(cases)
    add_special_values(cases)
    add_other_writers(cases)
    add_torch(cases)
    cases.add("synthetic", judge_synthetic(0), "synthetic")
    cases.add("synthetic, another seed", judge_synthetic(2**64 - 1), f"synthetic:{2**64 - 1}")
    cases.run()


if __name__ == "__main__":
    with np.errstate(over="ignore"):
        main()

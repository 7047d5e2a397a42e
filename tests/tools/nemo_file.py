# SPDX-License-Identifier: Apache-2.0
"""Writes and reads .nemo files with numpy alone: the zip, pickle, YAML, tar and SentencePiece
layers that torch and NeMo make, independent of the C loader and of torch. Tests write models of
any size and variation with it, and read any model file as float64 for a reference.
"""
import gzip
import io
import json
import pickle
import re
import struct
import tarfile
import zipfile

import numpy as np

PIECES = ["<unk>", "<s>", "</s>", "<pad>", "<mask>"] + list("LASGVERTDIPKNFQYHMCWXBZUO")
TOKENIZER = "0123456789abcdef0123456789abcdef_protein_sequence_sentencepiece.model"
VOCABULARY = "0123456789abcdef0123456789abcdef_protein_sequence.vocab"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # SentencePiece's piece types
STORAGES = {"f32": "FloatStorage", "f16": "HalfStorage", "bf16": "BFloat16Storage",
            "i64": "LongStorage"}


# --- configurations and weights -----------------------------------------------------------------

def esm1nv_config(layers, hidden, ffn=None, positions=512, **more):
    """The keys of model_config.yaml that a model of this family has; `more` adds or replaces."""
    config = {
        "micro_batch_size": 8, "seq_length": positions,
        "max_position_embeddings": "${.seq_length}", "num_layers": layers, "hidden_size": hidden,
        "ffn_hidden_size": ffn or 4 * hidden, "num_attention_heads": hidden // 64,
        "init_method_std": 0.02, "hidden_dropout": 0.1, "kv_channels": None,
        "apply_query_key_layer_scaling": True, "layernorm_epsilon": 1e-05,
        "make_vocab_size_divisible_by": 128, "pre_process": True, "post_process": True,
        "bert_binary_head": False, "megatron_legacy": False, "bias_gelu_fusion": True,
        "openai_gelu": False, "tensor_model_parallel_size": 1, "pipeline_model_parallel_size": 1,
        "tokenizer": {"library": "sentencepiece", "type": None, "model": "nemo:" + TOKENIZER,
                      "vocab_file": "nemo:" + VOCABULARY, "merge_file": None},
        "precision": 32,
    }
    config.update(more)
    return config


def real_config(**more):
    """ESM-1nv's own shape: 6 layers, 12 heads, 768, 512 positions."""
    return esm1nv_config(6, 768, **more)


def tensor_shapes(config):
    """Names and shapes of the whole state dict, in the file's order."""
    hidden, ffn = config["hidden_size"], config["ffn_hidden_size"]
    multiple = config["make_vocab_size_divisible_by"]
    vocabulary = -(-len(PIECES) // multiple) * multiple
    yield "language_model.embedding.word_embeddings.weight", (vocabulary, hidden)
    yield "language_model.embedding.position_embeddings.weight", (config["seq_length"], hidden)
    for layer in range(config["num_layers"]):
        prefix = f"language_model.encoder.layers.{layer}."
        for name, shape in (("input_layernorm", (hidden,)),
                            ("self_attention.query_key_value", (3 * hidden, hidden)),
                            ("self_attention.dense", (hidden, hidden)),
                            ("post_attention_layernorm", (hidden,)),
                            ("mlp.dense_h_to_4h", (ffn, hidden)),
                            ("mlp.dense_4h_to_h", (hidden, ffn))):
            yield prefix + name + ".weight", shape
            yield prefix + name + ".bias", shape[:1]
    yield "language_model.encoder.final_layernorm.weight", (hidden,)
    yield "language_model.encoder.final_layernorm.bias", (hidden,)
    yield "lm_head.bias", (vocabulary,)
    yield "lm_head.dense.weight", (hidden, hidden)
    yield "lm_head.dense.bias", (hidden,)
    yield "lm_head.layernorm.weight", (hidden,)
    yield "lm_head.layernorm.bias", (hidden,)


def esm1nv_tensors(config, seed=0, scale=0.05, dtype=np.float32):
    """Random weights N(0, scale), LayerNorm gains 1 +- 0.2; lm_head included."""
    random = np.random.default_rng(seed)
    tensors = {}
    for name, shape in tensor_shapes(config):
        values = random.standard_normal(shape, dtype=np.float32)
        gain = name.endswith("layernorm.weight")
        tensors[name] = (1 + 0.2 * values if gain else scale * values).astype(dtype)
    return tensors


# --- number types -------------------------------------------------------------------------------

def to_bf16(values):
    """float32 to bfloat16 bits (uint16), to nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def encode(values, dtype):
    """The little-endian bytes of values, in C order, as `dtype`."""
    if dtype == "bf16":
        return to_bf16(values).astype("<u2").tobytes()
    return np.ascontiguousarray(values, {"f32": "<f4", "f16": "<f2", "i64": "<i8"}[dtype]).tobytes()


# --- the checkpoint: a zip of a pickle and raw storages -----------------------------------------

def pickle_text(text):
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def pickle_int(value):
    return pickle.dumps(value, 2)[2:-1]  # without the protocol and the end


def pickle_tuple(values):
    return b"(" + b"".join(pickle_int(value) for value in values) + b"t"


def pickle_tensor(storage, dtype, elements, offset, shape, strides):
    """The opcodes that rebuild a tensor over storage number `storage` of `elements` elements."""
    return (b"ctorch._utils\n_rebuild_tensor_v2\n((" + pickle_text("storage") + b"ctorch\n"
            + STORAGES[dtype].encode() + b"\n" + pickle_text(str(storage)) + pickle_text("cpu")
            + pickle_int(elements) + b"tQ" + pickle_int(offset) + pickle_tuple(shape)
            + pickle_tuple(strides) + b"\x89ccollections\nOrderedDict\n)RtR")


def row_strides(shape):
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return tuple(strides)


def zip_checkpoint(pickled, storages, extra=(), root="model_weights"):
    """The zip that torch.save makes; storages is a list of bytes, extra of (name, bytes)."""
    out = io.BytesIO()
    members = [("data.pkl", pickled), *extra]
    members += [(f"data/{number}", data) for number, data in enumerate(storages)]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in [*members, ("version", b"3\n")]:
            info = zipfile.ZipInfo(f"{root}/{name}")
            header = out.tell() + 30 + len(info.filename)
            padding = -(header + 4) % 64
            info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
            archive.writestr(info, data)
    return out.getvalue()


def write_checkpoint(tensors, dtype="f32", dtypes=None, prefix="", wrap=False, shared=False,
                     transposed=False):
    """A checkpoint as bytes. `dtypes` {name: dtype} overrides dtype; `wrap` puts the dict under
    state_dict; `shared` puts all tensors into one storage; `transposed` stores columns first."""
    storages, body, pool = [], b"", b""
    names = list(tensors)
    types = {name: (dtypes or {}).get(name, dtype) for name in names}
    total = sum(tensors[name].size for name in names)
    for name in names:
        values, kind = tensors[name], types[name]
        strides = row_strides(values.shape)
        data = encode(values.T if transposed else values, kind)
        if transposed:
            strides = row_strides(values.shape[::-1])[::-1]
        body += pickle_text(prefix + name)
        if shared:
            offset = len(pool) * values.size // max(len(data), 1)
            body += pickle_tensor(0, kind, total, offset, values.shape, strides)
            pool += data
        else:
            body += pickle_tensor(len(storages), kind, values.size, 0, values.shape, strides)
            storages.append(data)
    opcodes = b"}(" + body + b"u"
    if wrap:
        opcodes = (b"}(" + pickle_text("epoch") + pickle_int(3) + pickle_text("state_dict")
                   + opcodes + b"u")
    return zip_checkpoint(b"\x80\x02" + opcodes + b".", [pool] if shared else storages)


# --- the tokenizer: SentencePiece's ModelProto --------------------------------------------------

def varint(value):
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    """One protobuf field: int as varint, float as 32 bits, str and bytes with a length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def piece_type(piece):
    return {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, "<pad>": CONTROL,
            "<mask>": USER_DEFINED}.get(piece, NORMAL)


def tokenizer_model(pieces=PIECES, types=None):
    """A character model with these pieces, ids in order."""
    out = b""
    for number, piece in enumerate(pieces):
        kind = types[number] if types else piece_type(piece)
        score = -0.1 * number if kind == NORMAL else 0.0
        out += field(1, field(1, piece) + field(2, score) + field(3, kind))
    trainer = field(3, 4) + field(4, len(pieces)) + field(31, "<mask>")
    trainer += field(40, 0) + field(41, 1) + field(42, 2) + field(43, 3)
    normalizer = field(1, "identity") + field(3, 0) + field(4, 0) + field(5, 0)
    return out + field(2, trainer) + field(3, normalizer)


# --- the configuration --------------------------------------------------------------------------

def write_yaml(config, indent=""):
    lines = []
    for key, value in config.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:\n", write_yaml(value, indent + "  ")]
        else:
            text = json.dumps(value) if value is None or isinstance(value, bool) else value
            lines.append(f"{indent}{key}: {text}\n")
    return "".join(lines)


def yaml_value(text):
    if text.lower() in ("null", "~", ""):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text.strip("'\"")


def read_yaml(text):
    """Nested mappings of scalars (lists are skipped), with `${...}` resolved."""
    root = {}
    levels = [(-1, root)]
    for line in text.splitlines():
        match = re.match(r"( *)([\w.]+):(?: +(.*?))?\s*(?: #.*)?$", line)
        if not match:
            continue
        indent, key, value = len(match[1]), match[2], match[3]
        while levels[-1][0] >= indent:
            levels.pop()
        if value is None:
            levels[-1][1][key] = {}
            levels.append((indent, levels[-1][1][key]))
        else:
            levels[-1][1][key] = yaml_value(value)
    return {key: resolve(value, root) for key, value in root.items()}


def resolve(value, root, depth=0):
    match = re.fullmatch(r"\$\{\.?([\w.]+)\}", value) if isinstance(value, str) else None
    if match and depth < 8:
        found = root
        path = match[1].split(".")
        for part in path[1:] if path[0] == "model" and "model" not in root else path:
            found = found[part]
        return resolve(found, root, depth + 1)
    return value


# --- the whole file -----------------------------------------------------------------------------

def tar(members, kind=tarfile.GNU_FORMAT, dot_slash=False, **headers):
    """members: (name, bytes) pairs, in order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind, **headers) as archive:
        if dot_slash:
            info = tarfile.TarInfo("./")
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        for name, data in members:
            info = tarfile.TarInfo(("./" if dot_slash else "") + name)
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def write_tar(path, members, compress=False, dot_slash=False):
    data = tar(members, dot_slash=dot_slash)
    with open(path, "wb") as file:
        file.write(gzip.compress(data, 1, mtime=0) if compress else data)


def nemo_members(config, checkpoint, folder="", tokenizer=None, config_text=None):
    text = config_text if config_text is not None else write_yaml(config)
    pieces = "".join(f"{piece}\t0\n" for piece in PIECES)
    return [("model_config.yaml", text.encode()), (VOCABULARY, pieces.encode()),
            (TOKENIZER, tokenizer_model() if tokenizer is None else tokenizer),
            (folder + "model_weights.ckpt", checkpoint)]


def write_nemo(path, config, tensors, *, compress=False, dot_slash=False, folder="",
               tokenizer=None, config_text=None, checkpoint=None, **variations):
    """Writes a model file. folder: "", "mp_rank_00/", ...; tokenizer, config_text, checkpoint
    replace what would be made; the variations are write_checkpoint's (dtype, dtypes, prefix, wrap,
    shared, transposed). Values are rounded to dtype on the way."""
    if checkpoint is None:
        checkpoint = write_checkpoint(tensors, **variations)
    members = nemo_members(config, checkpoint, folder, tokenizer, config_text)
    write_tar(path, members, compress, dot_slash)


class Unpickler(pickle.Unpickler):
    """Tensors become float64 (or int64) arrays, state dicts dicts; nothing else is loaded."""
    KINDS = {"FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
             "DoubleStorage": "<f8", "LongStorage": "<i8", "IntStorage": "<i4",
             "BoolStorage": "|b1", "ByteStorage": "|u1"}

    def __init__(self, archive, root):
        super().__init__(archive.open(root + "data.pkl"))
        self.archive, self.root = archive, root

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return type("StateDict", (dict,), {})  # takes the attribute _metadata
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self.tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *rest: tensor
        if module == "torch" and name in self.KINDS:
            return name
        raise pickle.UnpicklingError(f"global {module}.{name}")

    def persistent_load(self, identity):
        _, kind, key, _, _ = identity
        values = np.frombuffer(self.archive.read(f"{self.root}data/{key}"), self.KINDS[kind])
        if kind == "BFloat16Storage":
            values = from_bf16(values)
        return values.astype(np.int64 if values.dtype.kind in "iub" else np.float64)

    @staticmethod
    def tensor(storage, offset, shape, strides, *rest):
        return np.lib.stride_tricks.as_strided(
            storage[offset:], shape, [stride * 8 for stride in strides]).copy()


def read_checkpoint(data):
    """The state dict of a checkpoint: {name without model./module. prefixes: array}."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        root = next(name for name in archive.namelist() if name.endswith("/data.pkl"))[:-8]
        loaded = Unpickler(archive, root).load()
    loaded = loaded.get("state_dict", loaded)
    return {re.sub(r"^(model\.)?(module\.)?", "", name): value for name, value in loaded.items()
            if isinstance(value, np.ndarray)}


def read_pieces(data):
    """[(piece, type)] of a SentencePiece model, ids in order."""
    def fields(data):
        at = 0

        def number():
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value
        while at < len(data):
            tag = number()
            if tag & 7 == 0:
                yield tag >> 3, number()
                continue
            size = {1: 8, 5: 4}.get(tag & 7) or number()
            yield tag >> 3, data[at:at + size]
            at += size
    pieces = [dict(fields(value)) for tag, value in fields(data) if tag == 1]
    return [(piece[1].decode(), piece.get(3, NORMAL)) for piece in pieces]


def read_members(path):
    with tarfile.open(path) as archive:
        return {re.sub(r"^\./", "", info.name): archive.extractfile(info).read()
                for info in archive if info.isfile()}


def read_nemo(path):
    """(config, tensors, ids): the resolved configuration, float64 arrays by name without prefix,
    and {letter: token id} with the special pieces by their own names."""
    members = read_members(path)
    config = read_yaml(members["model_config.yaml"].decode())
    weights = next(data for name, data in members.items() if name.endswith("model_weights.ckpt"))
    pieces = read_pieces(members[config["tokenizer"]["model"].removeprefix("nemo:")])
    ids = {piece: number for number, (piece, _) in enumerate(pieces)}
    return config, read_checkpoint(weights), ids

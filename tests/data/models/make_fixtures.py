# SPDX-License-Identifier: Apache-2.0
"""Makes the model files of this folder with the real torch.save and the real SentencePiece.

    make_fixtures.py tokenizer     needs sentencepiece: tokenizer.model
    make_fixtures.py NAME...       needs torch: those of FILES, and their truth in expected.json

README.md says which torch made which. expected.json holds, per file, what torch itself says of
every tensor: its type, shape, and the SHA-256 of its values as contiguous little-endian float32.
"""
import collections
import hashlib
import io
import json
import os
import sys
import tempfile

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(FOLDER, "..", "..", "tools"))
import nemo_file  # noqa: E402


def small_config(**more):
    """As small as the family allows; its 30 pieces fill 32 rows."""
    return nemo_file.esm1nv_config(1, 64, ffn=64, positions=8, make_vocab_size_divisible_by=32,
                                   **more)


def random_tensors(config, dtype, seed):
    import torch
    return {name: torch.from_numpy(values).to(dtype)
            for name, values in nemo_file.esm1nv_tensors(config, seed).items()}


def module_state(tensors, prefix):
    """The state dict of an nn.Module: an OrderedDict with the attribute _metadata."""
    import torch
    top = torch.nn.Module()
    for name, values in tensors.items():
        module = top
        *path, last = (prefix + name).split(".")
        for part in path:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module._modules[part]
        module.register_parameter(last, torch.nn.Parameter(values))
    return top.state_dict()


def shared_state(tensors):
    """Every tensor a view into one storage, the matrices transposed."""
    import torch
    flat = torch.cat([torch.zeros(5, dtype=torch.bfloat16)]
                     + [values.t().reshape(-1) if values.dim() == 2 else values
                        for values in tensors.values()])
    state, at = collections.OrderedDict(), 5
    for name, values in tensors.items():
        view = flat[at:at + values.numel()]
        state[name] = view.view(values.shape[::-1]).t() if values.dim() == 2 else view
        at += values.numel()
    return state


def wrapped_state(tensors):
    """A training checkpoint: parameters under state_dict, other things beside it."""
    import torch
    state = {"model.module." + name: torch.nn.Parameter(values) for name, values in tensors.items()}
    state["model.module.steps"] = torch.tensor([1, 2, 3])
    return {"epoch": 2, "global_step": 12345678901, "loss": 0.25, "callbacks": {"a": [1, None]},
            "hyper_parameters": {}, "done": True, "state_dict": state}


def make_tiny1():
    import torch
    config = nemo_file.esm1nv_config(1, 128, ffn=256, bias_gelu_fusion=False)
    return config, module_state(random_tensors(config, torch.float32, 1), "model.")


def make_tiny2():
    import torch
    config = nemo_file.esm1nv_config(2, 128, make_vocab_size_divisible_by=64)  # below 1 MB
    return config, module_state(random_tensors(config, torch.float16, 2), "model.")


def make_module():
    import torch
    return None, module_state(random_tensors(small_config(), torch.float32, 3), "")


def make_shared():
    import torch
    return None, shared_state(random_tensors(small_config(), torch.bfloat16, 4))


def make_wrapped():
    import torch
    return None, wrapped_state(random_tensors(small_config(), torch.float16, 5))


FILES = {"tiny1.nemo": make_tiny1, "tiny2.nemo": make_tiny2}
for _age in ("old", "new"):
    FILES[f"module-{_age}.ckpt"] = make_module
    FILES[f"shared-{_age}.ckpt"] = make_shared
    FILES[f"wrapped-{_age}.ckpt"] = make_wrapped


def make_file(name, expected):
    import torch
    config, state = FILES[name]()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    checkpoint = buffer.getvalue()
    path = os.path.join(FOLDER, name)
    if config:
        with open(os.path.join(FOLDER, "tokenizer.model"), "rb") as file:
            nemo_file.write_nemo(path, config, None, checkpoint=checkpoint, tokenizer=file.read())
    else:
        with open(path, "wb") as file:
            file.write(checkpoint)
    loaded = torch.load(io.BytesIO(checkpoint), map_location="cpu")
    expected[name] = {
        "torch": torch.__version__.split("+")[0],
        "tensors": {key: [str(value.dtype)[6:], list(value.shape),
                          hashlib.sha256(value.detach().float().contiguous().numpy().astype("<f4")
                                         .tobytes()).hexdigest()]
                    for key, value in loaded.get("state_dict", loaded).items()}}


def make_tokenizer():
    """Trains on letters whose counts put them into the order of ESM-1nv's vocabulary."""
    import sentencepiece
    letters = nemo_file.PIECES[5:]
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "tokenizer")
        with open(prefix, "w", encoding="ascii") as file:
            for rank, letter in enumerate(letters):
                file.writelines(letter * 10 + "\n" for _ in range(len(letters) - rank))
        sentencepiece.SentencePieceTrainer.train(
            input=prefix, model_prefix=prefix, model_type="char", vocab_size=30, unk_id=0, bos_id=1,
            eos_id=2, pad_id=3, user_defined_symbols=["<mask>"], add_dummy_prefix=False,
            normalization_rule_name="identity", character_coverage=1.0, hard_vocab_limit=True)
        with open(prefix + ".model", "rb") as file:
            trained = file.read().replace(prefix.encode(), b"tokenizer".ljust(len(prefix), b"_"))
    for model in (trained, nemo_file.tokenizer_model()):
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        assert [processor.id_to_piece(i) for i in range(30)] == nemo_file.PIECES
        assert processor.encode("MLOX") == [22, 5, 29, 25]
        assert [processor.unk_id(), processor.bos_id(), processor.eos_id()] == [0, 1, 2]
    with open(os.path.join(FOLDER, "tokenizer.model"), "wb") as file:
        file.write(trained)


def main():
    path = os.path.join(FOLDER, "expected.json")
    expected = {}
    if os.path.exists(path):
        with open(path, encoding="ascii") as file:
            expected = json.load(file)
    for name in sys.argv[1:]:
        if name == "tokenizer":
            make_tokenizer()
        else:
            make_file(name, expected)
    with open(path, "w", encoding="ascii") as file:
        json.dump(expected, file, indent=1, sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    main()

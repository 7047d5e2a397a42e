# SPDX-License-Identifier: Apache-2.0
"""Rows that come out of the two programs with an emulated GPU, against the float64 reference: f16
and bf16, each generation's kernels, both GELUs, fused or not, all poolings, f32 and f16 output.
"""
import io

import emulated  # first: it finds the tools
import numpy as np

import nemo_file
import programs
import tap
from emulated import HIDDEN, RESIDUES, SMALL, gpu_daemon
from programs import run_filter
from reference import Reference

LENGTHS = [1, 2, 65, 130]
EDGES = [510, 511, 512, 513] if tap.SCALE >= 1 else [511]  # for one model: the emulation is slow
LIMITS = {"f16": 2e-3, "bf16": 1.2e-2}  # relative L2


def erf_model():
    path = programs.in_work("erf.nemo")
    config, tensors, _ = nemo_file.read_nemo(programs.TINY2)
    nemo_file.write_nemo(path, {**config, "bias_gelu_fusion": False}, tensors)
    return path


CASES = {
    "one layer, f16, sm_80, long": (programs.TINY1, "f16", {}),
    "two layers, f16, sm_80": (programs.TINY2, "f16", {}),
    "two layers, f16, sm_70": (programs.TINY2, "f16", {"EMULATION_SM": "70"}),
    "two layers, f16, sm_90, nothing fused": (
        programs.TINY2, "f16", {"EMULATION_SM": "90", "EMULATION_EPILOGUES": "none",
                                "EMULATION_MEMORY": str(80 << 20)}),
    "two layers, erf, f16, sm_86": (erf_model, "f16", {"EMULATION_SM": "86"}),
    "two layers, bf16, sm_80": (programs.TINY2, "bf16", {}),
}
if tap.SCALE < 1:
    CASES = {name: CASES[name] for name in ("one layer, f16, sm_80, long", "two layers, f16, sm_70",
                                            "two layers, bf16, sm_80")}


def truth(model, lengths):
    """By length: the float64 rows of the residues, and the one of <s>, or None."""
    reference = Reference(model)
    result = {}
    for length in lengths:
        ids, first, count = reference.tokens(RESIDUES[:length])
        rows = reference.encode(ids)
        result[length] = rows[first:first + count], rows[0] if first else None
    return result


def pooled(pool, rows, bos):
    return {"mean": lambda: rows.mean(axis=0), "max": lambda: rows.max(axis=0),
            "bos": lambda: bos}[pool]()


def embed(daemon, lengths, pool, *options):
    records = [("n%d" % length, RESIDUES[:length]) for length in lengths]
    return run_filter(daemon, "-i", "lines", "-p", pool, *options,
                      input=programs.write_lines(records)).stdout


def rows_of(data, kind="<f4"):
    return np.frombuffer(data, kind).reshape(-1, HIDDEN)


def worst_error(rows, expected):
    assert rows.shape == expected.shape, "%s rows, not %s" % (rows.shape, expected.shape)
    return (np.linalg.norm(rows.astype(np.float64) - expected, axis=1) /
            np.linalg.norm(expected, axis=1)).max()


def in_half(daemon, rows, lengths):
    """float16 rows are the float32 ones, rounded once; raw and npy."""
    half = rows.astype("<f2").tobytes()
    assert embed(daemon, lengths, "none", "-f", "raw", "--dtype", "f16") == half, "raw f16"
    path = programs.in_work("half.npy")
    embed(daemon, lengths, "none", "-f", "npy", "--dtype", "f16", "-o", path)
    with open(path, "rb") as file:
        array = np.load(io.BytesIO(file.read()))
    assert array.dtype == np.float16 and array.tobytes() == half, "npy f16"


@tap.cases("%s", list(CASES))
def accurate(name):
    model, precision, machine = CASES[name]
    model = model() if callable(model) else model
    lengths = LENGTHS + EDGES if name.endswith("long") else LENGTHS
    expected, worst = truth(model, lengths), {}
    with gpu_daemon("-p", precision, model=model, **{**SMALL, **machine}) as daemon:
        rows = rows_of(embed(daemon, lengths, "none", "-f", "raw"))
        worst["none"] = worst_error(rows, np.concatenate([e[0] for e in expected.values()]))
        in_half(daemon, rows, lengths)
        for pool in ("mean", "max", "bos"):
            chosen = [n for n in lengths if pool != "bos" or expected[n][1] is not None]
            wanted = np.array([pooled(pool, *expected[n]) for n in chosen])
            worst[pool] = worst_error(rows_of(embed(daemon, chosen, pool, "-f", "raw")), wanted)
    print("# largest relative L2 errors: " +
          ", ".join("%s %.2g" % item for item in worst.items()))
    assert max(worst.values()) <= LIMITS[precision], worst


tap.main(programs.finish)

# SPDX-License-Identifier: Apache-2.0
"""Rows that come out of the two programs, against the float64 reference: f32 and bf16, tanh and erf
GELU, small fixtures and a full-size model, every length at which something changes, all poolings.
"""
import functools
import os

import numpy as np

import programs  # first: it finds the tools
import engine_check
import nemo_file
import tap
from programs import Daemon, run_filter
from reference import Reference

LENGTHS = [1, 2, 3, 37, 509, 510, 511, 512, 513, 1022, 1023, 1600]
# The full size is for its sums; what happens at which length, the small fixtures show.
FULL_LENGTHS = [2, 37, 511, 1600] if tap.SCALE >= 1 else [2, 60]
LIMITS = engine_check.LIMITS

# Real residues, long enough to cut every length from.
RESIDUES = "".join(residues for _, residues in programs.read_fasta(programs.PROTEINS))[:2000]


def rewritten(name, source, **config):
    """A model file with the tensors of another one and another configuration."""
    path = programs.in_work(name)
    if not os.path.exists(path):
        old, tensors, _ = nemo_file.read_nemo(source)
        nemo_file.write_nemo(path, {**old, **config}, tensors)
    return path


def full_size(name, **config):
    path = programs.in_work(name)
    if not os.path.exists(path):
        config = nemo_file.real_config(**config)
        nemo_file.write_nemo(path, config, nemo_file.esm1nv_tensors(config, seed=7))
    return path


MODELS = {
    "one layer, f32 file": lambda: programs.TINY1,
    "two layers, f16 file": lambda: programs.TINY2,
    "two layers, erf": lambda: rewritten("erf.nemo", programs.TINY2, bias_gelu_fusion=False),
    "two layers, openai_gelu": lambda: rewritten("openai.nemo", programs.TINY2,
                                                 bias_gelu_fusion=False, openai_gelu=True),
    "full size, tanh": lambda: full_size("full.nemo"),
    "full size, erf": lambda: full_size("full-erf.nemo", bias_gelu_fusion=False),
}
if tap.SCALE < 1:
    del MODELS["two layers, openai_gelu"], MODELS["full size, erf"]


@functools.lru_cache(maxsize=1)
def reference(model):
    """Rows by number of residues, <s> first where there is room for it."""
    model = Reference(MODELS[model]())

    @functools.lru_cache(maxsize=None)
    def rows(residues):
        ids, first, count = model.tokens(RESIDUES[:residues])
        return model.encode(ids)[:first + count], first
    return lambda length: rows(min(length, model.positions))


def compare(what, rows, truth, precision):
    faults, worst, _ = engine_check.compare(rows, truth, LIMITS[precision])
    assert not faults, "%s: %s" % (what, faults[:5])
    return worst


def embed(daemon, lengths, pool, hidden):
    records = [("n%d" % length, RESIDUES[:length]) for length in lengths]
    run = run_filter(daemon, "-i", "lines", "-f", "raw", "-p", pool,
                     input=programs.write_lines(records))
    return np.frombuffer(run.stdout, "<f4").reshape(-1, hidden)


def pooled(pool, rows, first):
    if pool == "bos":
        return rows[:1]
    return rows[first:].mean(axis=0, keepdims=True) if pool == "mean" else rows[first:].max(
        axis=0, keepdims=True)


@tap.cases("%s", [(model, precision) for model in MODELS for precision in LIMITS])
def accurate(model, precision):
    lengths = FULL_LENGTHS if model.startswith("full") else LENGTHS
    truth = {length: reference(model)(length) for length in lengths}
    hidden = truth[lengths[0]][0].shape[1]
    worst = 0
    with Daemon("-b", "cpu", "-p", precision, model=MODELS[model]()) as daemon:
        rows = embed(daemon, lengths, "none", hidden)
        for length in lengths:
            expected, first = truth[length]
            count = len(expected) - first
            worst = max(worst, compare("length %d" % length, rows[:count], expected[first:],
                                       precision))
            rows = rows[count:]
        assert rows.shape[0] == 0, "%d rows too many" % rows.shape[0]
        for pool in ("mean", "max", "bos"):
            with_bos = [length for length in lengths if pool != "bos" or truth[length][1]]
            rows = embed(daemon, with_bos, pool, hidden)
            assert len(rows) == len(with_bos)
            for length, row in zip(with_bos, rows):
                compare("%s of length %d" % (pool, length), row[None],
                        pooled(pool, *truth[length]), precision)
    print("# largest relative L2 error of a residue row: %.3g" % worst)


tap.main(programs.finish)

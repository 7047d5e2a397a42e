# SPDX-License-Identifier: Apache-2.0
"""The CPU engine against the independent float64 reference (tests/tools/reference.py).

    test_accuracy.py ENGINE_EMBED SOURCE_ROOT [--full]

Small models of both GELU forms, odd widths and depths; with --full one of ESM-1nv's own size. f32
must meet a relative L2 error of 5e-6, bf16 1.2e-2 and a cosine of 0.9999 in every row. Mean, max,
<s> and float16 output are compared the same way.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np

import nemo_file
from engine_check import LIMITS, case, compare, finish, sequences
from reference import Reference

ENGINE, ROOT = sys.argv[1], sys.argv[2]


def run(model, precision, lines, threads=2, pooling="none", dtype="f32"):
    command = [ENGINE, model, precision, str(threads), pooling, dtype]
    done = subprocess.run(command, input=("\n".join(lines) + "\n").encode(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        raise SystemExit("Bail out! %s: %s" % (" ".join(command), done.stderr.decode().strip()))
    return np.frombuffer(done.stdout, "<f4" if dtype == "f32" else "<f2")


def compare_rows(name, model, reference, lengths, precision, seed):
    lines = sequences(lengths, seed)
    rows = [reference.embed(line) for line in lines]
    got = run(model, precision, lines).reshape(-1, reference.hidden)
    faults, error, cosine = compare(got, np.concatenate(rows), LIMITS[precision])
    print("# %s %s: largest error %.3g, 1 - cosine %.3g" % (name, precision, error, cosine))
    case("%s, %s, residue rows" % (name, precision), faults)
    return lines, rows


def compare_pooled(name, model, reference, lines, rows, precision):
    pooled = {"mean": [row.mean(axis=0) for row in rows], "max": [row.max(axis=0) for row in rows]}
    for pooling, want in pooled.items():
        got = run(model, precision, lines, pooling=pooling).reshape(-1, reference.hidden)
        case("%s, %s, %s" % (name, precision, pooling),
             compare(got, np.array(want), LIMITS[precision])[0])
    short = [line for line in lines if len(line) < reference.positions]
    want = np.array([reference.bos(line) for line in short])
    got = run(model, precision, short, pooling="bos").reshape(-1, reference.hidden)
    case("%s, %s, bos" % (name, precision), compare(got, want, LIMITS[precision])[0])
    half = run(model, precision, lines, dtype="f16")
    whole = run(model, precision, lines).astype("<f2")
    case("%s, %s, f16 is the nearest of f32" % (name, precision),
         [] if half.tobytes() == whole.tobytes() else ["bytes differ"])


def fixture(name):
    path = os.path.join(ROOT, "tests", "data", "models", name)
    reference = Reference(path)
    for precision in LIMITS:
        lines, rows = compare_rows(name, path, reference, [1, 2, 3, 17, 64, 509, 510, 511, 512, 513,
                                                           1022, 1500], precision, 1)
        compare_pooled(name, path, reference, lines, rows, precision)


def made(folder, name, lengths, config):
    path = os.path.join(folder, name + ".nemo")
    nemo_file.write_nemo(path, config, nemo_file.esm1nv_tensors(config, 7))
    reference = Reference(path)
    for precision in LIMITS:
        compare_rows(name, path, reference, lengths, precision, 2)
    os.unlink(path)


def sets_agree(folder):
    """A model of full size gives the same bytes under every instruction set of this machine."""
    path = os.path.join(folder, "full.nemo")
    config = nemo_file.real_config()
    nemo_file.write_nemo(path, config, nemo_file.esm1nv_tensors(config, 9), dtype="bf16")
    for precision in LIMITS:
        rows = {}
        for name in ("generic", "avx2", "avx512", "avx512bf16"):
            if not refused(path, precision, name):
                os.environ["ESM1NV_CPU"] = name
                rows[name] = run(path, precision, sequences([1, 40, 63], 3)).tobytes()
        os.environ.pop("ESM1NV_CPU")
        case("full size, %s, same bytes with %s" % (precision, ", ".join(rows)),
             [name for name in rows if rows[name] != rows["generic"]])


def refused(model, precision, name):
    """Whether this machine lacks an instruction set."""
    done = subprocess.run([ENGINE, model, precision, "1"], input=b"", stderr=subprocess.PIPE,
                          env=dict(os.environ, ESM1NV_CPU=name))
    return b"does not have it" in done.stderr


def main():
    with tempfile.TemporaryDirectory() as folder:
        if "--full" in sys.argv:
            made(folder, "full size", [1, 2, 100, 511, 513], nemo_file.real_config())
            made(folder, "full size erf", [30, 300], nemo_file.real_config(bias_gelu_fusion=False))
            sets_agree(folder)
        else:
            fixture("tiny1.nemo")
            fixture("tiny2.nemo")
            made(folder, "H 64, one block, erf", [1, 5, 14, 30],
                 nemo_file.esm1nv_config(3, 64, ffn=64, positions=16, bias_gelu_fusion=False))
            made(folder, "H 192, three blocks", [1, 33, 900],
                 nemo_file.esm1nv_config(2, 192, ffn=576, positions=1000))
            made(folder, "H 320", [7, 70], nemo_file.esm1nv_config(2, 320, positions=80))
            made(folder, "H 64, 4096 positions", [4, 4096],
                 nemo_file.esm1nv_config(1, 64, ffn=64, positions=4096))
            made(folder, "H 1024", [5, 61], nemo_file.esm1nv_config(1, 1024, positions=64))
    return finish()


sys.exit(main())

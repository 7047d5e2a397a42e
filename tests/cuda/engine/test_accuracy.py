# SPDX-License-Identifier: Apache-2.0
"""The CUDA engine against the independent float64 reference (tests/tools/reference.py).

    test_accuracy.py ENGINE_EMBED SOURCE_ROOT [--device]

Every residue row within a relative L2 error of 2e-3 in f16 and 1.2e-2 in bf16, for both forms of
GELU, every generation of GPU, with fused epilogues and without, in three orders of threads; pooled
rows likewise. With --device the program runs on a real GPU, as it is, and is skipped where there is
none.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np

ENGINE, ROOT = sys.argv[1], sys.argv[2]
DEVICE = "--device" in sys.argv
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "tests", "tools"))
import nemo_file  # noqa: E402
from engine_check import case, compare, finish, sequences  # noqa: E402
from reference import Reference  # noqa: E402

LIMITS = {"f16": (2e-3, 1 - 2e-6), "bf16": (1.2e-2, 0.9999)}
FEW = float(os.environ.get("ESM1NV_TEST_SCALE", "1")) < 1


def run(model, lines, precision="f16", pooling="none", dtype="f32", tokens=1024, **emulation):
    command = [ENGINE, model, precision, "1", pooling, dtype, str(tokens)]
    if FEW:  # little memory: small batches, whose algorithms are soon measured
        emulation["memory"] = (80 if emulation.get("sm") == 90 else 40) << 20
    settings = {"EMULATION_" + name.upper(): str(value) for name, value in emulation.items()}
    done = subprocess.run(command, input=("\n".join(lines) + "\n").encode(), timeout=900,
                          env=dict(os.environ, **settings), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    if DEVICE and (b"no NVIDIA" in done.stderr or b"stub" in done.stderr):
        print("1..0 # SKIP " + done.stderr.decode().strip())
        sys.exit(0)
    if done.returncode:
        raise SystemExit("Bail out! %s: %s" % (" ".join(command), done.stderr.decode().strip()))
    return np.frombuffer(done.stdout, "<f4" if dtype == "f32" else "<f2")


class Model:
    def __init__(self, path, name, lengths):
        self.path, self.name = path, name
        self.reference = Reference(path)
        self.lines = sequences(lengths, 1)
        self.rows = [self.reference.embed(line) for line in self.lines]

    def check(self, what, want, lines, precision="f16", **options):
        got = run(self.path, lines, precision=precision, **options)
        faults, error, _ = compare(got.reshape(-1, self.reference.hidden), np.array(want),
                                LIMITS[precision])
        print("# %s %s: largest error %.3g" % (self.name, what, error))
        case("%s, %s" % (self.name, what), faults)

    def check_rows(self, what, **options):
        self.check(what, np.concatenate(self.rows), self.lines, **options)

    def check_pooled(self, **options):
        self.check("mean", [row.mean(axis=0) for row in self.rows], self.lines, pooling="mean",
                   **options)
        self.check("max", [row.max(axis=0) for row in self.rows], self.lines, pooling="max",
                   **options)
        short = [line for line in self.lines if len(line) < self.reference.positions]
        self.check("bos", [self.reference.bos(line) for line in short], short, pooling="bos",
                   **options)
        self.check("float16 output", np.concatenate(self.rows), self.lines, dtype="f16", **options)


def forms(model, few):
    """The generations of GPU, and what the library fuses; few: only the most different ones."""
    model.check_rows("Volta, nothing fused", sm=70, order="rotated", epilogues="none")
    model.check_rows("Ampere, bf16", sm=80, order="forward", epilogues="all", precision="bf16")
    if few:
        return
    model.check_rows("Ampere", sm=80, order="backward", epilogues="all")
    model.check_rows("Volta", sm=70, order="forward", epilogues="all")
    model.check_rows("Hopper, no GELU fused", sm=90, order="rotated", epilogues="bias")
    model.check_rows("Hopper, bf16, nothing fused", sm=90, order="backward", epilogues="none",
                     precision="bf16")


def main():
    lengths = [1, 3, 64, 65, 130] if FEW else [1, 2, 3, 17, 62, 63, 64, 65, 126, 129, 300, 509, 510,
                                               511, 512, 700]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        os.environ.pop("CACHE_DIRECTORY", None)
        for file, name in ("tiny1.nemo", "erf"), ("tiny2.nemo", "tanh"):
            model = Model(os.path.join(ROOT, "tests", "data", "models", file), name, lengths)
            if DEVICE:
                model.check_rows("f16")
            else:
                forms(model, FEW and name == "erf")
            if not FEW or name == "erf":
                model.check_pooled()
        config = nemo_file.esm1nv_config(2, 192, ffn=576, positions=1000)
        path = os.path.join(folder, "made.nemo")
        nemo_file.write_nemo(path, config, nemo_file.esm1nv_tensors(config, 7))
        Model(path, "H 192, three heads", [1, 40, 190 if FEW else 998]).check_rows("f16")
    return finish()


sys.exit(main())

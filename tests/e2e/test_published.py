# SPDX-License-Identifier: Apache-2.0
"""The published fp32 outputs of ESM-1nv's real weights for chain 6nkl-D, when ESM1NV_NEMO names the
real file.
"""
import os

import numpy as np

import programs
import tap
from programs import Daemon, run_filter

CHAIN = ("MASMTGGQQMGRDPNSSSMLTKVFQSGNSQAVRIPMDFRFDVDTVEIFRKENGDVVLRPVSKKTDDFLALFEGFDETFI"
         "QALEARDDLPPQERENL")
MEAN = [0.0442179, 0.2385047, -0.0831365, -0.0304231, -0.3725983, 0.0637997, 0.0176794, -0.1281381,
        -0.0437317, -0.0622400, -0.1134659, -0.0220399, -0.0478942, 0.0092744, -0.1467569,
        -0.0434935]
MEAN_NORM, MEAN_SUM = 5.208387, -1.477063
RESIDUES = {
    1: [0.285073, 0.535195, -0.221734, -0.082662, -0.454517, -0.272565, 0.019211, 0.060140],
    2: [0.134763, 0.441966, -0.002537, -0.176117, 0.089233, -0.050394, 0.010754, 0.114986],
    48: [0.121933, 0.187139, -0.444042, 0.007813, -0.646235, 0.070705, -0.051185, -0.324096],
    96: [-0.209217, 0.103183, -0.178291, 0.014958, -0.530259, -0.128878, 0.057620, -0.318397],
}
# f32 to the published digits and the rounding of another implementation; bf16 to its own limit.
TOLERANCE = {"f32": 2e-5, "bf16": 1.2e-2}


def embed(daemon, pool):
    run = run_filter(daemon, "-f", "raw", "-p", pool, input=CHAIN.encode() + b"\n")
    return np.frombuffer(run.stdout, "<f4").reshape(-1, 768)


def compare(values, published, precision):
    error = np.linalg.norm(values - published) / np.linalg.norm(published)
    # Eight values of 768 know their row's error only roughly.
    limit = TOLERANCE[precision] * (3 if precision == "bf16" else 1)
    assert error <= limit, "relative error %.3g" % error


@tap.cases("%s", TOLERANCE)
def published(precision):
    model = os.environ.get("ESM1NV_NEMO")
    if not model:
        raise tap.Skip("set ESM1NV_NEMO to the real esm1nv.nemo to run it")
    with Daemon("-b", "cpu", "-p", precision, model=model) as daemon:
        mean, rows = embed(daemon, "mean")[0], embed(daemon, "none")
    assert rows.shape == (96, 768)
    compare(mean[:16], MEAN, precision)
    compare(np.array([np.linalg.norm(mean), mean.sum()]), [MEAN_NORM, MEAN_SUM], precision)
    for position, values in RESIDUES.items():
        compare(rows[position - 1, :8], values, precision)


tap.main(programs.finish)

# SPDX-License-Identifier: Apache-2.0
"""For tests of an engine against the float64 reference: sequences, and rows compared within limits."""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from tap import finish, report as case  # noqa: E402, F401

LETTERS = "LASGVERTDIPKNFQYHMCWXBZUO"
LIMITS = {"f32": (5e-6, 1 - 1e-9), "bf16": (1.2e-2, 0.9999)}  # of the CPU: relative L2, cosine


def sequences(lengths, seed):
    random = np.random.default_rng(seed)
    return ["".join(random.choice(list(LETTERS), length)) for length in lengths]


def compare(got, want, limits):
    """Faults of rows [n, H] against float64 ones by their limits (relative L2 error, cosine); the
    worst error, and the worst of 1 - cosine."""
    if got.shape != want.shape:
        return ["%s rows instead of %s" % (got.shape, want.shape)], 0, 0
    got = got.astype(np.float64)
    size = np.linalg.norm(want, axis=1)
    error = np.linalg.norm(got - want, axis=1) / size
    cosine = (got * want).sum(axis=1) / (size * np.linalg.norm(got, axis=1))
    bad = ~((error <= limits[0]) & (cosine >= limits[1]))
    faults = ["row %d: error %.3g, 1 - cosine %.3g" % (i, error[i], 1 - cosine[i])
              for i in np.flatnonzero(bad)]
    return faults, error.max(), 1 - cosine.min()

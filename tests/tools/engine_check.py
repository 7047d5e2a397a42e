# SPDX-License-Identifier: Apache-2.0
"""For tests of an engine against the float64 reference: sequences, rows compared within limits, and
cases in TAP.
"""
import numpy as np

LETTERS = "LASGVERTDIPKNFQYHMCWXBZUO"
_cases = []


def case(name, faults):
    _cases.append(not faults)
    print("%s %d - %s" % ("not ok" if faults else "ok", len(_cases), name), flush=True)
    for fault in faults[:10]:
        print("# " + fault)


def finish():
    """The plan, at the end; an exit status."""
    print("1..%d" % len(_cases))
    return 0 if all(_cases) else 1


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

# SPDX-License-Identifier: Apache-2.0
"""The same record gives the same bytes on an emulated GPU: alone, in batches of any size and order,
by message and by ring, from several clients at once, on one GPU or two. The truth of each
comparison is one plain run.
"""
import functools
import itertools

import emulated  # first: it finds the tools
import numpy as np

import programs
import tap
from emulated import HIDDEN, RESIDUES, gpu_daemon
from programs import run_filter, start_filter

LENGTHS = [1, 7, 64, 65, 200, 90, 511, 129, 2, 33]
COUNT = len(LENGTHS) if tap.SCALE >= 1 else 6
RECORDS = [("r%d" % i, RESIDUES[i:i + length]) for i, length in enumerate(LENGTHS[:COUNT])]
POOLS = ("none", "mean")


def embed(daemon, records, pool):
    run = run_filter(daemon, "-f", "raw", "-p", pool, input=programs.write_fasta(records))
    return split(run.stdout, records, pool)


def split(data, records, pool):
    rows, at = {}, 0
    for name, residues in records:
        size = 4 * HIDDEN * (len(residues) if pool == "none" else 1)
        rows[name] = data[at:at + size]
        at += size
    assert at == len(data), "%d bytes, not %d" % (len(data), at)
    return rows


@functools.lru_cache(maxsize=None)
def truth():
    with gpu_daemon() as daemon:
        rows = {pool: embed(daemon, RECORDS, pool) for pool in POOLS}
    for pool, name in itertools.product(POOLS, rows["none"]):
        values = np.frombuffer(rows[pool][name], "<f4")
        assert np.isfinite(values).all() and np.unique(values).size > 10, (pool, name)
    return rows


def same(rows, pool):
    for name, data in rows.items():
        assert data == truth()[pool][name], "%s, %s: other bytes" % (pool, name)


@tap.case("each record in a run of its own, by ring")
def alone():
    with gpu_daemon() as daemon:
        for record in RECORDS:
            same(embed(daemon, [record], "none"), "none")


@tap.case("each record alone, by message")
def conversation():
    with gpu_daemon() as daemon, programs.Conversation(daemon, "-i", "lines") as talk:
        for name, residues in RECORDS:
            fields = talk.ask(name + "\t" + residues).split(b"\t")
            row = np.array(fields[1:], dtype=np.float64).astype("<f4")
            same({name: row.tobytes()}, "mean")
        talk.end().expect(0)


MACHINES = {
    "batches of 512": (("--max-batch-residues", "512"), {}),
    "batches of 1024, other threads first": (("--max-batch-residues", "1024"),
                                             {"EMULATION_ORDER": "backward"}),
    "two GPUs": (("--device", "all"), {"EMULATION_DEVICES": "2", "EMULATION_ORDER": "rotated"}),
}


@tap.cases("another order, %s", list(MACHINES))
def batches(name):
    options, machine = MACHINES[name]
    shuffled = [RECORDS[i] for i in np.random.default_rng(3).permutation(len(RECORDS))]
    with gpu_daemon(*options, **machine) as daemon:
        for pool in POOLS:
            same(embed(daemon, shuffled, pool), pool)


@tap.case("four clients at once")
def clients():
    runs = []
    with gpu_daemon() as daemon:
        for number, pool in enumerate(("none", "mean", "none", "mean")):
            order = RECORDS[number:] + RECORDS[:number]
            path = programs.in_work("client%d.fasta" % number)
            with open(path, "wb") as file:
                file.write(programs.write_fasta(order))
            out = open(programs.in_work("client%d.raw" % number), "w+b")
            process = start_filter(daemon, "-f", "raw", "-p", pool, path, stdout=out)
            runs.append((order, pool, out, process))
        for order, pool, out, process in runs:
            _, err = process.communicate(timeout=programs.PATIENCE)
            assert process.returncode == 0, err
            out.seek(0)
            with out:
                same(split(out.read(), order, pool), pool)


tap.main(programs.finish)

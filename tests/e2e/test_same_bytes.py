# SPDX-License-Identifier: Apache-2.0
"""The same record gives the same bytes: real proteins alone, in a batch, at 1 and 2 threads, from
one client and from 8 at once, by message and by ring, over io_uring and epoll, under every
instruction set this machine has. The truth of each comparison is one plain run.
"""
import functools
import json

import numpy as np

import programs
import tap
from programs import Daemon, run_filter, start_filter

PROTEINS = programs.read_fasta(programs.PROTEINS)[:max(8, round(92 * tap.SCALE))]
MODELS = {"small": (programs.TINY2, PROTEINS, 128)}
if tap.SCALE >= 1:  # a full-size model on part of them, the longest included: minutes under sanitizers
    LONGEST = max(PROTEINS, key=lambda record: len(record[1]))
    MODELS["full size"] = ("synthetic:5", [LONGEST] + PROTEINS[:8], 768)
CASES = [(model, precision) for model in MODELS for precision in ("f32", "bf16")]
CLIENTS = 8


def daemon_for(model, precision, *options, **variables):
    return Daemon("-b", "cpu", "-p", precision, *options, model=MODELS[model][0], **variables)


def embed(daemon, records, pool, hidden):
    """{id: bytes of its rows}, after checking that all came, in order."""
    run = run_filter(daemon, "-f", "raw", "-p", pool, input=programs.write_fasta(records))
    return split(run.stdout, records, pool, hidden)


def split(data, records, pool, hidden):
    rows, at = {}, 0
    for name, residues in records:
        size = 4 * hidden * (min(len(residues), 512) if pool == "none" else 1)
        rows[name] = data[at:at + size]
        at += size
    assert at == len(data), "%d bytes of output, not %d" % (len(data), at)
    return rows


@functools.lru_cache(maxsize=None)
def truth(model, precision):
    """What one thread answers to one client in one run, residue rows and mean."""
    _, records, hidden = MODELS[model]
    with daemon_for(model, precision, "-t", "1") as daemon:
        rows = {pool: embed(daemon, records, pool, hidden) for pool in ("none", "mean")}
    for name, residues in records:
        values = np.frombuffer(rows["none"][name], "<f4")
        assert np.isfinite(values).all() and np.unique(values).size > 10, name
    return rows


def same(rows, expected, what):
    for name, data in rows.items():
        assert data == expected[name], "%s: %s differs" % (what, name)


def check_pools(daemon, model, precision, records=None):
    _, all_records, hidden = MODELS[model]
    for pool in ("none", "mean"):
        same(embed(daemon, records or all_records, pool, hidden), truth(model, precision)[pool],
             pool)


@tap.cases("complete and in order: %s", CASES)
def complete(model, precision):
    records = MODELS[model][1]
    with daemon_for(model, precision) as daemon:
        run = run_filter(daemon, "-f", "jsonl", input=programs.write_fasta(records))
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert [(answer["id"], answer["length"]) for answer in answers] == [
        (name, len(residues)) for name, residues in records]
    rows = {answer["id"]: np.array(answer["embedding"], "<f4").tobytes() for answer in answers}
    same(rows, truth(model, precision)["mean"], "text")


@tap.cases("two threads: %s", CASES)
def two_threads(model, precision):
    with daemon_for(model, precision, "-t", "2") as daemon:
        check_pools(daemon, model, precision)


@tap.cases("each record alone, by message: %s", CASES)
def alone(model, precision):
    """A conversation has one record in flight, which goes by message."""
    _, records, hidden = MODELS[model]
    with daemon_for(model, precision, "-t", "2") as daemon:
        with programs.Conversation(daemon, "-i", "lines") as conversation:
            for name, residues in records:
                fields = conversation.ask(name + "\t" + residues).split(b"\t")
                assert fields[0].decode() == name
                row = np.array(fields[1:], dtype=np.float64).astype("<f4")
                same({name: row.tobytes()}, truth(model, precision)["mean"], "alone")
            conversation.end().expect(0)


@tap.cases("each record in a run of its own, by ring: %s", CASES)
def runs(model, precision):
    _, records, hidden = MODELS[model]
    with daemon_for(model, precision, "-t", "2") as daemon:
        for record in records[:8]:
            same(embed(daemon, [record], "none", hidden), truth(model, precision)["none"], "run")


@tap.cases("other batches: %s", [case for case in CASES if case != ("full size", "bf16")])
def batches(model, precision):
    """Another order, and batches of another size."""
    records = MODELS[model][1]
    shuffled = [records[index] for index in np.random.default_rng(3).permutation(len(records))]
    with daemon_for(model, precision, "--max-batch-residues", "512") as daemon:
        check_pools(daemon, model, precision, shuffled)


def check_clients(daemon, model, precision, pool):
    """Eight clients at once, each with the records in another order."""
    _, records, hidden = MODELS[model]
    step = -(-len(records) // CLIENTS)
    orders = [records[k * step:] + records[:k * step] for k in range(CLIENTS)]
    if model != "small":
        orders = [order[:3] for order in orders]
    runs = []
    for number, order in enumerate(orders):
        path = programs.write_file("client%d.fasta" % number, programs.write_fasta(order))
        out = open(programs.in_work("client%d.raw" % number), "w+b")
        runs.append((order, out, start_filter(daemon, "-f", "raw", "-p", pool, path, stdout=out)))
    for order, out, process in runs:
        _, err = process.communicate(timeout=programs.PATIENCE)
        assert process.returncode == 0, err
        out.seek(0)
        with out:
            same(split(out.read(), order, pool, hidden), truth(model, precision)[pool], "client")


@tap.cases("8 clients at once: %s", CASES)
def clients(model, precision):
    with daemon_for(model, precision) as daemon:
        check_clients(daemon, model, precision, "none")
        if model == "small":
            check_clients(daemon, model, precision, "mean")


def daemon_facts(daemon):
    return json.loads(run_filter(daemon, "--status=json").stdout)


@tap.cases("over %s", ["io_uring", "epoll"])
def loops(loop):
    with daemon_for("small", "f32", ESM1NV_LOOP="epoll" if loop == "epoll" else None) as daemon:
        used = daemon_facts(daemon)["loop"]
        if loop == "io_uring" and not used.startswith(loop):
            raise tap.Skip("this machine has no io_uring: " + used)
        assert used.startswith(loop), used
        check_pools(daemon, "small", "f32")
        check_clients(daemon, "small", "f32", "none")
        with programs.Conversation(daemon, "-i", "lines") as conversation:
            for name, residues in PROTEINS[:10]:
                assert conversation.ask(name + "\t" + residues).startswith(name.encode() + b"\t")
            conversation.end().expect(0)


NEEDS = {"generic": (), "avx2": ("avx2", "fma"),
         "avx512": ("avx512f", "avx512dq", "avx512bw", "avx512vl"),
         "avx512bf16": ("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_bf16")}


def cpu_flags():
    with open("/proc/cpuinfo") as file:
        return next((line.split() for line in file if line.startswith("flags")), [])


@tap.cases("ESM1NV_CPU=%s", [(cpu, *case) for case in CASES for cpu in NEEDS])
def instruction_sets(cpu, model, precision):
    if not set(NEEDS[cpu]) <= set(cpu_flags()):
        raise tap.Skip("this CPU has no " + cpu)
    _, records, _ = MODELS[model]
    part = records[:12] if model == "small" else records[1:4]
    with daemon_for(model, precision, ESM1NV_CPU=cpu) as daemon:
        # avx512bf16 adds nothing to avx512 in f32, and where its self-test fails.
        used = daemon_facts(daemon)["instructions"]
        assert used.startswith(cpu.removesuffix("bf16")), used
        check_pools(daemon, model, precision, part)


tap.main(programs.finish)

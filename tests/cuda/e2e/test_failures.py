# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with an emulated GPU concerns the records that it must, and is told: letters, rows
that are not finite or do not fit float16, CUDA errors.
"""
import functools
import json

import emulated  # first: it finds the tools

import nemo_file
import programs
import tap
from emulated import RESIDUES, SMALL
from programs import run_filter

gpu_daemon = functools.partial(emulated.gpu_daemon, **SMALL)
LETTER, TOKEN = "W", 5 + "LASGVERTDIPKNFQYHMCWXBZUO".index("W")
COUNT = 8 if tap.SCALE >= 1 else 4
GOOD = [("good%d" % i, RESIDUES[i:i + 3 + 29 * i].replace(LETTER, "A")) for i in range(COUNT)]
BAD = [("bad%d" % i, residues[:2] + LETTER + residues[2:]) for i, (_, residues) in enumerate(GOOD)]
MIXED = [record for pair in zip(GOOD, BAD) for record in pair]


def spoilt_model(name, tensor, row, value):
    path = programs.in_work(name)
    config, tensors, _ = nemo_file.read_nemo(programs.TINY1)
    tensors["language_model." + tensor][row] = value
    nemo_file.write_nemo(path, config, tensors)
    return path


def embed(daemon, records, *options, expect=None):
    run = run_filter(daemon, "-f", "jsonl", *options, input=programs.write_fasta(records),
                     expect=expect)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    return run, {line["id"]: line.get("embedding", line.get("error")) for line in lines}


def only_bad_fail(daemon, pool, reason):
    _, alone = embed(daemon, GOOD, "-p", pool, expect=0)
    _, mixed = embed(daemon, MIXED, "-p", pool, expect=65)
    for name, rows in alone.items():
        assert mixed[name] == rows, "%s: %s: other rows beside bad records" % (pool, name)
    for name, _ in BAD:
        assert isinstance(mixed[name], str) and reason in mixed[name], (pool, name, mixed[name])


@tap.case("rows that are not finite fail their record alone")
def not_finite():
    model = spoilt_model("inf.nemo", "embedding.word_embeddings.weight", TOKEN, 3e38)
    with gpu_daemon(model=model) as daemon:
        for pool in ("mean", "max", "none"):
            only_bad_fail(daemon, pool, "not finite")


@tap.case("rows beyond float16 fail their record, in f16 output only")
def overflow():
    model = spoilt_model("large.nemo", "encoder.final_layernorm.bias", 5, 1e5)
    with gpu_daemon(model=model) as daemon:
        for pool in ("mean", "none"):
            run_filter(daemon, "-f", "raw", "-p", pool, input=programs.write_fasta(GOOD))
            run = run_filter(daemon, "-f", "raw", "--dtype", "f16", "-p", pool, expect=65,
                             input=programs.write_fasta(GOOD))
            assert not run.stdout and "float16" in run.stderr, run.stderr


@tap.case("a letter that the model lacks fails its record alone")
def letters():
    with gpu_daemon() as daemon:
        _, lines = embed(daemon, [("a", "MKT"), ("b", "MJT"), ("c", "AAA")], expect=65)
    assert isinstance(lines["a"], list) and isinstance(lines["c"], list)
    assert isinstance(lines["b"], str) and "J" in lines["b"], lines["b"]


@functools.lru_cache(maxsize=None)
def truth():
    with gpu_daemon("--max-batch-residues", "512") as daemon:
        return embed(daemon, GOOD, expect=0)[1]


@tap.cases("a CUDA error (%s) fails a batch, and the GPU is opened again", [
    "cudaGraphLaunch:3:700:sticky", "kernel:120:719:sticky", "cudaEventSynchronize:14:2",
])
def cuda_error(fault):
    right = truth()
    failed = since = 0
    with gpu_daemon("--max-batch-residues", "512", EMULATION_FAIL=fault) as daemon:
        for _ in range(60):  # how many batches they make up, and so when it fails, is open
            run, lines = embed(daemon, GOOD)
            assert run.status in (0, 65), run.stderr
            for name, rows in lines.items():
                failed += isinstance(rows, str)
                assert isinstance(rows, str) or rows == right[name], name + ": other rows"
            assert len(lines) == len(GOOD)
            since += failed > 0
            if since > 3:
                break
        run.expect(0)  # the last is whole again
        print("# %d records failed" % failed)
        assert failed, "the error was not met"


@tap.case("a GPU that cannot be opened again gives way to the CPU, and no stream mixes the two")
def lost_gpu():
    with gpu_daemon("--max-batch-residues", "512",
                    EMULATION_FAIL="kernel:60:719:sticky:99") as daemon:
        for _ in range(60):
            run, _ = embed(daemon, GOOD)
            assert run.status in (0, 65, 75), run.stderr
            state = json.loads(run_filter(daemon, "--status=json").stdout)
            if state["backend"] == "cpu":
                break
        assert state["backend"] == "cpu" and "cudaErrorLaunchFailure" in state["note"], state
        embed(daemon, GOOD, expect=0)


tap.main(programs.finish)

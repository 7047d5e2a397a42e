# SPDX-License-Identifier: Apache-2.0
"""The model is replaced and reloaded by SIGHUP while filters stream: each gives byte for byte the
output of the model that it began with, whatever is loaded and closed meanwhile.
"""
import os

import programs
import tap
from programs import TINY1, TINY2, Daemon, ReplacedModel, run_filter, start_filter

RELOADS = 4
RECORDS = max(160, round(600 * tap.SCALE))
PROTEINS = [body for _, body in programs.read_fasta(programs.PROTEINS)]
LINES = programs.short_lines(RECORDS, 2, 39)


def other_than(model):
    return TINY1 if model == TINY2 else TINY2


def status_of(daemon):
    return run_filter(daemon, "--status=json").stdout


def arguments_of(form, pool, name):
    output, index = programs.in_work(name + ".out"), programs.in_work(name + ".index")
    return ["-i", "lines", "-f", form, "-p", pool, "-o", output, "--index", index], output, index


def outcome(process, files):
    out, err = process.communicate(timeout=programs.PATIENCE)
    assert out == b"", out[:100]
    assert process.returncode == 0, (process.returncode, err)
    return [programs.read_file(path) for path in files]


def undisturbed(model, form, pool):
    arguments, *files = arguments_of(form, pool, "calm")
    with Daemon("-b", "cpu", model=model) as daemon:
        process = start_filter(daemon, *arguments)
        process.stdin.write(b"".join(LINES))
        return outcome(process, files)


def disturbed(form, pool):
    """[(model, outcome)] of filters that begin one after the other, each after a reload, and all
    stream on through the reloads that follow."""
    running = []
    with ReplacedModel(model=TINY2) as daemon:
        part = len(LINES) // (RELOADS + 1)
        for number in range(RELOADS + 1):
            arguments, *files = arguments_of(form, pool, "stream%d" % number)
            running.append((daemon.serves, start_filter(daemon, *arguments), files))
            for begun, (_, process, _) in enumerate(running):
                at = (number - begun) * part
                process.stdin.write(b"".join(LINES[at:at + part]))
                process.stdin.flush()
            if number < RELOADS:
                daemon.wait_status(lambda status: status["clients"] == number + 1)
                daemon.reload(other_than(daemon.serves))
        for begun, (_, process, _) in enumerate(running):
            process.stdin.write(b"".join(LINES[(RELOADS + 1 - begun) * part:]))
        return [(model, outcome(process, files)) for model, process, files in running]


@tap.cases("each output is of the model its stream began with: %s",
           [(form, pool) for form in ("tsv", "jsonl", "raw", "npy", "msgpack", "h5")
            for pool in ("mean", "none")])
def streams(form, pool):
    try:
        calm = {model: undisturbed(model, form, pool) for model in (TINY1, TINY2)}
    except AssertionError as problem:
        programs.need_format(form, str(problem))
        raise
    assert calm[TINY1][0] != calm[TINY2][0]
    for number, (model, got) in enumerate(disturbed(form, pool)):
        assert got == calm[model], "stream %d differs" % number


@tap.case("filters that pool windows begin while the model changes")
def windows():
    """They have two sessions, which must be of one model."""
    sequence = (PROTEINS[0] * 9)[:1200].encode()
    wanted = {}
    for model in (TINY1, TINY2):
        with Daemon("-b", "cpu", model=model) as daemon:
            wanted[run_filter(daemon, "-i", "lines", "--long", "window", input=sequence).stdout] = 0
    with ReplacedModel() as daemon:
        rounds = max(10, round(40 * tap.SCALE))
        while rounds > 0 or not all(wanted.values()):
            rounds -= 1
            assert rounds > -100, wanted.values()
            process = start_filter(daemon, "-i", "lines", "--long", "window")
            daemon.hang_up()
            daemon.put(other_than(daemon.serves))
            out, err = process.communicate(sequence, timeout=programs.PATIENCE)
            assert process.returncode == 0, err
            wanted[out] += 1


@tap.case("--status shows what new clients get")
def status():
    with ReplacedModel() as daemon, start_filter(daemon) as process:
        daemon.wait_status(lambda status: status["clients"] == 1)
        text = status_of(daemon)
        assert b'"generation":1,' in text and b'"note":"",' in text, text
        daemon.reload(TINY2)
        text = status_of(daemon)
        assert b'"generation":2,' in text and b'"clients_before":1,' in text, text
        table = run_filter(daemon, "--status").stdout
        assert b"note" not in table and b"clients_before     1\n" in table, table
        os.unlink(daemon.file)
        daemon.hang_up()
        daemon.wait_status(lambda status: "the last reload failed" in status["note"])
        assert b"No such file" in run_filter(daemon, "--status").stdout
        process.stdin.close()


tap.main(programs.finish)

# SPDX-License-Identifier: Apache-2.0
#
# The streams of a soak: filters of several users, every output format with rows and pooled, by ring
# or record by record. What each gives is compared with what it gave when nothing else went on.
import contextlib
import itertools
import os
import random
import subprocess

from hostile import FILTER_ENVIRONMENT, check, equal, fasta, sequence

RECORDS = 100
BURSTS = 20  # in which a stream comes that is to meet the end of a daemon
PATIENCE = 180
FORMATS = ("tsv", "jsonl", "raw", "npy", "msgpack", "h5")
KINDS = list(itertools.product(FORMATS, ("mean", "none")))
TALK = [sequence(1 + i * 53 % 200, i) + b"\n" for i in range(40)]
INPUT = fasta(RECORDS) + b">bad\nMK-T\n"
NAMES = ("streams", "streams over restarts", "conversations over restarts")
order = itertools.count()


def identity(user):
    """What makes a subprocess that user's."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def start_filter(soak, path, user, *arguments, **more):
    """The filter as that user, in a folder of its own, its stdin a pipe."""
    folder = os.path.join(soak.folder, str(user))
    if not os.path.isdir(folder):
        os.makedirs(folder, exist_ok=True)
        if user is not None:
            os.chown(folder, user, user)
    return subprocess.Popen([os.path.join(soak.folder, "esm1nv"), "--socket", path, "--wait", "120",
                             *arguments], cwd=folder, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=FILTER_ENVIRONMENT, **identity(user), **more)


def end_of(process, text=b""):
    """(stdout, stderr) of a filter that must end by itself."""
    try:
        return process.communicate(text, timeout=PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


class NobodyThere(Exception):
    """A filter that began while its daemon was dead: nobody ever answered it."""


def check_end(process, said, wanted):
    if process.returncode == 69 and b"no daemon answers" in said:
        raise NobodyThere
    equal((process.returncode, said[-500:] if process.returncode != wanted else b""), (wanted, b""))


def stream(soak, path, kind, user, slowly):
    """The output and the index of one stream."""
    form, pool = kind
    name = f"{next(order)}"
    process = start_filter(soak, path, user, "-f", form, "-p", pool, "-o", name, "--index",
                           name + ".index")
    size = len(INPUT) // BURSTS + 1
    with contextlib.suppress(BrokenPipeError):  # it says itself why it left
        for begin in range(0, len(INPUT), size) if slowly else ():
            process.stdin.write(INPUT[begin:begin + size])
            process.stdin.flush()
            soak.end.wait(0.1)
    _, said = end_of(process, b"" if slowly else INPUT)
    check_end(process, said, 65)
    result = []
    for file in (name, name + ".index"):
        file = os.path.join(soak.folder, str(user), file)
        with open(file, "rb") as opened:
            result.append(opened.read())
        os.unlink(file)
    return result


def conversation(soak, path, user):
    """What is answered to a line, before the next one is sent."""
    process = start_filter(soak, path, user, "-i", "lines", "-f", "jsonl", bufsize=0)
    answers = []
    with contextlib.suppress(BrokenPipeError):
        for line in TALK:
            process.stdin.write(line)
            answers.append(process.stdout.readline())
            soak.end.wait(0.05)
    _, said = end_of(process)
    check_end(process, said, 0)
    return answers


def undisturbed(soak, path):
    """{kind: what it gives}; None is the conversation."""
    wanted = {}
    for kind in KINDS:
        try:
            wanted[kind] = stream(soak, path, kind, soak.users[0], False)
        except AssertionError as problem:
            if kind[0] != "h5" or "module" not in str(problem):
                raise  # else built without HDF5
    wanted[None] = conversation(soak, path, soak.users[0])
    return wanted


def run_one(soak, path, user, restarts):
    kind = random.choice([kind for kind in soak.wanted if kind])
    try:
        got = stream(soak, path, kind, user, restarts)
    except NobodyThere:
        if not restarts:
            raise
        return
    check(got == soak.wanted[kind], f"{kind}: another output")
    soak.count("streams over restarts" if restarts else "streams")


def talk(soak, path, user):
    try:
        got = conversation(soak, path, user)
    except NobodyThere:
        return
    check(got == soak.wanted[None], "other answers")
    soak.count("conversations over restarts")

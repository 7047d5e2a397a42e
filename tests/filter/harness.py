# SPDX-License-Identifier: Apache-2.0
#
# What the filter's tests share: running the program (always with a time limit), a temporary folder
# that goes at the end, and the rows that fake_esm1nv.c makes up.
import atexit
import fcntl
import math
import os
import shutil
import subprocess
import sys
import tempfile
import termios
import time

import numpy as np

from patience import PATIENCE as LIMIT

PROGRAM = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else "esm1nv-fake"
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "fasta")
HIDDEN = 8
ALPHABET = b"LAGVSERTIDPKQNFYMHWCXBUZO"

folder = tempfile.mkdtemp(prefix="esm1nv-test-")
atexit.register(shutil.rmtree, folder, ignore_errors=True)
for name in [name for name in os.environ if name.startswith(("FAKE_", "ESM1NV_"))]:
    del os.environ[name]


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err


def environment(settings):
    return dict(os.environ, **{name: str(value) for name, value in settings.items()})


def run(*arguments, stdin=b"", **settings):
    """Runs the program; keyword arguments are its environment."""
    done = subprocess.run([PROGRAM, *arguments], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment(settings), timeout=LIMIT)
    return Result(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


def start(*arguments, **settings):
    """Starts it with pipes; the caller ends it."""
    return subprocess.Popen([PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=environment(settings))


def wait_until_taken(pipe, process):
    """Until the other end has read all that was written, or is gone."""
    left = bytearray(4)
    while True:
        fcntl.ioctl(pipe, termios.FIONREAD, left)
        if not any(left) or process.poll() is not None:
            return
        time.sleep(0)


def path(name):
    return os.path.join(folder, name)


def write(name, data):
    with open(path(name), "wb") as file:
        file.write(data)
    return path(name)


def read(name):
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def data(name):
    return os.path.join(DATA, name)


def index_of(*arguments, **settings):
    """The lines of --index, split; the output goes away."""
    file = path("index")
    result = run("-o", "/dev/null", "--index", file, *arguments, **settings)
    lines = read("index").decode().split("\n") if os.path.exists(file) else []
    if os.path.exists(file):
        os.remove(file)
    return result, [line.split("\t") for line in lines[1:-1]]


def rows_of(residues, pooling="mean", hidden=HIDDEN):
    """What fake_esm1nv.c answers; a zero byte is a letter it does not know."""
    letters = np.frombuffer(residues, np.uint8).astype(np.int64)[:, None]
    places = np.arange(len(residues))[:, None]
    values = (letters * 31 + places * 7 + np.arange(hidden) * 3) % 401 - 200
    if pooling == "max":
        values = values.max(axis=0)[None]
    elif pooling == "bos":
        values = values[:1]
    elif pooling == "mean":
        values = np.array([[sum_of(column) for column in values.T]])
    return (values / 64).astype(np.float32)


def sum_of(column):
    total = 0
    for value in column:
        total = int(math.fmod(total + int(value), 1024))
    return total

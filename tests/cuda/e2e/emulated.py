# SPDX-License-Identifier: Apache-2.0
"""Daemons whose CUDA backend runs in the emulation. Import this first: it finds the tools."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))

import programs  # noqa: E402

PLUGIN = os.environ["ESM1NV_EMULATED"]
HIDDEN = 128  # of both small models
SMALL = {"EMULATION_MEMORY": str(40 << 20)}  # room for batches of 512 only: soon opened
RESIDUES = "".join(residues for _, residues in programs.read_fasta(programs.PROTEINS))[:2000]


def variables(**more):
    """The environment of a daemon with an emulated GPU; nothing of it touches the user's cache."""
    return {"ESM1NV_CUDA_PLUGIN": PLUGIN, "CACHE_DIRECTORY": None,
            "XDG_CACHE_HOME": programs.in_work("cache"), **more}


def gpu_daemon(*options, model=programs.TINY2, backend="cuda", **more):
    return programs.Daemon("-b", backend, *options, model=model, **variables(**more))


def check(*options, model=programs.TINY1, **more):
    """esm1nvd --check: its exit status, facts by name, and what it said."""
    run = subprocess.run([programs.DAEMON, "--check", "--model", model, *options],
                         stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         timeout=programs.PATIENCE, env=programs.environment(**variables(**more)))
    programs.check_stderr(run.stderr)
    facts = dict(line.split(": ", 1) for line in run.stdout.splitlines())
    return run.returncode, facts, run.stderr

# SPDX-License-Identifier: Apache-2.0
"""What the model tests share: a scratch folder, and the program that dumps what was loaded."""
import hashlib
import json
import os
import subprocess
import sys
import tempfile

import nemo_file
from patience import PATIENCE
from tap import finish, report

FOLDER = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(FOLDER, "..", "data", "models")


class Cases:
    """Collects models to open, opens them all in one process, and judges what came back."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.cases = []

    def path(self):
        return os.path.join(self.folder.name, f"{len(self.cases)}.nemo")

    def add(self, name, judge, specification=None):
        """judge(loaded) returns None or what is wrong. Without a specification, the model lies at
        path(), written before this call."""
        self.cases.append((name, judge, specification or self.path()))

    def add_nemo(self, name, judge, *arguments, **options):
        nemo_file.write_nemo(self.path(), *arguments, **options)
        self.add(name, judge)

    def add_bytes(self, name, judge, data):
        with open(self.path(), "wb") as file:
            file.write(data)
        self.add(name, judge)

    def run(self):
        names = "".join(specification + "\n" for _, _, specification in self.cases)
        done = subprocess.run([sys.argv[1]], input=names.encode(), stdout=subprocess.PIPE,
                              timeout=5 * PATIENCE, check=False)
        # The last line may be cut short, where the program crashed.
        lines = done.stdout.decode(errors="replace").split("\n")[:-1]
        self.folder.cleanup()
        for number, (name, judge, specification) in enumerate(self.cases):
            if number < len(lines):
                wrong = judge(json.loads(lines[number]), specification)
            else:
                wrong = f"the program ended before, with status {done.returncode}"
            report(name, [wrong] if wrong else [])
        if done.returncode != 0 or len(lines) != len(self.cases):
            raise SystemExit(f"Bail out! status {done.returncode}, {len(lines)} models were read")
        finish()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def small_config(**more):
    """As small as the family allows."""
    base = {"ffn": 64, "positions": 8, "make_vocab_size_divisible_by": 32}
    return nemo_file.esm1nv_config(1, 64, **{**base, **more})

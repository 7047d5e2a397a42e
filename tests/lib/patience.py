# SPDX-License-Identifier: Apache-2.0
"""How long tests wait, on machines that are busy with other work and in builds that sanitizers make
slow. What must happen is waited for with PATIENCE, which only a fault uses up; what must be quick
has a limit from at_most(); where that limit cannot be wide, quickest() takes several attempts.
"""
import contextlib
import os
import time

SANITIZED = os.environ.get("ESM1NV_SANITIZE", "none") != "none"
SLOWNESS = 5 if SANITIZED else 1
PATIENCE = 120 * SLOWNESS  # seconds


def at_most(seconds):
    """The limit for what takes less than that on an idle machine without sanitizers."""
    return 4 * SLOWNESS * seconds


def wait_until(predicate, what="what was waited for"):
    """Returns what the predicate gave when it was true. what: a text, or a function that makes it."""
    until = time.monotonic() + PATIENCE
    while not (value := predicate()):
        if time.monotonic() > until:
            raise AssertionError("never: %s" % (what() if callable(what) else what))
        time.sleep(0.01)
    return value


def quickest(measure, limit, attempts=5):
    """Of what measure() returns, the least of some attempts must be below the limit: work beside the
    test lengthens some of them, a fault all."""
    seen = []
    while not seen or seen[-1] >= limit:
        assert len(seen) < attempts, "%s, not one below %s" % (seen, limit)
        seen.append(measure())


def gone():
    """Passes over an entry of /proc that was listed, and has ended before it was read."""
    return contextlib.suppress(FileNotFoundError, ProcessLookupError)

# SPDX-License-Identifier: Apache-2.0
"""Test cases in TAP: functions marked with @case run in order; an exception fails its case and the
rest goes on; Skip skips.

ESM1NV_TEST_SCALE (0 to 1, 1 when unset) says how much of the slow work to do; builds with
sanitizers run less of it.
"""
import os
import sys
import time
import traceback

SCALE = float(os.environ.get("ESM1NV_TEST_SCALE", "1"))
_cases = []


class Skip(Exception):
    pass


def case(name):
    def register(function):
        _cases.append((name, function))
        return function
    return register


def cases(name, values):
    """One case per value, handed to the function (a tuple: its arguments); name has a %s for it."""
    def register(function):
        for value in values:
            arguments = value if isinstance(value, tuple) else (value,)
            label = name % ", ".join(map(str, arguments))
            _cases.append((label, lambda arguments=arguments: function(*arguments)))
        return function
    return register


def _run(number, name, function):
    begin = time.monotonic()
    try:
        function()
    except Skip as reason:
        print("ok %d - %s # SKIP %s" % (number, name, reason), flush=True)
        return True
    except Exception:
        for line in traceback.format_exc().splitlines()[-30:]:
            print("# " + line)
        print("not ok %d - %s" % (number, name), flush=True)
        return False
    print("# %.1f s" % (time.monotonic() - begin))
    print("ok %d - %s" % (number, name), flush=True)
    return True


def main(finish=None):
    """Runs all cases, then finish(), which may fail as one more case."""
    if finish:
        _cases.append(("nothing is left behind", finish))
    selected = os.environ.get("ESM1NV_TEST_CASE", "")  # a substring of names, for people
    chosen = [(name, function) for name, function in _cases if selected in name]
    print("1..%d" % len(chosen))
    results = [_run(number, *item) for number, item in enumerate(chosen, 1)]
    sys.exit(not all(results))

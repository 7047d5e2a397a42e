# SPDX-License-Identifier: Apache-2.0
"""Test cases in TAP. Most programs mark functions with @case: main() runs them in order, an exception
fails its case and the rest goes on, Skip skips. Scripts name a section() before the lines that it
holds, where a check that fails is told and the lines go on; others report() what they found. Both
end with finish().

ESM1NV_TEST_SCALE (0 to 1, 1 when unset) says how much of the slow work to do; builds with
sanitizers run less of it. ESM1NV_TEST_CASE, for people, is part of the names of the cases to run.
"""
import os
import sys
import time
import traceback

SCALE = float(os.environ.get("ESM1NV_TEST_SCALE", "1"))
_cases = []  # to run
_said = []  # whether each of those that are over was well
_section = None  # its name and its faults


class Skip(Exception):
    pass


def report(name, faults=(), skip=None):
    """One case that is over."""
    _said.append(not faults)
    for line in [line for fault in faults or () for line in str(fault).split("\n")][:30]:
        print("# " + line)
    print("%sok %d - %s%s" % ("not " if faults else "", len(_said), name,
                              " # SKIP %s" % skip if skip else ""), flush=True)


def case(name):
    """@case("name"), or @case, and the function's name is it."""
    def register(function):
        _cases.append((name, function))
        return function

    if callable(name):
        function, name = name, name.__name__.replace("_", " ")
        return register(function)
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


def _run(name, function):
    begin = time.monotonic()
    try:
        function()
        print("# %.1f s" % (time.monotonic() - begin))
        report(name)
    except Skip as reason:
        report(name, skip=reason)
    except Exception:
        report(name, traceback.format_exc().splitlines()[-30:])


def main(end=None):
    """Runs all cases, then end(), which may fail as one more case."""
    if end:
        _cases.append(("nothing is left behind", end))
    selected = os.environ.get("ESM1NV_TEST_CASE", "")
    for name, function in _cases:
        if selected in name:
            _run(name, function)
    finish()


def section(name):
    global _section
    if _section:
        report(*_section)
    _section = name, []


def finish():
    """The plan, at the end, and the program's."""
    if _section:
        report(*_section)
    print("1..%d" % len(_said))
    sys.exit(not all(_said))


def check(condition, *what):
    """what: why it fails, as for print()."""
    if condition:
        return
    text = " ".join(map(str, what))
    if not _section:
        raise AssertionError(text)
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__:
        frame = frame.f_back
    _section[1].append("line %d: %s" % (frame.f_lineno, text[:2000]))


def equal(got, wanted, *what):
    check(got == wanted, *what, "got", repr(got)[:900], "wanted", repr(wanted)[:900])

# SPDX-License-Identifier: Apache-2.0
"""What nvcc makes of each kernel, against a table that is kept: registers may not rise unseen, for
they decide how many blocks a multiprocessor holds, and nothing may spill or lie on a stack. Each
VERSION of the toolkit has its own columns.

    test_registers.py TABLE VERSION LOG...            compares; a TAP test
    test_registers.py --write TABLE VERSION LOG...    accepts what is
"""
import re
import subprocess
import sys

import tap

COMPILING = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
HEADER = """\
# SPDX-License-Identifier: Apache-2.0
# Written by test_registers.py --write. For each kernel, version of nvcc and architecture: the
# registers of a thread + the bytes of shared memory of a block.
"""


def demangle(names):
    run = subprocess.run(["c++filt", "-p"], input="\n".join(names), capture_output=True, text=True,
                         check=True)
    return dict(zip(names, (name.replace(" ", "") for name in run.stdout.splitlines())))


def measure(version, paths):
    """{(version/architecture, kernel): (registers, bytes of shared memory, of stack and spills)}"""
    kernels, key, stack = {}, None, 0
    for path in paths:
        with open(path) as log:
            for line in log:
                if found := COMPILING.search(line):
                    key = found.group(2), found.group(1)
                elif found := STACK.search(line):
                    stack = sum(map(int, found.groups()))
                elif key and (found := USED.search(line)):
                    shared = SHARED.search(line)
                    kernels[key] = int(found.group(1)), int(shared.group(1)) if shared else 0, stack
                    key, stack = None, 0
    names = demangle(sorted({name for _, name in kernels}))
    return {(version + "/" + sm, names[name]): use for (sm, name), use in kernels.items()}


def read_table(path):
    """{(version/architecture, kernel): (registers, shared)}"""
    with open(path) as file:
        (_, *columns), *rows = (line.split() for line in file if not line.startswith("#"))
    return {(column, kernel): tuple(map(int, use.split("+")))
            for kernel, *uses in rows for column, use in zip(columns, uses) if use != "-"}


def write_table(path, kernels):
    columns = sorted({column for column, _ in kernels})
    names = sorted({name for _, name in kernels})
    width = max(map(len, names))
    with open(path, "w") as file:
        file.write(HEADER)
        for name in ["kernel", *names]:
            uses = columns if name == "kernel" else [
                "%d+%d" % kernels[column, name][:2] if (column, name) in kernels else "-"
                for column in columns]
            file.write(" ".join([name.ljust(width), *(use.rjust(10) for use in uses)]) + "\n")


def complaint(key, use, table):
    registers, shared, stack = use
    if stack:
        return ["%d bytes of stack or spills" % stack]
    if key not in table:
        return ["not in the table"]
    if registers > table[key][0] or shared > table[key][1]:
        return ["%d registers and %d bytes of shared memory, not %d and %d" % (
            registers, shared, *table[key])]
    return []


def main(path, version, *logs):
    if path == "--write":
        path, version, *logs = version, *logs
    kernels, table = measure(version, logs), read_table(path)
    own = {key: use for key, use in table.items() if key[0].startswith(version + "/")}
    if sys.argv[1] == "--write":
        write_table(path, {**{key: use for key, use in table.items() if key not in own}, **kernels})
        return
    print("# to accept what is: /usr/bin/python3 %s --write %s %s LOG..." % (
        sys.argv[0], path, version))
    for key, use in sorted(kernels.items()):
        tap.report("%s %s" % key, complaint(key, use, own))
    tap.report("the table names no other kernel",
               ["gone: %s %s" % key for key in sorted(set(own) - set(kernels))])
    tap.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])

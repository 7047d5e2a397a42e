# SPDX-License-Identifier: Apache-2.0
"""What nvcc makes of each kernel, against a table that is kept: registers may not rise unseen, for
they decide how many blocks a multiprocessor holds, and nothing may spill or lie on a stack. Another
toolkit has another table.

    test_registers.py TABLE LOG...            compares; a TAP test
    test_registers.py --write TABLE LOG...    accepts what is
"""
import re
import subprocess
import sys

COMPILING = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
HEADER = """\
# SPDX-License-Identifier: Apache-2.0
# Written by test_registers.py --write. For each kernel and architecture: the registers of a thread +
# the bytes of shared memory of a block.
"""


def demangle(names):
    run = subprocess.run(["c++filt", "-p"], input="\n".join(names), capture_output=True, text=True,
                         check=True)
    return dict(zip(names, (name.replace(" ", "") for name in run.stdout.splitlines())))


def read_logs(paths):
    """{(architecture, mangled name): (registers, bytes of shared memory, of stack and spills)}"""
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
    return kernels


def measure(paths):
    """{(architecture, kernel): (registers, shared, stack)}"""
    kernels = read_logs(paths)
    names = demangle(sorted({name for _, name in kernels}))
    return {(sm, names[name]): use for (sm, name), use in kernels.items()}


def read_table(path):
    """{(architecture, kernel): (registers, shared)}"""
    with open(path) as file:
        (_, *architectures), *rows = (line.split() for line in file if not line.startswith("#"))
    return {(sm, kernel): tuple(map(int, use.split("+")))
            for kernel, *uses in rows for sm, use in zip(architectures, uses) if use != "-"}


def write_table(path, kernels):
    architectures = sorted({sm for sm, _ in kernels})
    names = sorted({name for _, name in kernels})
    rows = [["kernel", *architectures]]
    for name in names:
        uses = [kernels.get((sm, name)) for sm in architectures]
        rows.append([name, *("%d+%d" % use[:2] if use else "-" for use in uses)])
    width = max(map(len, names))
    with open(path, "w") as file:
        file.write(HEADER)
        for name, *uses in rows:
            file.write(" ".join([name.ljust(width), *(use.rjust(9) for use in uses)]) + "\n")


def complaint(key, use, table):
    registers, shared, stack = use
    if stack:
        return "%d bytes of stack or spills" % stack
    if key not in table:
        return "not in the table"
    if registers > table[key][0] or shared > table[key][1]:
        return "%d registers and %d bytes of shared memory, not %d and %d" % (
            registers, shared, *table[key])
    return None


def compare(path, kernels):
    table, failed = read_table(path), False
    gone = sorted(set(table) - set(kernels))
    print("1..%d" % (len(kernels) + 1))
    for number, (key, use) in enumerate(sorted(kernels.items()), 1):
        fault = complaint(key, use, table)
        failed |= fault is not None
        print("%s %d - %s %s" % ("not ok" if fault else "ok", number, *key))
        if fault:
            print("# " + fault)
    print("%s %d - the table names no other kernel" % ("not ok" if gone else "ok",
                                                       len(kernels) + 1))
    for key in gone:
        print("# gone: %s %s" % key)
    if failed or gone:
        print("# to accept what is: /usr/bin/python3 %s --write %s LOG..." % (sys.argv[0], path))
    return 1 if failed or gone else 0


def main(arguments):
    if arguments[0] == "--write":
        write_table(arguments[1], measure(arguments[2:]))
        return 0
    return compare(arguments[0], measure(arguments[1:]))


sys.exit(main(sys.argv[1:]))

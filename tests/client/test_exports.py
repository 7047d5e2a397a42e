# SPDX-License-Identifier: Apache-2.0
"""What libesm1nv.so looks like from outside: its exports, what it needs, and its header.

    test_exports.py LIBRARY HEADER       prints TAP
"""
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tap import finish, report

library, header = sys.argv[1:]


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def check_exports():
    declared = set(re.findall(r"\b(esm1nv_\w+)\(", re.sub(r"/\*.*?\*/", "", text, flags=re.S)))
    exported = set()
    for line in output_of("nm", "-D", "--defined-only", library).splitlines():
        symbol, kind = line.split()[-1], line.split()[-2]
        if kind != "A":  # the version itself
            exported.add(symbol)
    problem = exported ^ {name + "@@ESM1NV_0" for name in declared}
    report("exports exactly what the header declares, versioned", sorted(problem))


def check_needs():
    dynamic = output_of("readelf", "-d", library)
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))
    sanitizers = {name for name in needed if re.match(r"lib(a|ub|t)san\.so|libclang_rt", name)}
    if sanitizers:
        report("needs nothing but the C library", skip="built with a sanitizer")
    else:
        report("needs nothing but the C library", sorted(needed - {"libc.so.6"}))
    soname = re.findall(r"SONAME.*\[(.*)\]", dynamic)
    report("is libesm1nv.so.0", [] if soname == ["libesm1nv.so.0"] else soname or ["none"])


def check_compiles(name, compilers, arguments, suffix):
    compiler = next((found for found in map(shutil.which, compilers) if found), None)
    if not compiler:
        report(name, skip="no compiler")
        return
    source = ('#include "esm1nv.h"\n'
              "struct esm1nv_options options = ESM1NV_OPTIONS_INIT;\n"
              "int use(void);\n"
              "int use(void) { return esm1nv_version()[0] + (int)options.size; }\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("use" + suffix)
        path.write_text(source)
        done = subprocess.run(
            [compiler, *arguments, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only",
             "-I", str(Path(header).parent), str(path)], capture_output=True, text=True)
        report(name, [done.stderr] if done.returncode else [])


text = Path(header).read_text()
check_exports()
check_needs()
check_compiles("the header is C11", ["cc", "gcc", "clang"], ["-std=c11"], ".c")
check_compiles("the header is C++11", ["c++", "g++", "clang++"], ["-std=c++11"], ".cc")
finish()

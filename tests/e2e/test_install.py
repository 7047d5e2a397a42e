# SPDX-License-Identifier: Apache-2.0
"""`meson install`: everything lies where it belongs, the installed programs work together, and a C
program builds against the library by pkg-config alone.
"""
import os
import re
import shlex
import shutil
import subprocess

import numpy as np

import programs
import tap
from programs import Daemon, run_filter

BUILD = os.environ["ESM1NV_BUILD"]
SANITIZE = os.environ["ESM1NV_SANITIZE"]
PROGRAM = r"""
#include <esm1nv.h>
#include <stdio.h>
int main(int argc, char **argv) {
    struct esm1nv_options options = ESM1NV_OPTIONS_INIT;
    esm1nv_session *session;
    struct esm1nv_result result;
    options.socket = argv[1];
    if (argc != 3 || esm1nv_connect(&session, &options) != 0 ||
        esm1nv_submit(session, 7, argv[2], 10) != 0 ||
        esm1nv_next(session, &result, 60000) != 0 || result.tag != 7)
        return 1;
    fwrite(result.rows, 1, result.bytes, stdout);
    esm1nv_release(session, &result);
    esm1nv_close(session);
    return 0;
}
"""
destination = programs.in_work("installed")


def installed(name):
    """The one installed file of this name."""
    found = [os.path.join(folder, name) for folder, _, files in os.walk(destination)
             if name in files]
    assert len(found) == 1, "%s: %s" % (name, found)
    return found[0]


def call(*command, **keywords):
    run = subprocess.run(command, capture_output=True, timeout=programs.PATIENCE, **keywords)
    assert run.returncode == 0, run
    return run.stdout


@tap.case("programs, library, header, pkg-config file and manual pages are installed")
def layout():
    call("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", destination)
    for name in ("esm1nv", "esm1nvd", "esm1nv.h", "esm1nv.pc", "libesm1nv.so", "libesm1nv.so.0"):
        installed(name)
    for name in ("esm1nv.1", "esm1nvd.8"):
        page = installed(name)
        assert "man/man" + name[-1] in page
        text = subprocess.run(["man", "--warnings", page], capture_output=True, text=True,
                              env=programs.environment(MANWIDTH="100", LC_ALL="C.UTF-8"))
        assert text.returncode == 0 and text.stderr == "" and "NAME" in text.stdout, text.stderr


@tap.case("the installed programs work together")
def work():
    programs.FILTER, programs.DAEMON = installed("esm1nv"), installed("esm1nvd")
    with Daemon() as daemon:
        assert run_filter(daemon, input=b"MKTAYIAKQR\n").stdout.startswith(b"1\t")


@tap.case("a C program uses the library by pkg-config")
def library():
    if SANITIZE != "none":
        raise tap.Skip("the library needs its sanitizer in the program")
    variables = programs.environment(PKG_CONFIG_SYSROOT_DIR=destination,
                                     PKG_CONFIG_LIBDIR=os.path.dirname(installed("esm1nv.pc")),
                                     LD_LIBRARY_PATH=os.path.dirname(installed("libesm1nv.so.0")))
    source, binary = programs.in_work("use.c"), programs.in_work("use")
    with open(source, "w") as file:
        file.write(PROGRAM)
    flags = shlex.split(call("pkg-config", "--cflags", "--libs", "esm1nv", env=variables).decode())
    call("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", source, "-o", binary, *flags)
    with Daemon() as daemon:
        row = call(binary, daemon.socket, "MKTAYIAKQR", env=variables)
        assert row == run_filter(daemon, "-f", "raw", input=b"MKTAYIAKQR\n").stdout
    assert len(np.frombuffer(row, "<f4")) == 128


@tap.case("systemd finds no fault with the units")
def units():
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        raise tap.Skip("no systemd-analyze")
    variables = programs.environment(XDG_RUNTIME_DIR=programs.in_work("."),
                                     MANPATH=os.path.dirname(os.path.dirname(
                                         installed("esm1nvd.8"))))
    program = installed("esm1nvd")
    for kind, path in unit_files():
        folder = programs.in_work(kind + "-units")
        os.makedirs(folder, exist_ok=True)
        with open(path) as template, open(os.path.join(folder, os.path.basename(path)), "w") as unit:
            unit.write(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=" + program, template.read()))
    for kind in ("system", "user"):
        folder = programs.in_work(kind + "-units")
        run = subprocess.run([analyze, "--" + kind, "verify",
                              *(os.path.join(folder, name) for name in sorted(os.listdir(folder)))],
                             capture_output=True, text=True, env=variables)
        assert (run.returncode, run.stdout, run.stderr) == (0, "", ""), run
    exposed = subprocess.run([analyze, "security", "--offline=true", "--threshold=20",
                              programs.in_work("system-units/esm1nvd.service")],
                             capture_output=True, text=True, env=variables)
    assert exposed.returncode == 0, exposed.stdout


def unit_files():
    for folder, _, files in os.walk(destination):
        kind = os.path.basename(folder)
        if os.path.basename(os.path.dirname(folder)) == "systemd":
            yield from ((kind, os.path.join(folder, name)) for name in files)


tap.main(programs.finish)

# SPDX-License-Identifier: Apache-2.0
"""The daemon on machines that lack something for CUDA: `cuda` ends with 78 and the reason, `auto`
says it in one line and uses the CPU, and nothing crashes. With the real plugin where nvcc built it,
as far as a machine without a GPU can show it, and with the emulated one.
"""
import os
import shutil
import subprocess

import emulated  # first: it finds the tools

import programs
import tap
from emulated import PLUGIN, check

REAL = os.environ["ESM1NV_REAL"]
TOOLKIT = os.environ["ESM1NV_TOOLKIT"].split(":")


def refused(words, **machine):
    """The reason is told by both."""
    status, facts, said = check("-b", "cuda", **machine)
    assert status == 78 and not facts and said.count("\n") == 1, (status, said)
    for word in words:
        assert word in said, said
    status, facts, said = check(**machine)
    assert (status, facts["backend"], facts["precision"]) == (0, "cpu", "f32"), (status, facts)
    assert said.count("\n") == 1 and "using the CPU" in said, said
    for word in words:
        assert word in said, said


def real():
    """Its own path, so that it is loaded whatever drivers there are."""
    if not REAL:
        raise tap.Skip("nvcc did not build the plugin here")
    if os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/dxg"):
        raise tap.Skip("this machine has a GPU")
    return REAL


def patched(source, name, old, new):
    """A copy of the plugin that names another library."""
    path = programs.in_work(name)
    with open(source, "rb") as file:
        data = file.read()
    assert data.count(old) >= 1 and len(old) == len(new), old
    with open(path, "wb") as file:
        file.write(data.replace(old, new))
    return path


def status_of(**machine):
    with programs.Daemon(**emulated.variables(**machine)) as daemon:
        told = programs.run_filter(daemon, "--status").stdout.decode()
    return dict(line.split(None, 1) for line in told.splitlines())


@tap.case("plugins export one symbol")
def one_symbol():
    for plugin in filter(None, (PLUGIN, REAL)):
        run = subprocess.run(["nm", "-D", "--defined-only", plugin], capture_output=True, text=True,
                             check=True)
        assert [line.split()[-1] for line in run.stdout.splitlines()] == ["esm1nv_engine"], (
            plugin, run.stdout)


@tap.case("no plugin at all: auto says nothing")
def none():
    status, facts, said = check(ESM1NV_CUDA_PLUGIN="")
    assert (status, facts["backend"], said) == (0, "cpu", ""), (status, facts, said)
    status, _, said = check("-b", "cuda", ESM1NV_CUDA_PLUGIN="")
    assert status == 78 and "without CUDA" in said, said
    lines = status_of(ESM1NV_CUDA_PLUGIN="")
    assert lines["backend"] == "cpu" and "device" not in lines, lines


@tap.case("a file that is no plugin, or of another version")
def foreign():
    text = programs.in_work("text.so")
    with open(text, "w") as file:
        file.write("no library")
    refused([text], ESM1NV_CUDA_PLUGIN=text)
    refused(["/nonexistent.so"], ESM1NV_CUDA_PLUGIN="/nonexistent.so")
    refused(["another version"], ESM1NV_CUDA_PLUGIN="libz.so.1")


@tap.case("emulated: no driver, no GPU, too little memory, no algorithms")
def emulated_machines():
    refused(["driver"], EMULATION_DEVICES="none")
    refused(["GPU"], EMULATION_DEVICES="0")
    refused(["memory"], EMULATION_MEMORY="100000")
    refused(["cuBLASLt"], EMULATION_EPILOGUES="nothing")


@tap.case("emulated: options that this GPU cannot follow")
def options():
    for arguments, words in ((("-p", "f32"), ["f32", "f16"]), (("--device", "1"), ["GPU 1"]),
                             (("--device", "0,0"), ["GPU 0"])):
        status, _, said = check("-b", "cuda", *arguments)
        assert status == 78 and all(word in said for word in words), said
    status, _, said = check("-b", "cuda", "-p", "bf16", EMULATION_SM="75")
    assert status == 78 and "bf16" in said, said


@tap.case("emulated: auto takes the GPU and tells of it")
def takes_it():
    status, facts, said = check()
    assert (status, facts["backend"], facts["precision"], said) == (0, "cuda", "f16", ""), said
    assert facts["device"] and "bytes" in facts["device memory"], facts
    status, facts, _ = check("--device", "all", EMULATION_DEVICES="2")
    assert status == 0 and facts["device"].startswith("2 x "), facts
    lines = status_of()
    assert lines["backend"] == "cuda" and lines["device"] == facts["device"][4:], lines


@tap.case("real: no driver")
def no_driver():
    refused(["driver"], ESM1NV_CUDA_PLUGIN=real())
    refused(["driver"], ESM1NV_CUDA_PLUGIN=real(), CUDA_VISIBLE_DEVICES="")


@tap.case("real: found in the build, and not loaded without a driver")
def in_build():
    real()
    refused(["NVIDIA driver", "libcuda.so.1"], ESM1NV_CUDA_PLUGIN=None)


@tap.case("real: the toolkit's stub in the driver's place")
def stub():
    plugin = real()
    stubs = [os.path.join(folder, "stubs", "libcuda.so") for folder in TOOLKIT]
    stubs = [path for path in stubs if os.path.exists(path)]
    if not stubs:
        raise tap.Skip("this toolkit has no stub")
    folder = programs.in_work("stub")
    os.mkdir(folder)
    shutil.copy(stubs[0], os.path.join(folder, "libcuda.so.1"))
    refused(["stub"], ESM1NV_CUDA_PLUGIN=None, LD_LIBRARY_PATH=folder)
    refused(["stub"], ESM1NV_CUDA_PLUGIN=plugin, LD_LIBRARY_PATH=folder, CUDA_VISIBLE_DEVICES="")


@tap.case("real: libcublasLt is missing")
def no_library():
    plugin = patched(real(), "without.so", b"libcublasLt.so.", b"libcublasXX.so.")
    refused(["libcublasXX.so."], ESM1NV_CUDA_PLUGIN=plugin)


tap.main(programs.finish)

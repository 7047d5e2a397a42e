#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Where output goes: -o and FILE.partial, links, owners, modes, mount points, devices, FIFOs, full disks, closed
# pipes and signals; what is refused; that nothing is left behind.
import fcntl
import os
import pty
import resource
import signal
import subprocess
import threading
import time

import numpy as np

from harness import HIDDEN, LIMIT, PROGRAM, environment, folder, path, read, run, start, write
from patience import wait_until
from tap import check, equal, finish, section

GOOD = b"a\tMKT\nb\tAC\n"
EXPECTED = run(stdin=GOOD).out


def leftovers():
    return [name for name in os.listdir(folder) if name.endswith(".partial")]


def with_stdout(file, *arguments, stdin=GOOD, **more):
    return subprocess.run([PROGRAM, *arguments], input=stdin, stdout=file, stderr=subprocess.PIPE,
                          timeout=LIMIT, **more)


section("-o makes a new file with the mode the umask leaves")
old = os.umask(0o027)
equal(run("-o", path("new"), stdin=GOOD).status, 0)
os.umask(old)
equal((read("new"), os.stat(path("new")).st_mode & 0o7777), (EXPECTED, 0o640))

section("-o replaces a file and keeps its mode")
os.chmod(write("old", b"before"), 0o604)
inode = os.stat(path("old")).st_ino
equal(run("-o", path("old"), stdin=GOOD).status, 0)
equal((read("old"), os.stat(path("old")).st_mode & 0o7777), (EXPECTED, 0o604))
check(os.stat(path("old")).st_ino != inode, "written in place")

section("-o appears when failed records are all that is wrong")
equal(run("-o", path("some"), stdin=b"J\nMKT\n").status, 65)
equal(read("some").count(b"\n"), 1)

section("-o and --index may not be an input, by whatever name")
write("both", GOOD)
os.link(path("both"), path("same"))
for option in ("-o", "--index"):
    refused = run(option, path("same"), path("both"))
    equal((refused.status, read("both")), (64, GOOD))
    check("same: is read as input" in refused.err, refused.err)

section("-o /dev/stdout and /dev/fd/N go on where the file is")
for name, option in (("/dev/stdout", "-o"), ("/dev/fd/1", "-o"), ("/proc/self/fd/1", "--index")):
    with open(write("grows", b"before\n"), "ab") as file:
        equal(with_stdout(file, option, name).returncode, 0)
    equal(read("grows").startswith(b"before\n") and len(read("grows")) > 7, True)

section("-o follows links, relative, in a chain, to nothing yet")
os.mkdir(path("there"))
os.symlink("there/target", path("link1"))
os.symlink("link1", path("link2"))
for _ in range(2):
    equal(run("-o", path("link2"), stdin=GOOD).status, 0)
    equal(read("there/target"), EXPECTED)
check(os.path.islink(path("link1")) and os.path.islink(path("link2")), "a link was replaced")
equal(os.listdir(path("there")), ["target"])
os.symlink("loop", path("loop"))
equal(run("-o", path("loop"), stdin=GOOD).status, 73)

section("a fatal error leaves the old file alone")
write("kept", b"before")
for settings, arguments, status in (
        ({"FAKE_LOST": 2}, ["--wait", "0"], 75), ({"FAKE_CONNECT": -5}, [], 69), ({}, ["-i", "fasta"], 66)):
    equal(run("-o", path("kept"), "--index", path("kept2"), *arguments, stdin=GOOD,
              **settings).status, status)
    equal((read("kept"), os.path.exists(path("kept2"))), (b"before", False))
equal(leftovers(), [])

section("cannot create: 73")
os.mkdir(path("closed"))
for name in (path("no/such/folder"), path("closed"), write("file", b"") + "/x"):
    result = run("-o", name, stdin=GOOD)
    equal(result.status, 73, name)
    check(name in result.err, result.err)
    equal(run("--index", name, stdin=GOOD).status, 73, name)
if os.geteuid() != 0:
    os.chmod(write("readonly", b""), 0o444)
    equal(run("-o", path("readonly"), stdin=GOOD).status, 73)

section("--output and --index may not be the same file")
result = run("-o", path("link2"), "--index", path("there") + "/target", stdin=GOOD)
equal(result.status, 64)
check(path("link2") in result.err and "--index" in result.err, result.err)

section("devices are written in place")
equal(run("-o", "/dev/null", "--index", "/dev/null", stdin=GOOD).status, 0)
equal(run("-o", "/dev/stdout", stdin=GOOD).out, EXPECTED)
equal(run("-o", "-", stdin=GOOD).out, EXPECTED)

section("a full disk: 74, on stdout, -o and --index")
result = run("-o", "/dev/full", stdin=GOOD)
equal(result.status, 74)
check("/dev/full" in result.err and "space" in result.err, result.err)
equal(run("--index", "/dev/full", stdin=GOOD).status, 74)
with open("/dev/full", "wb") as full:
    for arguments in ([], ["--version"], ["--help"], ["--dry-run"], ["--status"]):
        equal(with_stdout(full, *arguments).returncode, 74, arguments)

section("a file size limit: 74")
with open(path("limited"), "wb") as file:
    result = with_stdout(file, "-f", "raw", "-p", "none", stdin=b"MKT" * 100 + b"\n",
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
equal(result.returncode, 74)




def limited():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


section("a disk that fills: 74, the old files stay, nothing else does")
write("kept", b"before")
for name in ("tsv", "jsonl", "raw", "npy", "msgpack", "h5"):
    for output, index in ((path("kept"), "/dev/null"), (path("unwanted"), path("kept"))):
        result = subprocess.run([PROGRAM, "-f", name, "-o", output, "--index", index],
                                input=b"MKT\n" * 1000, capture_output=True, timeout=LIMIT,
                                preexec_fn=limited)
        if name == "h5" and b"module" in result.stderr:
            continue  # built without it
        equal((result.returncode, result.stdout), (74, b""), name, index)
        check(b"cannot write" in result.stderr, result.stderr)
        equal((read("kept"), os.path.exists(path("unwanted"))), (b"before", False), name, index)
        equal(leftovers(), [])

section("a disk that is found full when a file is closed: 74")
result = run("-o", path("kept"), stdin=GOOD, FAKE_FULL=1)
equal((result.status, read("kept"), leftovers()), (74, b"before", []))
check("cannot write" in result.err and "space" in result.err, result.err)
equal(run(stdin=GOOD, FAKE_FULL=1).status, 74)

section("input that breaks off: 66, the old file stays, nothing else does")
for name in ("tsv", "npy", "h5"):
    result = run("-f", name, "-o", path("kept"), write("input", GOOD), "/proc/self/mem")
    if name == "h5" and "module" in result.err:
        continue
    equal((result.status, read("kept")), (66, b"before"), name)
    check("/proc/self/mem" in result.err and "nput/output error" in result.err, result.err)
    equal(leftovers(), [])

section("stdout closed: 74")
result = subprocess.run([PROGRAM, write("input", GOOD)], stderr=subprocess.PIPE, timeout=LIMIT,
                        preexec_fn=lambda: os.close(1))
equal(result.returncode, 74)

section("stderr closed: no file is mistaken for it")
result = subprocess.run([PROGRAM, "--index", path("mistaken")], input=b"MKT\nJ\n", timeout=LIMIT,
                        stdout=subprocess.DEVNULL, preexec_fn=lambda: os.close(2))
equal((result.returncode, read("mistaken").count(b"\n")), (65, 3))

section("stdout and stderr closed: no file is mistaken for them")
result = subprocess.run([PROGRAM, "-o", path("mistaken")], input=b"MKT\nJ\n", timeout=LIMIT,
                        preexec_fn=lambda: os.closerange(1, 3))
equal((result.returncode, read("mistaken").count(b"\n")), (65, 1))

section("a closed pipe ends it by SIGPIPE, quietly, temporary files gone")
process = start("-p", "none", "--index", path("piped"))
process.stdout.close()
try:
    process.stdin.write(b"MKT\n" * 100000)
    process.stdin.close()
except BrokenPipeError:
    pass
equal((process.wait(LIMIT), process.stderr.read()), (-signal.SIGPIPE, b""))
process.stderr.close()
check(not os.path.exists(path("piped")), "index appeared")
equal(leftovers(), [])

section("SIGPIPE ends it though it came ignored")
reader, writer = os.pipe()
os.close(reader)
result = subprocess.run([PROGRAM, write("input", GOOD)], stdout=writer, stderr=subprocess.PIPE,
                        timeout=LIMIT, restore_signals=False)
os.close(writer)
equal((result.returncode, result.stderr), (-signal.SIGPIPE, b""))

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the filter leaves it ignored, as under nohup
for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    section("%s removes the temporary files and kills" % signal_number.name)
    process = start("-o", path("never"), "--index", path("never2"))
    process.stdin.write(GOOD)
    process.stdin.flush()
    wait_until(lambda: len(leftovers()) == 2
               and all(os.path.getsize(path(name)) for name in leftovers()), "output")
    process.send_signal(signal_number)
    equal(process.wait(LIMIT), -signal_number)
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    equal([name for name in os.listdir(folder) if name.startswith("never")], [])

section("a FIFO is written in place")
os.mkfifo(path("fifo"))
parts = []


def read_fifo():
    with open(path("fifo"), "rb") as fifo:
        parts.append(fifo.read())


reader = threading.Thread(target=read_fifo)
reader.start()
status = run("-o", path("fifo"), stdin=GOOD).status
reader.join(LIMIT)
equal((status, parts), (0, [EXPECTED]))

section("npy: only where it can go back to the header, else 64")
reader = threading.Thread(target=read_fifo)
reader.start()
equal(run("-f", "npy", "-o", path("fifo"), stdin=GOOD).status, 64)
reader.join(LIMIT)
result = run("-f", "npy", stdin=GOOD)
equal((result.status, result.out), (64, b""))
check("--format npy" in result.err and "--output" in result.err, result.err)
with open(write("appended", b"x"), "ab") as file:
    equal(with_stdout(file, "-f", "npy").returncode, 64)
with open(path("offset"), "wb") as file:
    file.write(b"x" * 10)
    file.flush()
    equal(with_stdout(file, "-f", "npy").returncode, 64)
    equal(with_stdout(file, "-f", "raw").returncode, 0)
equal(len(read("offset")), 10 + 2 * HIDDEN * 4)

section("npy: without its header until it is complete")
with open(path("cut.npy"), "wb") as file:
    process = subprocess.Popen([PROGRAM, "-f", "npy"], stdin=subprocess.PIPE, stdout=file,
                               stderr=subprocess.PIPE)
    process.stdin.write(GOOD)
    process.stdin.flush()
    wait_until(lambda: len(read("cut.npy")) > 128, "output")
    equal(read("cut.npy")[:128], bytes(128))
    process.communicate(b"", LIMIT)
equal(np.load(path("cut.npy")).shape, (2, HIDDEN))

section("binary formats refuse a terminal")
for name in ("raw", "npy", "msgpack"):
    main, terminal = pty.openpty()
    result = with_stdout(terminal, "-f", name)
    equal(result.returncode, 64)
    check(b"terminal" in result.stderr, result.stderr)
    os.close(main)
    os.close(terminal)

section("a pipe that someone made non-blocking")
for pooling, lines in (("none", b"MKTAC" * 100 + b"\nW\n"), ("mean", b"MKTAC\nAG\n" * 250)):
    left, right = os.pipe()
    flags = fcntl.fcntl(right, fcntl.F_GETFL)
    fcntl.fcntl(right, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    arguments = ["-p", pooling, "-f", "raw", write("lines", lines * 5)]
    process = subprocess.Popen([PROGRAM, *arguments], stdout=right, stderr=subprocess.PIPE,
                               env=environment({"FAKE_HIDDEN": 768}))
    os.close(right)
    time.sleep(0.2)
    with os.fdopen(left, "rb") as pipe:
        got = pipe.read()
    equal(process.wait(LIMIT), 0)
    check(got == run(*arguments, FAKE_HIDDEN=768).out, "bytes differ with --pool", pooling)
    process.stderr.close()

section("nothing is left behind")
equal(leftovers(), [])
finish()

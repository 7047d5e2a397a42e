#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# FILE.partial: what a killed run leaves, several runs with one output, whose owner and mode FILE
# has, files that are mount points, directories that cannot be written; and signals to the first
# process of a container.
import fcntl
import os
import random
import signal
import stat
import subprocess
import time

try:
    import h5py
except ImportError:
    h5py = None

from harness import LIMIT, PROGRAM, environment, folder, path, read, run, start, write
from patience import wait_until
from tap import check, equal, finish, report, section

GOOD = b"a\tMKT\nb\tAC\n"
OTHER = b"c\tWW\nd\tKKKK\n"
EXPECTED, EXPECTED_OTHER = run(stdin=GOOD).out, run(stdin=OTHER).out
NAMING = (1 << 62) + 1  # the byte that is locked while the name goes from one file to another
ROOT = os.geteuid() == 0
NAMESPACES = ["unshare"] if ROOT else ["unshare", "-U", "-r"]


def names(prefix):
    return sorted(name for name in os.listdir(folder) if name.startswith(prefix))


def begin(*arguments, stdin=GOOD, partial, command=(PROGRAM,), **settings):
    """A run that has written something and waits for more input."""
    before = os.stat(path(partial)).st_ino if os.path.exists(path(partial)) else None
    process = subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=environment(settings))
    process.stdin.write(stdin)
    process.stdin.flush()

    def written():
        try:
            status = os.stat(path(partial))
        except FileNotFoundError:
            return False
        return status.st_ino != before and status.st_size > 0

    wait_until(written, partial)
    return process


def end(process, stdin=b""):
    out, err = process.communicate(stdin, LIMIT)
    return process.returncode, err.decode()


def can(*command):
    return subprocess.run([*NAMESPACES, *command], capture_output=True).returncode == 0


section("SIGKILL leaves FILE.partial, and the next run replaces it")
for result in ("x.tsv", "y.npy"):
    format = result[-3:]
    process = begin("-f", format, "-o", path(result), "--index", path("x.index"),
                    partial="x.index.partial")
    process.kill()
    end(process)
    equal(names("x.") + names("y."), sorted([result + ".partial", "x.index.partial"]))
    again = run("-f", format, "-o", path(result), "--index", path("x.index"), stdin=GOOD)
    equal((again.status, again.err), (0, ""))
    equal(names("x.") + names("y."), sorted([result, "x.index"]))
    equal(read(result), read(result) if format == "npy" else EXPECTED)
    os.remove(path(result))
    os.remove(path("x.index"))

section("one that is still being written is taken over; its writer ends with 73 at its next output")
first = begin("-o", path("x.tsv"), "--index", path("x.index"), partial="x.tsv.partial")
inode = os.open(path("x.tsv.partial"), os.O_RDONLY)
second = begin("-o", path("x.tsv"), "--index", path("x.index"), stdin=OTHER, partial="x.tsv.partial")
size = os.fstat(inode).st_size
status, err = end(first, b"MKT\n" * 100)
equal(status, 73)
check("x.tsv: " in err and "x.tsv.partial" in err and "another run" in err, err)
equal(len(err.splitlines()), 1, err)
equal(names("x."), ["x.index.partial", "x.tsv.partial"])
equal(os.pread(inode, 10, 0), EXPECTED[:10], "the other's file was written to")
os.close(inode)
status, err = end(second)
equal(status, 0)
check("x.tsv.partial" in err and "takes over" in err, err)
equal((names("x."), read("x.tsv")), (["x.index", "x.tsv"], EXPECTED_OTHER))

section("a run that is taken over ends when it writes next, not only at the end of its input")
first = begin("-o", path("early.tsv"), partial="early.tsv.partial")
equal(run("-o", path("early.tsv"), stdin=OTHER).status, 0)
first.stdin.write(GOOD)
first.stdin.flush()
equal((first.wait(LIMIT), end(first)[0], read("early.tsv")), (73, 73, EXPECTED_OTHER))

section("while a newcomer holds the name, nobody gives it away, nor removes what it leads to")
for number in (None, signal.SIGTERM):
    first = begin("-o", path("held"), partial="held.partial")
    with open(path("held.partial"), "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, NAMING)
        first.send_signal(number) if number else first.stdin.close()
        time.sleep(0.2)
        equal((first.poll(), names("held")), (None, ["held.partial"]))
        os.remove(path("held.partial"))
        write("held.partial", b"a newcomer's")
    first.stdin = None
    equal((end(first)[0], names("held")), (-number if number else 73, ["held.partial"]))
    equal(read("held.partial"), b"a newcomer's")
    os.remove(path("held.partial"))

section("while a run gives the name away, a newcomer waits")
with open(write("given.partial", b"whole"), "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX, 2, NAMING - 1)
    second = start("-o", path("given"))
    time.sleep(0.2)
    equal((names("given"), read("given.partial")), (["given.partial"], b"whole"))
    os.rename(path("given.partial"), path("given"))
wait_until(lambda: names("given") == ["given", "given.partial"], "newcomer")
equal((read("given"), end(second, OTHER), read("given")), (b"whole", (0, ""), EXPECTED_OTHER))

section("taken over, and the newcomer is done: the other changes nothing, however it ends")
for ending in ("input", signal.SIGTERM, signal.SIGKILL):
    write("x.tsv", b"before")
    first = begin("-o", path("x.tsv"), "--index", path("x.index"), partial="x.tsv.partial")
    equal(run("-o", path("x.tsv"), stdin=OTHER).status, 0)
    if ending == "input":
        equal(end(first)[0], 73)
    else:
        first.send_signal(ending)
        equal(end(first)[0], -ending)
    equal(read("x.tsv"), EXPECTED_OTHER, ending)
    equal([name for name in names("x.") if ending != signal.SIGKILL and "partial" in name], [])

section("taken over, then ended by a signal: the newcomer's file is not removed")
for number in (signal.SIGTERM, signal.SIGINT):
    first = begin("-o", path("z.tsv"), partial="z.tsv.partial")
    second = begin("-o", path("z.tsv"), stdin=OTHER, partial="z.tsv.partial")
    first.send_signal(number)
    equal(end(first)[0], -number)
    equal(names("z."), ["z.tsv.partial"])
    equal(end(second)[0], 0)
    equal((names("z."), read("z.tsv")), (["z.tsv"], EXPECTED_OTHER))
    os.remove(path("z.tsv"))

section("h5 is taken over too, and never written by two")
first = begin("-f", "h5", "-o", path("x.h5"), "--index", path("h.index"), partial="h.index.partial")
taken = run("-f", "h5", "-o", path("x.h5"), stdin=OTHER)
if h5py and "module" not in taken.err:
    equal((taken.status, end(first, GOOD)[0]), (0, 73))
    with h5py.File(path("x.h5")) as file:
        equal(sorted(file), ["c", "d"])
    equal(names("x.h5"), ["x.h5"])

    section("h5 is taken over before it has begun")
    first = start("-f", "h5", "-o", path("slow.h5"), FAKE_SLOW=1500)
    wait_until(lambda: names("slow.h5") == ["slow.h5.partial"], "file")
    equal(run("-f", "h5", "-o", path("slow.h5"), stdin=OTHER).status, 0)
    equal((end(first, GOOD)[0], names("slow.h5")), (73, ["slow.h5"]))

section("a file that was removed is no success: 73")
first = begin("-o", path("gone.tsv"), partial="gone.tsv.partial")
os.remove(path("gone.tsv.partial"))
equal(end(first)[0], 73)
equal(names("gone"), [])

section("many runs with one output: FILE is always one of theirs, whole")
inputs = [b"".join(b"%d-%d\t%s\n" % (i, j, random.Random(i).randbytes(9).hex().encode().translate(
    bytes.maketrans(b"0123456789abcdef", b"ACDEFGHIKLMNPQRS"))) for j in range(300)) for i in range(8)]
outputs = [run(stdin=text).out for text in inputs]
files = [write("input%d" % i, text) for i, text in enumerate(inputs)]
ends = {0: 0, 73: 0}
for turn in range(12):
    processes = [start("-o", path("raced"), file) for file in files]
    for process in processes:
        ends[end(process)[0]] += 1
    check(read("raced") in outputs, "a mixture")
    equal(names("raced"), ["raced"])
    os.remove(path("raced"))
check(ends[0] >= 12, ends)
print("# ends", ends)

section("FILE.partial is no link to follow, and no directory")
write("victim", b"precious")
os.symlink("victim", path("l.tsv.partial"))
equal(run("-o", path("l.tsv"), stdin=GOOD).status, 0)
equal((read("victim"), read("l.tsv")), (b"precious", EXPECTED))
os.mkdir(path("m.tsv.partial"))
refused = run("-o", path("m.tsv"), stdin=GOOD)
equal(refused.status, 73)
check("m.tsv.partial: Is a directory" in refused.err, refused.err)

section("FILE.partial may not be an input")
write("in.partial", GOOD)
for option in ("-o", "--index"):
    refused = run(option, path("in"), path("in.partial"))
    equal((refused.status, read("in.partial")), (64, GOOD))
    check("in.partial: is read as input" in refused.err, refused.err)

section("set-id bits are not kept")
os.chmod(write("setid", b"before"), 0o6751)
equal(run("-o", path("setid"), stdin=GOOD).status, 0)
equal(stat.S_IMODE(os.stat(path("setid")).st_mode), 0o751)

section("a rename that fails: 74, FILE.partial stays, whole, and is named; the index has its name")
first = begin("-o", path("late.tsv"), "--index", path("late.index"), partial="late.tsv.partial")
os.mkdir(path("late.tsv"))
status, err = end(first)
equal((status, read("late.tsv.partial")), (74, EXPECTED))
check("late.tsv: " in err and "late.tsv.partial" in err and "complete" in err, err)
equal(names("late"), ["late.index", "late.tsv", "late.tsv.partial"])

first = begin("-o", path("late2.tsv"), "--index", path("late2.index"), partial="late2.tsv.partial")
os.mkdir(path("late2.index"))
status, err = end(first)
equal((status, read("late2.tsv"), read("late2.index.partial").count(b"\n")), (74, EXPECTED, 3))
check("late2.index.partial" in err and "complete" in err, err)

section("--index - is standard output, when the vectors are not")
result = run("--index", "-", "-o", path("apart.tsv"), stdin=GOOD)
equal((result.status, read("apart.tsv")), (0, EXPECTED))
check(result.out.startswith(b"id\tlength\trows\toffset\tstatus\na\t3\t"), result.out)
for more in ([], ["-o", "-"]):
    result = run("--index", "-", *more, stdin=GOOD)
    equal((result.status, result.out), (64, b""))
    check("--index -" in result.err and "--output FILE" in result.err, result.err)
check(not os.path.exists("-"), "a file named -")


if not ROOT:
    report("owner and group are kept where permitted", skip="must be root")
    report("a directory that cannot be written is named", skip="must be root to become a user")
else:
    section("owner and group are kept where permitted")
    os.chmod(folder, 0o777)
    for uid, groups, mode, wanted in (
            (0, "", 0o6764, (1234, 2345, 0o764)), (1234, "", 0o664, (1234, 1234, 0o644)),
            (1235, "2345", 0o664, (1235, 2345, 0o664)), (1235, "", 0o666, (1235, 1235, 0o666)),
            (1235, "", 0o676, (1235, 1235, 0o666))):
        os.chown(write("owned", b"before"), 1234, 2345)
        os.chmod(path("owned"), mode)
        become = ["setpriv", "--reuid", str(uid), "--regid", str(uid), *(
            ["--groups", groups] if groups else ["--clear-groups"])]
        done = subprocess.run([*become, PROGRAM, "-o", path("owned")], input=GOOD, timeout=LIMIT,
                              capture_output=True)
        now = os.stat(path("owned"))
        equal((done.returncode, done.stderr), (0, b""))
        equal((now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)), wanted, uid, groups, oct(mode))
        os.remove(path("owned"))

    section("a run of another user is taken over too")
    first = begin("-o", path("shared"), partial="shared.partial")
    equal(subprocess.run([*become, PROGRAM, "-o", path("shared")], input=OTHER, timeout=LIMIT,
                         capture_output=True).returncode, 0)
    equal((end(first, GOOD)[0], read("shared"), names("shared")), (73, EXPECTED_OTHER, ["shared"]))

    section("a directory that cannot be written is named")
    os.mkdir(path("theirs"), 0o755)
    os.chmod(write("theirs/old", b"before"), 0o666)
    for name in ("theirs/new", "theirs/old"):
        done = subprocess.run([*become, PROGRAM, "-o", path(name)], input=GOOD, timeout=LIMIT,
                              capture_output=True)
        equal(done.returncode, 73)
        check("in the directory %s: Permission denied" % path("theirs") in done.stderr.decode(),
              done.stderr)
    equal(read("theirs/old"), b"before")

if not can("-m", "true"):
    report("a mount point is written in place", skip="no mount namespace can be made here")
else:
    section("a mount point is written in place")
    for arguments in (["-o", path("mounted")], ["-o", path("plain"), "--index", path("mounted")],
                      ["-f", "npy", "-o", path("mounted")], ["-f", "h5", "-o", path("mounted")]):
        expected = run(*[name.replace("mounted", "wanted") for name in arguments], stdin=GOOD)
        inode = os.stat(write("mounted", b"before" * 10000)).st_ino
        shell = "mount --bind '%s' '%s' && exec \"$@\"" % (path("mounted"), path("mounted"))
        done = subprocess.run([*NAMESPACES, "-m", "sh", "-c", shell, "sh", PROGRAM, *arguments],
                              input=GOOD, capture_output=True, timeout=LIMIT)
        if "module" in expected.err:
            continue
        equal((done.returncode, done.stderr), (0, b""))
        equal((read("mounted") == read("wanted"), os.stat(path("mounted")).st_ino), (True, inode))
        equal(names("mounted"), ["mounted"])

    section("a mount point keeps what it holds when the run cannot begin")
    write("mounted", b"before")
    done = subprocess.run([*NAMESPACES, "-m", "sh", "-c", shell, "sh", PROGRAM, "-o",
                           path("mounted")], input=GOOD, capture_output=True, timeout=LIMIT,
                          env=environment({"FAKE_CONNECT": -5}))
    equal((done.returncode, read("mounted")), (69, b"before"))

    section("what becomes a mount point only later: 74, and FILE.partial stays and is named")
    write("mounted", b"before")
    first = begin("-m", PROGRAM, "-o", path("mounted"), partial="mounted.partial",
                  command=NAMESPACES)
    enter = ["nsenter", "-t", str(first.pid), "-m"]
    enter += [] if ROOT else ["-U", "--preserve-credentials"]
    subprocess.run([*enter, "mount", "--bind", path("mounted"), path("mounted")], check=True)
    status, err = end(first)
    equal((status, read("mounted"), read("mounted.partial")), (74, b"before", EXPECTED))
    check("busy" in err and "mounted.partial" in err, err)

if not can("-p", "-f", "--kill-child", "true"):
    report("the first process of a container ends by a signal",
           skip="no process namespace can be made here")
else:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        section("the first process of a container ends by %s" % number.name)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        for arguments in (["-o", path("first.tsv")], []):
            process = subprocess.Popen([*NAMESPACES, "-p", "-f", "--kill-child", PROGRAM, *arguments,
                                        "--index", path("first")], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            process.stdin.write(GOOD)
            process.stdin.flush()
            wait_until(lambda: names("first.tsv.partial") or not arguments, "output")
            wait_until(lambda: names("first.partial") and os.path.getsize(path("first.partial")),
                       "output")
            with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as file:
                os.kill(int(file.read()), number)
            equal((process.wait(LIMIT), names("first")), (128 + number, []))
            end(process)

section("nothing is left behind")
equal([name for name in os.listdir(folder)
       if name.endswith(".partial") and not name.startswith(("late", "m.", "in", "x.index", "mounted"))], [])
finish()

# SPDX-License-Identifier: Apache-2.0
#
# How esm1nvd starts and leaves: options and their errors, sockets of its own and handed over, the
# lock, what systemd is told, draining, running out of descriptors.
import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import time

import nemo_file
from programs import (DAEMON, PATIENCE, TINY1, Daemon, at_most, environment, gone, new_folder,
                      quickest, run_daemon, wait_until)
from tap import SCALE, Skip, case, check, equal, main
from wire import *


def start(*options, backend="null", **more):
    return Daemon("--backend", backend, *options, model=TINY1, **more)


def run(*options, **variables):
    done = run_daemon(*options, **variables)
    return done.returncode, done.stdout, done.stderr


def embeds(path):
    with Client(path) as client:
        equal(client.hello()["kind"], WELCOME)
        client.submit(1, b"MKT")
        equal(client.receive()["status"], 0)


@case
def options_and_their_errors():
    for option in ("--threads", "--max-clients", "--max-clients-per-user", "--max-pinned-per-user",
                   "--max-queued-per-user", "--ring-size", "--max-batch-residues", "--idle-exit"):
        for value in ("", "x", "-1", "0", "1.5", "1T", "1KK", "1Mix", "99999999999999999999",
                      "18446744073709551615G"):
            status, out, err = run(option, value)
            equal((status, out), (64, ""))
            check(option in err and f"'{value}'" in err and err.count("\n") == 1, err)
    for option, least, most in (
            ("--threads", 1, 4096), ("--max-clients", 1, 65536), ("--ring-size", 1 << 17, 1 << 32),
            ("--max-clients-per-user", 1, 65536), ("--max-pinned-per-user", 1, 1 << 50),
            ("--max-queued-per-user", 1, 1 << 50), ("--max-batch-residues", 3, 1 << 20),
            ("--idle-exit", 1, 1000000000)):
        for value in (least, most):
            equal(run(option, str(value), "--version")[0], 0)
        for value in (least - 1, most + 1):
            status, _, err = run(option, str(value), "--version")
            equal(status, 64)
            check(f"{option}: '{value}' is not a number from {least} to {most}\n" in err, err)
    for value in ("x", "0,", ",1", "0,,1", "0,all", "-1"):
        status, _, err = run("--device", value)
        equal(status, 64)
        check("--device" in err and f"'{value}'" in err, err)
    for option, value in (("--backend", "gpu"), ("--device", ""), ("--precision", "f64"), ("--log-level", "loud"),
                          ("--socket", ""), ("--model", "")):
        status, _, err = run(option, value)
        equal(status, 64)
        check(option in err and f"'{value}'" in err, err)
    status, _, err = run("--backend", "gpu")
    check("--backend: 'gpu' is not one of auto, cpu, cuda, null\n" in err, err)
    equal(run("--check", "--help", "--nonsense")[0], 0)
    for arguments in (["--nonsense"], ["-z"], ["--model"], ["-t"], ["file.nemo"], ["--check=x"]):
        status, _, err = run(*arguments)
        equal(status, 64)
        check(arguments[0].split("=")[0].lstrip("-") in err and err.count("\n") == 1, err)
    status, out, err = run("--version")
    check(status == 0 and out.startswith("esm1nvd ") and out.count(".") == 2 and not err, out)
    status, out, _ = run("--help")
    check(status == 0 and "--max-pinned-per-user" in out)
    with open("/dev/full", "w") as full:
        equal(subprocess.run([DAEMON, "--help"], stdout=full, stderr=full).returncode, 74)


@case
def size_suffixes():
    for value, size in (("1048576", 1 << 20), ("1024K", 1 << 20), ("1Mi", 1 << 20),
                        ("1G", 1 << 30)):
        with start("--ring-size", value) as daemon, daemon.client() as client:
            equal(client.hello()["ring_max"], size)


@case
def models_and_backends_that_cannot_be():
    for arguments, words, variables in (
            ([], ["--model", "ESM1NV_MODEL"], {}),
            (["--model", "/nonexistent.nemo"], ["/nonexistent.nemo"], {}),
            ([], ["/nonexistent.nemo"], {"ESM1NV_MODEL": "/nonexistent.nemo"}),
            (["--model", TINY1, "--backend", "cuda"], ["CUDA", "--backend cpu"],
             {"ESM1NV_CUDA_PLUGIN": ""}),
            (["--model", TINY1, "--backend", "cuda"], ["/nonexistent.so"],
             {"ESM1NV_CUDA_PLUGIN": "/nonexistent.so"}),
            (["--model", TINY1, "--precision", "f16"], ["/nonexistent.so", "cpu", "f16"],
             {"ESM1NV_CUDA_PLUGIN": "/nonexistent.so"}),
            (["--model", TINY1, "--backend", "null"], ["ESM1NV_LOOP=select"],
             {"ESM1NV_LOOP": "select"})):
        directory = new_folder()
        socket_path = directory + "/socket"
        status, _, err = run("--socket", socket_path, *arguments, **variables)
        equal(status, 78)
        for word in words:
            check(word in err, err)
        check(not os.path.exists(socket_path))
    for option in ("--max-batch-residues", "--max-queued-per-user"):
        directory = new_folder()
        status, _, err = run("--socket", directory + "/socket", "--model", TINY1, option,
                             "511")
        check(status == 64 and option in err and "511" in err, err)


@case
def check_prints_what_was_loaded():
    status, out, err = run("--check", "--model", TINY1, "--threads", "1")
    equal(status, 0)
    facts = dict(line.split(": ", 1) for line in out.splitlines())
    equal(list(facts), ["model", "architecture", "parameters", "weights type", "precision",
                        "backend", "instructions", "threads", "tokenizer", "weights sha256",
                        "model digest", "memory"])
    equal(facts["model"], os.path.basename(TINY1))
    check("hidden 128" in facts["architecture"] and "512 positions" in facts["architecture"])
    check("25 letters ABCDEFGHIKLMNOPQRSTUVWXYZ" in facts["tokenizer"], facts["tokenizer"])
    equal((facts["threads"], facts["backend"]), ("1", "cpu"))
    with start(ESM1NV_MODEL="ignored") as daemon:
        equal(daemon.status()["digest"], facts["model digest"])


@case
def a_model_whose_sequences_are_longer_than_batches_usually_are():
    config = nemo_file.esm1nv_config(1, 64, ffn=64, positions=4096)
    path = new_folder() + "/long.nemo"
    nemo_file.write_nemo(path, config, nemo_file.esm1nv_tensors(config))
    for backend in ("cpu", "null"):
        status, out, err = run("--check", "--model", path, "--backend", backend)
        check(status == 0 and "4096 positions" in out, err)


@case
def synthetic_weights_are_said_to_be():
    status, out, err = run("--check", "--model", "synthetic:7", "--backend", "null")
    equal(status, 0)
    check("parameters: 43612544\n" in out, out)
    check("no biology" in err, err)


@case
def the_socket_and_its_directory():
    directory = new_folder()
    path = directory + "/below/socket"
    with start(at=path) as daemon:
        equal(os.stat(path).st_mode & 0o7777, 0o660)
        equal(os.stat(directory + "/below").st_mode & 0o7777, 0o700)
        embeds(path)
        equal(daemon.terminate(), 0)
        check(not os.path.exists(path))


@case
def the_default_place_of_a_user():
    if os.geteuid() != 0:
        raise Skip("must be root to become a user")
    directory = new_folder()
    program = shutil.copy(DAEMON, directory)
    model = shutil.copy(TINY1, directory)
    os.chmod(directory, 0o777)
    with start(wait=False) as unused:
        process = subprocess.Popen(
            [program, "--model", model, "--backend", "null"], user=65534, group=65534,
            extra_groups=[], stderr=subprocess.DEVNULL,
            env=environment(XDG_RUNTIME_DIR=directory))
        unused.wait_told("READY=1")
        wait_until(lambda: os.path.exists(directory + "/esm1nv/socket"))
        equal(os.stat(directory + "/esm1nv").st_mode & 0o7777, 0o700)
        process.terminate()
        equal(process.wait(timeout=PATIENCE), 0)


@case
def a_group_may_be_let_in():
    with start("--group", "root") if os.geteuid() == 0 else start() as daemon:
        equal(os.stat(daemon.socket).st_gid, 0 if os.geteuid() == 0 else os.getegid())
    directory = new_folder()
    status, _, err = run("--model", TINY1, "--socket", directory + "/socket", "--group",
                         "no-such-group")
    equal(status, 64)
    check("no-such-group" in err, err)
    check(not os.path.exists(directory + "/socket"))


@case
def two_daemons_do_not_share_a_socket():
    with start() as daemon:
        status, _, err = run("--model", TINY1, "--socket", daemon.socket)
        equal(status, 73)
        check(daemon.socket in err and "another esm1nvd" in err, err)
        embeds(daemon.socket)


@case
def whatever_else_serves_the_path_stays():
    directory = new_folder()
    path = directory + "/socket"
    other = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other.bind(path)
    other.listen()
    status, _, err = run("--model", TINY1, "--socket", path)
    equal(status, 73)
    check(path in err and "another program serves it" in err, err)
    check(os.path.exists(path))
    other.close()
    os.unlink(path)
    with open(path, "w") as file:
        file.write("precious")
    status, _, err = run("--model", TINY1, "--socket", path)
    equal(status, 73)
    with open(path) as file:
        equal(file.read(), "precious")


@case
def a_stale_socket_is_replaced():
    directory = new_folder()
    path = directory + "/socket"
    for _ in range(5):
        with start(at=path) as daemon:
            daemon.process.kill()
            daemon.end()
            check(os.path.exists(path))
        with start(at=path) as daemon:
            check("stale" in daemon.said(), daemon.said())
            embeds(path)


@case
def a_socket_that_goes_away_while_it_is_probed_is_replaced():
    """As that of a daemon that was killed does, when the kernel takes its time."""
    directory = new_folder()
    path = directory + "/socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dying:
        dying.bind(path)
        dying.listen()
        dying.settimeout(PATIENCE)
        with start(at=path, wait=False) as daemon:
            for _ in range(3):
                dying.accept()[0].close()
            dying.close()
            daemon.wait_told("READY=1")
            embeds(path)


@case
def a_path_that_is_not_ours_any_more_stays():
    with start() as daemon:
        os.unlink(daemon.socket)
        with open(daemon.socket, "w"):
            pass
        equal(daemon.terminate(), 0)
        check(os.path.exists(daemon.socket))


@case
def paths_that_cannot_be():
    for path, status in (("/nonexistent/x/y/socket", 73), ("/tmp/" + "x" * 120, 64)):
        got, _, err = run("--model", TINY1, "--socket", path)
        equal(got, status)
        check(path in err, err)


def with_passed(listening, *options):
    """Starts a daemon the way systemd does, with its socket as descriptor 3."""
    return subprocess.Popen(
        ["sh", "-c", 'n=$1; shift; eval "exec 3<&$n"; LISTEN_PID=$$ exec "$@"', "sh",
         str(listening.fileno()), DAEMON, *options], pass_fds=[listening.fileno()],
        stderr=subprocess.PIPE, text=True, env=environment(LISTEN_FDS="1"))


@case
def a_socket_handed_over():
    directory = new_folder()
    path = directory + "/socket"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(path)
    listening.listen()
    with Client(path) as early:
        early.send(HELLO, protocol=1, program="early", pooling=MEAN, dtype=F32)
        process = with_passed(listening, "--model", TINY1, "--backend", "null")
        equal(early.receive()["kind"], WELCOME)
        embeds(path)
    process.terminate()
    err = process.communicate(timeout=PATIENCE)[1]
    equal(process.returncode, 0)
    check("passed socket" in err, err)
    equal(os.listdir(directory), ["socket"])
    listening.close()


@case
def clients_learn_that_the_model_cannot_be_loaded():
    directory = new_folder()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(directory + "/socket")
    listening.listen()
    with Client(directory + "/socket") as client:
        client.send(HELLO, protocol=1, program="x", pooling=MEAN, dtype=F32)
        process = with_passed(listening, "--model", "/nonexistent.nemo")
        answer = client.receive()
        equal((answer["kind"], answer["code"], answer["retry"]), (REFUSED, LOAD, 0))
        check("/nonexistent.nemo" in answer["text"])
        check(client.ended())
    check("/nonexistent.nemo" in process.communicate(timeout=PATIENCE)[1])
    equal(process.returncode, 78)
    listening.close()


@case
def something_else_handed_over():
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        process = with_passed(stream, "--model", TINY1)
        err = process.communicate(timeout=PATIENCE)[1]
        equal(process.returncode, 78)
        check("ListenSequentialPacket" in err, err)


@case
def systemd_socket_activate():
    activate = shutil.which("systemd-socket-activate")
    if not activate:
        raise Skip("systemd-socket-activate is not installed")
    directory = new_folder()
    path = directory + "/socket"
    process = subprocess.Popen([activate, "--seqpacket", "--listen", path, DAEMON, "--model",
                                TINY1, "--backend", "null"],
                               stderr=subprocess.DEVNULL, env=environment())
    wait_until(lambda: listens(path))
    embeds(path)
    process.terminate()
    equal(process.wait(timeout=PATIENCE), 0)


def listens(path):
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), Client(path):
        return True


@case
def what_systemd_is_told():
    with start(WATCHDOG_USEC="300000") as daemon:
        check(any(line.startswith("STATUS=Loading") for line in daemon.told), daemon.told)
        check(any(line.startswith("STATUS=Serving") for line in daemon.told), daemon.told)
        daemon.take_notices()
        began = time.monotonic()
        for _ in range(3):
            daemon.told.clear()
            daemon.wait_told("WATCHDOG=1")
        took = time.monotonic() - began
        check(0.25 < took < at_most(2), f"the watchdog is told thrice in {took} s")
        daemon.process.terminate()
        daemon.wait_told("STOPPING=1")
        equal(daemon.end(), 0)


@case
def journald_gets_priorities():
    directory = new_folder()
    with open(directory + "/log", "w+") as log:
        status = os.fstat(log.fileno())
        for stream, wanted in ((f"{status.st_dev}:{status.st_ino}", "<3>"),
                               (f"{status.st_dev}:{status.st_ino + 1}", "esm1nvd: ")):
            log.seek(0)
            log.truncate()
            subprocess.run([DAEMON, "--nonsense"], stderr=log, timeout=PATIENCE,
                           env=environment(JOURNAL_STREAM=stream))
            log.seek(0)
            check(log.read().startswith(wanted), wanted)


@case
def leaving_finishes_what_was_taken():
    residues = b"MKTAYIAKQR" * max(5, round(50 * SCALE))
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        with start("--threads", "1", backend="cpu") as daemon, daemon.client() as client, \
                daemon.client() as ring:
            client.hello()
            ring.hello()
            ring.attach()
            for tag in range(100):
                check(ring.ring.put(tag, residues))
            ring.ring.publish()
            ring.send_raw(BELL)
            for tag in range(8):
                client.submit(tag, residues)
            equal(client.receive()["tag"], 0)
            daemon.process.send_signal(signal_number)
            for tag in range(1, 8):
                equal(client.receive()["tag"], tag)
            check(client.ended())
            equal(daemon.end(), 0)
            tags = [result[0] for result in ring.ring.take()]
            taken = ring.ring.get(Ring.SUBMISSION_HEAD) * 100 // ring.ring.tail
            equal(tags, list(range(taken)))
            check(len(tags) >= 64, f"only {len(tags)} were taken")


def submit_unread(daemon, client, most):
    """Submits without reading answers; returns how many were accepted before the drop."""
    client.hello()
    for tag in range(most):
        try:
            client.submit(tag, b"MKT")
            daemon.wait_status(lambda status: status["records"] > tag or not status["clients"])
        except (BrokenPipeError, ConnectionResetError):
            return tag
    return most


@case
def new_work_is_refused_while_leaving():
    with start() as daemon, daemon.client() as client:
        room = submit_unread(daemon, client, 3000) - 4  # with a few answers not sent
        check(room > 8)

    def leaving():
        """How long it leaves once everything is read, of the two seconds that it would wait."""
        with start() as daemon, daemon.client() as client, daemon.client() as late:
            equal(submit_unread(daemon, client, room), room)
            daemon.process.terminate()
            daemon.wait_told("STOPPING=1")
            answer = late.hello()
            equal((answer["kind"], answer["code"], answer["retry"]), (REFUSED, DRAINING, 1))
            for tag in range(room):
                equal(client.receive()["tag"], tag)
            began = time.monotonic()
            equal(daemon.end(), 0)
            return time.monotonic() - began

    quickest(leaving, 1)


@case
def a_client_that_never_reads_does_not_keep_it():
    with start() as daemon, daemon.client() as client:
        room = submit_unread(daemon, client, 3000) - 4
    with start() as daemon, daemon.client() as client:
        submit_unread(daemon, client, room)
        began = time.monotonic()
        equal(daemon.terminate(), 0)
        check(1 < time.monotonic() - began < at_most(10))


@case
def idle_exit():
    with start("--idle-exit", "1") as daemon:
        with daemon.client() as client:
            client.hello()
            time.sleep(1.5)
            check(daemon.process.poll() is None, "left with a client")
            began = time.monotonic()
        equal(daemon.end(), 0)
        check(0.8 < time.monotonic() - began < at_most(4), "left after another time")
        check(not os.path.exists(daemon.socket))


@case
def descriptors_are_raised_to_the_hard_limit():
    def low():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))

    with start(preexec=low) as daemon:
        with open(f"/proc/{daemon.process.pid}/limits") as limits:
            line = next(line for line in limits if line.startswith("Max open files"))
        equal(line.split()[3:5], ["512", "512"])


@case
def nothing_is_inherited():
    with start() as daemon:
        for name in os.listdir(f"/proc/{daemon.process.pid}/fd"):
            with gone(), open(f"/proc/{daemon.process.pid}/fdinfo/{name}") as info:
                flags = int(next(l for l in info if l.startswith("flags:")).split()[1], 8)
                check(int(name) < 3 or flags & os.O_CLOEXEC, f"{name} is not close-on-exec")


main()

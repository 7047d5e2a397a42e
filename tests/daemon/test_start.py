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
                      need_root, quickest, run_daemon, wait_until)
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
        equal(client.ask(1, b"MKT")["status"], 0)


def fails(status, *arguments, words=(), **variables):
    """The daemon leaves with this status and says one line that has these words; returns it."""
    got, out, err = run(*arguments, **variables)
    equal((got, out), (status, ""))
    for word in words:
        check(word in err, err)
    equal(err.count("\n"), 1)
    return err


def cannot_serve(status, *arguments, words=(), path=None, **variables):
    """The same, where it should listen; no socket is left unless the path was given."""
    at = path or new_folder() + "/socket"
    fails(status, "--socket", at, *arguments, words=words, **variables)
    check(path or not os.path.exists(at))


def listening_at(path):
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(path)
    listening.listen()
    listening.settimeout(PATIENCE)
    return listening


@case
def options_and_their_errors():
    for option in ("--threads", "--max-clients", "--max-clients-per-user", "--max-pinned-per-user",
                   "--max-queued-per-user", "--ring-size", "--max-batch-residues", "--idle-exit"):
        for value in ("", "x", "-1", "0", "1.5", "1T", "1KK", "1Mix", "99999999999999999999",
                      "18446744073709551615G"):
            fails(64, option, value, words=[option, f"'{value}'"])
    for option, least, most in (
            ("--threads", 1, 4096), ("--max-clients", 1, 65536), ("--ring-size", 1 << 17, 1 << 32),
            ("--max-clients-per-user", 1, 65536), ("--max-pinned-per-user", 1, 1 << 50),
            ("--max-queued-per-user", 1, 1 << 50), ("--max-batch-residues", 3, 1 << 20),
            ("--idle-exit", 1, 1000000000)):
        for value in (least, most):
            equal(run(option, str(value), "--version")[0], 0)
        for value in (least - 1, most + 1):
            fails(64, option, str(value), "--version",
                  words=[f"{option}: '{value}' is not a number from {least} to {most}\n"])
    devices = [("--device", value) for value in ("x", "0,", ",1", "0,,1", "0,all", "-1", "")]
    for option, value in (*devices, ("--backend", "gpu"), ("--precision", "f64"),
                          ("--log-level", "loud"), ("--socket", ""), ("--model", "")):
        fails(64, option, value, words=[option, f"'{value}'"])
    fails(64, "--backend", "gpu",
          words=["--backend: 'gpu' is not one of auto, cpu, cuda, null\n"])
    equal(run("--check", "--help", "--nonsense")[0], 0)
    for argument in ("--nonsense", "-z", "--model", "-t", "file.nemo", "--check=x"):
        fails(64, argument, words=[argument.split("=")[0].lstrip("-")])
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
        with start("--ring-size", value) as daemon, daemon.session() as client:
            equal(client.info["ring_max"], size)


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
        cannot_serve(78, *arguments, words=words, **variables)
    for option in ("--max-batch-residues", "--max-queued-per-user"):
        cannot_serve(64, "--model", TINY1, option, "511", words=[option, "511"])


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
    need_root()
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
    cannot_serve(64, "--model", TINY1, "--group", "no-such-group", words=["no-such-group"])


@case
def two_daemons_do_not_share_a_socket():
    with start() as daemon:
        cannot_serve(73, "--model", TINY1, path=daemon.socket,
                     words=[daemon.socket, "another esm1nvd"])
        embeds(daemon.socket)


@case
def whatever_else_serves_the_path_stays():
    path = new_folder() + "/socket"
    with listening_at(path):
        cannot_serve(73, "--model", TINY1, path=path, words=[path, "another program serves it"])
        check(os.path.exists(path))
    os.unlink(path)
    with open(path, "w") as file:
        file.write("precious")
    cannot_serve(73, "--model", TINY1, path=path)
    with open(path) as file:
        equal(file.read(), "precious")


@case
def a_stale_socket_is_replaced():
    path = new_folder() + "/socket"
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
    path = new_folder() + "/socket"
    with listening_at(path) as dying, start(at=path, wait=False) as daemon:
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
        cannot_serve(status, "--model", TINY1, path=path, words=[path])


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
    listening = listening_at(path)
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
    path = new_folder() + "/socket"
    with listening_at(path) as listening, Client(path) as client:
        client.send(HELLO, protocol=1, program="x", pooling=MEAN, dtype=F32)
        process = with_passed(listening, "--model", "/nonexistent.nemo")
        answer = client.receive()
        equal((answer["kind"], answer["code"], answer["retry"]), (REFUSED, LOAD, 0))
        check("/nonexistent.nemo" in answer["text"])
        check(client.ended())
    check("/nonexistent.nemo" in process.communicate(timeout=PATIENCE)[1])
    equal(process.returncode, 78)


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
    path = new_folder() + "/socket"
    process = subprocess.Popen([activate, "--seqpacket", "--listen", path, DAEMON, "--model",
                                TINY1, "--backend", "null"],
                               stderr=subprocess.DEVNULL, env=environment())

    def listens():
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), Client(path):
            return True

    wait_until(listens)
    embeds(path)
    process.terminate()
    equal(process.wait(timeout=PATIENCE), 0)


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
        with start("--threads", "1", backend="cpu") as daemon, daemon.session() as client, \
                daemon.session(ring=MIB) as ring:
            equal(ring.push([residues] * 100), 100)
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


def unread_room():
    """How many answers a client may leave unread before it is dropped, a few of them not sent."""
    with start() as daemon, daemon.session() as client:
        return daemon.submit_unread(client, 3000) - 4


@case
def new_work_is_refused_while_leaving():
    room = unread_room()
    check(room > 8)

    def leaving():
        """How long it leaves once everything is read, of the two seconds that it would wait."""
        with start() as daemon, daemon.session() as client, daemon.client() as late:
            equal(daemon.submit_unread(client, room), room)
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
    room = unread_room()
    with start() as daemon, daemon.session() as client:
        daemon.submit_unread(client, room)
        began = time.monotonic()
        equal(daemon.terminate(), 0)
        check(1 < time.monotonic() - began < at_most(10))


@case
def idle_exit():
    with start("--idle-exit", "1") as daemon:
        with daemon.session():
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
        line = next(line for line in daemon.proc("limits").splitlines()
                    if line.startswith("Max open files"))
        equal(line.split()[3:5], ["512", "512"])


@case
def nothing_is_inherited():
    with start() as daemon:
        for name in os.listdir(f"/proc/{daemon.process.pid}/fd"):
            with gone():
                flags = int(daemon.proc(f"fdinfo/{name}").split("flags:")[1].split()[0], 8)
                check(int(name) < 3 or flags & os.O_CLOEXEC, f"{name} is not close-on-exec")


def as_first_process(*command):
    """How to run a command as the first process of a container: for it the kernel ignores a signal
    that has no handler."""
    unshare = ["unshare", *([] if os.geteuid() == 0 else ["-U", "-r"]), "-p", "-f", "--kill-child"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        raise Skip("no process namespace can be made here")
    return [*unshare, *command]


def send(process, *numbers):
    """To the child of unshare."""
    def child():
        if process.poll() is not None:
            raise ProcessLookupError
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            return file.read()

    for number in numbers:
        os.kill(int(wait_until(child)), number)


@case
def first_process_of_a_container():
    for number in (signal.SIGTERM, signal.SIGINT):
        with start(program=as_first_process(DAEMON)) as daemon:
            embeds(daemon.socket)
            send(daemon.process, signal.SIGHUP)
            daemon.wait_status(lambda status: status["generation"] == 2)
            send(daemon.process, number)
            equal(daemon.process.wait(PATIENCE), 0)


@case
def first_process_of_a_container_while_it_loads():
    with Daemon(program=as_first_process(DAEMON), model="synthetic", wait=False) as daemon:
        daemon.wait_told("STATUS=Loading synthetic")
        send(daemon.process, signal.SIGHUP, signal.SIGTERM)
        equal(daemon.process.wait(PATIENCE), 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        check_only = as_first_process(DAEMON, "--check", "--model", "synthetic", "--backend", "cpu")
        with subprocess.Popen(check_only, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while process.poll() is None:
                with gone():
                    send(process, number)
                time.sleep(0.01)
            equal((process.wait(), process.stdout.read()), (128 + number, b""))

main()

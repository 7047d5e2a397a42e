# SPDX-License-Identifier: Apache-2.0
#
# io_uring refused in every way that a container refuses it: everything works over epoll, and
# --status says so. close_range() refused: a private daemon keeps nothing of its caller's. And
# descriptors that run out: clients are turned away, and nothing spins.
import errno
import fcntl
import resource
import subprocess

from hostile import *

IO_URING = {"setup": 425, "enter": 426, "register": 427}
CLOSE_RANGE = 436


def refuse(*rules):
    return [tool("deny"), *(f"{IO_URING[call]}={error}" for call, error in rules)]


def works_over_epoll(*rules):
    program = [*refuse(*rules), DAEMON]
    with start(program=program, ESM1NV_LOOP="") as daemon:
        run = run_filter(daemon, "--status", env=FILTER_ENVIRONMENT)
        loop = next(line for line in run.stdout.decode().splitlines() if line.startswith("loop"))
        reason = os.strerror(rules[0][1])
        check("epoll (io_uring: " in loop and reason in loop, f"{loop!r} does not say {reason!r}")
        with steady_clients(daemon, 40) as runs:
            wait_until(lambda: min(runs) > 1, "filters run")
        return filter_output(daemon, ["--pool", "none"], fasta(20))


@case
def io_uring_refused_in_every_way():
    with start() as daemon:
        usual = filter_output(daemon, ["--pool", "none"], fasta(20))
    for rules in ([("setup", errno.EPERM)], [("setup", errno.ENOSYS)], [("setup", errno.ENOMEM)],
                  [("enter", errno.EPERM)], [("register", errno.EPERM)],
                  [("register", errno.EINVAL)]):
        check(works_over_epoll(*rules) == usual, f"{rules}: another output")


@case
def close_range_refused_leaves_a_private_daemon_nothing_of_its_caller():
    variables = environment(ASAN_OPTIONS="detect_leaks=0", XDG_RUNTIME_DIR=new_folder(), ESM1NVD=DAEMON)
    lock = os.path.join(new_folder(), "lock")
    for error in (errno.ENOSYS, errno.EPERM):
        with open(lock, "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            high = fcntl.fcntl(held, fcntl.F_DUPFD, 50)  # the daemon's socket takes the lowest
            subprocess.run([tool("deny"), f"{CLOSE_RANGE}={error}", FILTER, "-m", TINY1],
                           input=b"MKT\n", stdout=subprocess.DEVNULL, pass_fds=[high],
                           env=variables, check=True)
            os.close(high)
        try:
            with open(lock) as again:
                fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            subprocess.run([FILTER, "-m", TINY1, "--stop"], env=variables, check=True)


@case
def io_uring_asked_for_and_refused_is_an_error():
    program = [*refuse(("setup", errno.EPERM)), DAEMON]
    with Daemon("--backend", "null", program=program, wait=False,
                ESM1NV_LOOP="io_uring") as daemon:
        equal(daemon.end(), 78)
        check("epoll" in daemon.said() and "not permitted" in daemon.said(), daemon.said())


def shed(loop):
    with start("--max-clients", "4000", "--max-clients-per-user", "4000",
               preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
               ESM1NV_LOOP=loop) as daemon:
        before = daemon.descriptors()
        served, turned_away, waiting = [], 0, 0
        for _ in range(300):
            client = Client(daemon.socket, timeout=0.5)
            try:
                answer = client.hello()
            except (TimeoutError, BlockingIOError):
                waiting += 1
                client.close()
                continue
            if answer["kind"] == WELCOME:
                served.append(client)
                continue
            check((answer["code"], answer["retry"]) == (BUSY, 1)
                  and "file descriptors" in answer["text"], answer)
            turned_away += 1
            client.close()
            if turned_away > 120:
                break
        check(64 - before - 8 <= len(served) <= 64 and turned_away > 20,
              f"{len(served)} served, {turned_away} turned away, {waiting} waited")
        crowd = [Client(daemon.socket) for _ in range(200)]
        quickest(lambda: daemon.cpu_seconds_in(2), 0.12)  # it does not spin
        for number, client in enumerate(served):  # those inside notice nothing
            equal(client.ask(number, b"MKT")["tag"], number)
        for client in crowd + served:
            client.close()
        wait_until(lambda: daemon.descriptors() <= before, "descriptors are closed")
        filter_output(daemon, [], fasta(5))
        check(daemon.said().count("out of file descriptors") >= 1, daemon.said())


@case
def descriptors_run_out_over_epoll():
    shed("epoll")


@case
def descriptors_run_out_over_io_uring():
    with start() as daemon:
        if daemon.status()["loop"] != "io_uring":
            raise Skip(daemon.status()["loop"])
    shed("io_uring")


main()

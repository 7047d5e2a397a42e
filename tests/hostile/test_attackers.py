# SPDX-License-Identifier: Apache-2.0
#
# Ten thousand randomised attackers (attack.c) against one daemon, beside filters whose outputs must
# not change by one byte; then as many honest clients that come and go. Nothing may be left of any.
import random
import subprocess

from hostile import *

# Sanitizers are where they count: all of them already at a fifth of the scale.
ATTACKERS = min(10000, max(500, int(50000 * SCALE)))
SLACK = 32768 if SANITIZED else 4096  # KiB: what the heap may keep of the busiest moment


def attack(daemon, count, parallel=24):
    seed = random.SystemRandom().randrange(1 << 60)
    print(f"# attack {seed} {count}", flush=True)
    run = subprocess.run([tool("attack"), daemon.socket, str(seed), str(count), str(parallel)],
                         stdout=subprocess.PIPE, timeout=5 * PATIENCE)
    equal(run.returncode, 0)
    lines = run.stdout.decode().splitlines()
    check(not [line for line in lines if line.startswith("#")], lines)
    print("# " + ", ".join(lines), flush=True)
    return {name: int(number) for name, number in (line.split() for line in lines)}


def around_rings(daemon):
    """The rights to what lies before and behind each ring, as far as it touches it."""
    lines = [line.split() for line in daemon.proc("maps").splitlines()]
    parts = [(*line[0].split("-"), line[1], line[5:]) for line in lines]
    for before, ring, behind in zip(parts, parts[1:], parts[2:]):
        if "/memfd:ring" in ring[3]:
            yield (before[2] if before[1] == ring[0] else None,
                   behind[2] if behind[0] == ring[1] else None)


@case
def rings_stand_between_pages_that_nobody_may_touch():
    with start() as daemon, daemon.session(ring=MIB) as one, daemon.session(ring=MIB) as two:
        for client in (one, two):
            client.stream([b"MKT"])
        equal(list(around_rings(daemon)), [("---p", "---p")] * 2)


@case
def attackers_change_nothing_and_leave_nothing():
    with start("--log-level", "warning") as daemon:
        before = daemon.descriptors()
        with steady_clients(daemon) as runs:
            first = attack(daemon, ATTACKERS // 5)
            memory = daemon.memory()
            second = attack(daemon, ATTACKERS - ATTACKERS // 5)
        print(f"# filters ran {runs} times beside it", flush=True)
        check(min(runs) >= 1, runs)
        got = {name: first[name] + second[name] for name in first}
        equal(got["started"], ATTACKERS)
        for name, part in (("connected", 1), ("welcomed", 4), ("rings", 8), ("results", 20),
                           ("killed", 50), ("stopped", 200)):
            check(got[name] >= ATTACKERS // part * 0.8, f"too few of {name}: {got}")
        wait_clean(daemon, before)
        check(daemon.memory() <= memory + SLACK, f"{memory} KiB were resident, then {daemon.memory()}")
        filter_output(daemon, [], fasta(3))


@case
def connections_leave_nothing():
    with start("--log-level", "warning") as daemon:
        before = daemon.descriptors()
        subprocess.run([tool("come_and_go"), daemon.socket, str(ATTACKERS // 10)], check=True)
        memory = daemon.memory()
        subprocess.run([tool("come_and_go"), daemon.socket, str(ATTACKERS)], check=True)
        wait_clean(daemon, before)
        grown = daemon.memory() - memory
        print(f"# {grown} KiB more after {ATTACKERS} connections", flush=True)
        check(grown <= (8192 if SANITIZED else 512), f"{grown} KiB more")


main()

# SPDX-License-Identifier: Apache-2.0
"""The daemon as a resident: how soon it serves a full-size model file that is in the page cache, what
memory it keeps, what idle clients cost, and what many streaming clients lose against one. With the
argument "records": what it keeps after 100,000 records.
"""
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import programs  # first: it finds the tools
import nemo_file
from programs import Daemon

START_ROUNDS, STREAM_ROUNDS = 7, 3
RECORDS = 100000
IDLE_CLIENTS, IDLE_SECONDS = 256, 5
STREAMS, STREAM_RECORDS, STREAM_LENGTH = 64, 12, 60


def figure(name, values, unit, wanted, baseline=None, baselines=None):
    """One line for ./dev bench, as bench_figure_print() makes them."""
    line = {"figure": name, "unit": unit, "values": values, "wanted": wanted}
    if baselines:
        line.update(baseline=baseline, baselines=baselines)
    print(json.dumps(line), flush=True)


def memory(daemon, *fields):
    """Lines of /proc/PID/status, in bytes together."""
    return sum(int(line.split()[1]) * 1024 for line in daemon.proc("status").splitlines()
               if line.startswith(fields))


def fasta(name, count, length):
    path = programs.in_work(name)
    letters = "ACDEFGHIKLMNPQRSTVWY"
    with open(path, "w") as file:
        for i in range(count):
            file.write(">%d\n%s\n" % (i, "".join(letters[(i * 7 + j * j) % 20]
                                                for j in range(length))))
    return path


def filter_start(daemon, *arguments, stdin=subprocess.DEVNULL):
    return programs.start_filter(daemon, "-f", "raw", *arguments, stdin=stdin,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def streams(daemon, path, count):
    """Seconds for `count` clients at once with one file each."""
    start = time.monotonic()
    for process in [filter_start(daemon, path) for _ in range(count)]:
        assert process.wait() == 0
    return time.monotonic() - start


def starts(model):
    times = []
    for _ in range(START_ROUNDS):
        start = time.monotonic()
        with Daemon("-b", "cpu", model=model):
            times.append(time.monotonic() - start)
    figure("start, 175 MB f32 file to READY", times, "s", "<= 0.5")


def keeps(model, precision, bar):
    """Memory once warm."""
    with Daemon("-b", "cpu", "-p", precision, model=model) as daemon:
        streams(daemon, programs.PROTEINS, 1)
        warm = memory(daemon, "RssAnon")
        figure("RssAnon warm, " + precision, [warm / 1e6], "MB", "<= %g" % bar)


def keeps_after(model, precision):
    """100,000 records of one residue: what is allocated for each is the same as for long ones."""
    path = fasta("short.fasta", RECORDS, 1)
    with Daemon("-b", "cpu", "-p", precision, model=model) as daemon:
        streams(daemon, programs.PROTEINS, 1)
        warm = memory(daemon, "RssAnon")
        streams(daemon, path, 1)
        figure("RssAnon, %s, 100,000 records later" % precision,
               [memory(daemon, "RssAnon") / 1e6], "MB", "ratio <= 1.01", "warm", [warm / 1e6])


def idle():
    """Welcomed clients that say nothing: they wait for a line on a pipe."""
    with Daemon("-b", "null", "--max-clients-per-user", str(IDLE_CLIENTS + 8)) as daemon:
        streams(daemon, programs.PROTEINS, 1)
        before = memory(daemon, "RssAnon", "RssShmem")
        reader, writer = os.pipe()
        clients = [filter_start(daemon, stdin=reader) for _ in range(IDLE_CLIENTS)]
        daemon.wait_status(lambda status: status["clients"] == IDLE_CLIENTS)
        after = memory(daemon, "RssAnon", "RssShmem")
        cpu = daemon.cpu_seconds_in(IDLE_SECONDS)
        os.close(reader)
        os.close(writer)
        assert all(client.wait() == 0 for client in clients)
    figure("256 idle clients, memory of each", [(after - before) / IDLE_CLIENTS / 1e3], "KB",
           "<= 24")
    figure("256 idle clients, CPU", [100 * cpu / IDLE_SECONDS], "%", "<= 0.2")


def many(model):
    few = fasta("few.fasta", STREAM_RECORDS, STREAM_LENGTH)
    whole = fasta("whole.fasta", STREAMS * STREAM_RECORDS, STREAM_LENGTH)
    residues = STREAMS * STREAM_RECORDS * STREAM_LENGTH
    ones, manies = [], []
    with Daemon("-b", "cpu", "-p", "bf16", "--max-clients-per-user", str(STREAMS + 8),
                model=model) as daemon:
        streams(daemon, whole, 1)
        for _ in range(STREAM_ROUNDS):
            ones.append(residues / streams(daemon, whole, 1))
            manies.append(residues / streams(daemon, few, STREAMS))
    figure("64 streaming clients", manies, "residues/s", "ratio >= 0.95", "one client", ones)


def main():
    try:
        model = programs.in_work("full.nemo")
        config = nemo_file.real_config()
        nemo_file.write_nemo(model, config, nemo_file.esm1nv_tensors(config, seed=7))
        if sys.argv[1:] == ["records"]:
            keeps_after(model, "bf16")
            keeps_after(model, "f32")
        else:
            starts(model)
            keeps(model, "f32", 230)
            keeps(model, "bf16", 130)
            idle()
            many(model)
    finally:
        programs.finish()


if __name__ == "__main__":
    main()

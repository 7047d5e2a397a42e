# SPDX-License-Identifier: Apache-2.0
"""Every status figure, as the rows of ipc/keys.h have them: a daemon fills it, --status tells it in
the order of the rows, --metrics prints it as its row says, and the manual page names it.

    test_figures.py MESSAGE_TOOL MANUAL_PAGE         prints TAP
"""
import json
import os
import re
import subprocess
import sys

import tap
import wire
from programs import Daemon, finish, run_filter

tool, page = sys.argv[1:]
ROWS = [line.split(maxsplit=6) for line in
        subprocess.run([tool, "rows"], capture_output=True, text=True, check=True).stdout.splitlines()]
# People and programs know this order; a new figure may stand anywhere in it.
ORDER = """version pid uptime_seconds model digest synthetic parameters hidden positions backend
precision instructions threads loop note generation clients clients_before clients_total records
records_failed residues batches queued_residues pinned_bytes""".split()
# So does who watches a daemon, and reckons rates from the counters alone.
KINDS = {"gauge": """uptime_seconds threads generation clients clients_before queued_residues
                     pinned_bytes info""",
         "counter": "sessions records records_failed residues batches"}
FIGURES = {row[5]: row for row in ROWS if row[5] != "-"}


def field(row, name):
    found = re.search(r'\.%s = "([^"]*)"' % name, row[6])
    return found and found.group(1)


@tap.case("the daemon fills each row, --status tells it in their order, --metrics as they say")
def filled():
    with Daemon("-b", "null", model="synthetic") as daemon:
        with wire.Client(daemon.socket) as client:
            client.send(wire.STATUS_QUERY, protocol=1)
            sent = client.receive().keys() - {"kind"}
        status = json.loads(run_filter(daemon, "--status=json").stdout)
        metrics = run_filter(daemon, "--metrics").stdout.decode()
    named = [name for name in FIGURES if name != "device"]  # nothing computes on a GPU here
    numbers = {int(row[0]) for name, row in FIGURES.items() if name != "device"}
    assert {wire.NUMBER[key] for key in sent} == numbers, sent
    assert list(status) == ["socket", *named], status
    assert [name for name in named if name in ORDER] == ORDER, named
    wanted, labels = [], []
    for name in named:
        row = FIGURES[name]
        kind = re.search(r"METRIC_(\w+)", row[6]).group(1)
        family = "esm1nv_" + (field(row, "name") or name)
        if kind == "LABEL":
            labels.append(name)
        elif kind != "NONE":
            wanted.append("# TYPE %s %s" % (family, kind.lower()))
            if field(row, "unit"):
                wanted.append("# UNIT %s %s" % (family, field(row, "unit")))
                assert family.endswith("_" + field(row, "unit")), family
            wanted.append("# HELP %s %s" % (family, field(row, "help")))
            wanted.append("%s%s " % (family, "_total" if kind == "COUNTER" else ""))
    lines = metrics.splitlines()
    assert len(lines) == len(wanted) + 4, metrics  # esm1nv_info and the end
    for line, begin in zip(lines, wanted):
        assert line == begin or (begin.endswith(" ") and line.startswith(begin)), (line, begin)
    for kind, names in KINDS.items():
        for name in names.split():
            assert "# TYPE esm1nv_%s %s" % (name, kind) in lines, name
    assert re.findall(r'[{,](\w+)="', lines[-2]) == labels, lines[-2]


@tap.case("the manual page names each figure")
def documented():
    with open(page) as file:
        text = file.read().replace("\\-", "-")
    section = text.split("\n.SH STATUS\n")[1].split("\n.SH ")[0]
    missing = [name for name in FIGURES if not re.search(r"^%s\tT{$" % name, section, re.M)]
    assert not missing, missing


if __name__ == "__main__":
    tap.main(finish)

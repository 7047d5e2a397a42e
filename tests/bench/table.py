# SPDX-License-Identifier: Apache-2.0
"""Makes one table of what the benchmarks printed: table.py LOG JSON, with meson's log of a benchmark
run; writes all figures to JSON. Fails when a benchmark could not measure.
"""
import json
import sys

COLUMNS = ("figure", "value", "unit", "baseline", "ratio", "spread", "wanted")


def number(value):
    return "%.4g" % value if abs(value) < 1e5 else "%.0f" % value


def row(figure):
    baseline = ratio = ""
    if "baseline" in figure:
        baseline = "%s: %s" % (figure["baseline"], number(figure["baseline_value"]))
        ratio = "%.3f" % figure["ratio"]
    wanted = figure.get("wanted", "")
    if wanted:
        wanted += "" if figure["reached"] else "  MISSED"
    return (figure["figure"], number(figure["value"]), figure["unit"], baseline, ratio,
            "%s to %s" % (number(figure["least"]), number(figure["most"])), wanted)


def main():
    log, output = sys.argv[1:]
    figures, broken = [], []
    with open(log) as lines:
        for test in map(json.loads, lines):
            text = test.get("stdout", "")
            figures += [json.loads(line) for line in text.splitlines() if line.startswith("{")]
            if test["result"] != "OK":
                broken.append("%s: %s\n%s" % (test["name"], test["result"],
                                              test.get("stderr", "")))
    with open(output, "w") as file:
        json.dump(figures, file, indent=1)
        file.write("\n")
    rows = [COLUMNS] + [row(figure) for figure in figures]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    rows.insert(1, ["-" * width for width in widths])
    for cells in rows:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |")
    sys.exit("\n".join(broken) or 0)


main()

# SPDX-License-Identifier: Apache-2.0
"""Makes one table of what the benchmarks printed: table.py LOG JSON, with meson's log of a benchmark
run; writes all figures to JSON. A figure is the median of the rounds' values, and its ratio that of
the rounds' ratios to their baselines. Fails when a benchmark could not measure.
"""
import json
import sys
from statistics import median

COLUMNS = ("figure", "value", "unit", "baseline", "ratio", "spread", "wanted")


def number(value):
    return "%.4g" % value if abs(value) < 1e5 else "%.0f" % value


def measured(figure):
    """The same with what its rounds come to."""
    values = spread = figure["values"]
    figure["value"] = median(values)
    if "baselines" in figure:
        spread = [a / b for a, b in zip(values, figure["baselines"])]
        figure.update(baseline_value=median(figure["baselines"]), ratio=median(spread))
    figure.update(least=min(spread), most=max(spread))
    if "wanted" in figure:
        *of_ratio, sign, bar = figure["wanted"].split()
        got = figure["ratio"] if of_ratio else figure["value"]
        figure["reached"] = got <= float(bar) if sign == "<=" else got >= float(bar)
    return figure


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
            figures += [measured(json.loads(line)) for line in text.splitlines()
                        if line.startswith("{")]
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

# SPDX-License-Identifier: Apache-2.0
"""The manual pages say what --help says: the same options in the same order and sections, the same
values, the same defaults; and they name no option that there is not.
"""
import os
import re
import shlex
import subprocess

import programs
import tap

PAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "man")
PROGRAMS = {"esm1nv.1": programs.FILTER, "esm1nvd.8": programs.DAEMON}
HEAD = re.compile(r"(?:  (-\w), |      )--([\w-]+)((?: |\[=)\S+)?(?= |$)(.*)")


class Option:
    def __init__(self, section, letter, name, value, text):
        values = value.strip(" []=") if value else ""
        self.head = (section, letter, name, sorted(values.split("|")))
        self.text = text

    def default(self):
        """What --help has in parentheses at the end, if it is a value."""
        last = re.search(r"\(([^()]+)\)$", self.text)
        is_value = last and (last[1] in self.head[3] or re.fullmatch(r"\d+([KMG]i?)?", last[1]))
        return last[1] if is_value else None


def helped(program):
    """The options of --help."""
    run = subprocess.run([program, "--help"], capture_output=True, text=True, check=True,
                         timeout=programs.PATIENCE)
    assert max(map(len, run.stdout.split("\n"))) <= 80, "wider than 80 columns"
    section, options = "", []
    for line in run.stdout.split("\n\n", 1)[1].rsplit("\n\n", 1)[0].split("\n"):
        head = HEAD.fullmatch(line)
        if head:
            options.append(Option(section, head[1], head[2], head[3], head[4].strip()))
        elif line.startswith(" " * 36):
            options[-1].text = (options[-1].text + " " + line.strip()).strip()
        else:
            section = line
    return options


def plain(line):
    """A line of a page without its macro, fonts and escapes."""
    if line.startswith("."):
        words = shlex.split(line.replace("\\", "\\\\"))[1:]
        together = re.match(r"\.[BIR]{2} ", line)
        line = ("" if together else " ").join(words)
    return re.sub(r"\\f.|\\[|&]|\\(?=-)", "", line)


def section_of(lines, kind, title):
    """What follows a heading, up to the next of its kind."""
    begin = next(i for i, line in enumerate(lines) if line == ".%s %s" % (kind, title))
    after = [i for i in range(begin + 1, len(lines)) if lines[i].startswith(".%s " % kind)]
    return lines[begin + 1:after[0] if after else None]


def described(page):
    """The options under OPTIONS."""
    with open(os.path.join(PAGES, page)) as file:
        lines = file.read().split("\n")
    section, depth, options, begins = "", 0, [], False
    for line in section_of(lines, "SH", "OPTIONS"):
        depth += {".RS": 1, ".RE": -1}.get(line, 0)
        if line.startswith(".SS"):
            section = plain(line)
        elif line == ".TP" and depth == 0:
            begins = True
        elif begins:
            head = HEAD.fullmatch(re.sub("^(?=--)", "      ", re.sub("^(?=-\\w)", "  ", plain(line))))
            assert head, "%s: '%s' is no option" % (page, plain(line))
            options.append(Option(section, head[1], head[2], head[3], ""))
            begins = False
        elif options:
            options[-1].text += plain(line) + " "
    return options


@tap.cases("%s describes the options of --help", PROGRAMS)
def both(page):
    shown, told = helped(PROGRAMS[page]), described(page)
    assert len(shown) > 15
    for one, other in zip(shown, told):
        assert one.head == other.head, "--help %s, %s %s" % (one.head, page, other.head)
    assert len(shown) == len(told), "%d in --help, %d in %s" % (len(shown), len(told), page)
    for one, other in zip(shown, told):
        assert len(other.text) > 10, "--%s: not described" % one.head[2]
        default = one.default()
        assert not default or "(%s)" % default in other.text, \
            "--%s: no (%s) in '%s'" % (one.head[2], default, other.text)
    assert sum(option.default() is not None for option in shown) >= 8


@tap.case("no page names an option that there is not")
def existing():
    known = {option.head[2] for program in PROGRAMS.values() for option in helped(program)}
    for page in PROGRAMS:
        with open(os.path.join(PAGES, page)) as file:
            lines = [line for line in file if not line.startswith("systemctl ")]
        named = set(re.findall(r"--([a-z][a-z-]+)", "".join(lines).replace("\\-", "-")))
        assert named <= known, named - known


tap.main(programs.finish)

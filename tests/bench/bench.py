#!/usr/bin/env python3
"""make bench: our proxy and its peers, side by side, in one run.

Each row of the table is measured in rounds: direct, ours, each peer, and again,
so that what disturbs the machine disturbs all of them.  Reported is the median,
as a share of direct (the connection without a proxy), with the spread of the
rounds behind it.  tests/bench/load.cpp makes the load and compares every byte.

    bench.py [--rounds N] [--out FOLDER]    writes bench.md and bench.svg there
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from strictness import Program, ROOT  # noqa: E402  (its folder had to be named)

LOAD = os.path.join(ROOT, "build/plain/load")
GIB = 1 << 30
NAMES = ["ours", "tinyproxy", "squid", "apache"]


class Row:
    """What is measured, who takes part, and how a run of `load` is called."""

    def __init__(self, name, mode, n, clients=1, bulk=False):
        self.name = name
        self.mode = mode
        self.n = n
        self.clients = clients
        self.smaller_is_better = mode == "rtt"
        self.bulk = bulk


ROWS = [
    Row("tunnel, download", "down", GIB, bulk=True),
    Row("tunnel, upload", "up", GIB, bulk=True),
    Row("relay, download", "relay", GIB, bulk=True),
    Row("small GET, 16 clients kept alive", "kept", 16000, 16),
    Row("small GET, new connection each", "new", 6000, 16),
    Row("CONNECT, a byte, close, 16 at a time", "connect", 6000, 16),
    Row("round trip in a tunnel, 1", "rtt", 10000, 1),
    Row("round trip in a tunnel, 50", "rtt", 25000, 50),
]


def processor_seconds(pid):
    """Of a process and of all its children."""
    total = 0
    pids = [pid]
    while pids:
        one = pids.pop()
        try:
            with open("/proc/%d/stat" % one, encoding="ascii") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
            with open("/proc/%d/task/%d/children" % (one, one), encoding="ascii") as file:
                pids += [int(child) for child in file.read().split()]
        except OSError:
            pass
    return total / os.sysconf("SC_CLK_TCK")


def measure(row, program):
    """One run; the result, and for bulk the processor seconds for each GiB."""
    port = program.port if program else 0
    before = processor_seconds(program.process.pid) if program else 0
    done = subprocess.run(
        [LOAD, row.mode, str(port), str(row.n), str(row.clients)],
        capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        return None, None
    cost = None
    if row.bulk and program:
        cost = (processor_seconds(program.process.pid) - before) / (row.n / GIB)
    return float(done.stdout), cost


def run_row(row, programs, rounds):
    """Results of each participant, round by round: {name: [result]}."""
    results = {name: [] for name in ["direct"] + NAMES}
    costs = {name: [] for name in NAMES}
    for _ in range(rounds):
        for name in results:
            if name != "direct" and name not in programs:
                continue
            result, cost = measure(row, programs.get(name))
            if result is not None:
                results[name].append(result)
            if cost is not None:
                costs[name].append(cost)
    return results, costs


def share(row, results, name):
    """The median as a share of direct, 1 at best; and its spread in per cent."""
    if not results.get(name):
        return None, None
    mine, direct = statistics.median(results[name]), statistics.median(results["direct"])
    ratio = direct / mine if row.smaller_is_better else mine / direct
    spread = (max(results[name]) - min(results[name])) / mine / 2
    return ratio, 100 * spread


def markdown(table):
    lines = ["| what | direct | " + " | ".join(NAMES) + " | ours / best peer |",
             "| --- | --- |" + " --- |" * (len(NAMES) + 1)]
    for row, results, costs in table:
        unit = "µs" if row.smaller_is_better else "MiB/s" if row.bulk else "/s"
        cells = ["%.0f %s" % (statistics.median(results["direct"]), unit)]
        for name in NAMES:
            ratio, spread = share(row, results, name)
            cell = "-" if ratio is None else "%.2f ±%.0f %%" % (ratio, spread)
            if costs.get(name):
                cell += ", %.2f s/GiB" % statistics.median(costs[name])
            cells.append(cell)
        ours, _ = share(row, results, "ours")
        peers = [share(row, results, n)[0] for n in NAMES[1:]]
        best = max([p for p in peers if p], default=None)
        cells.append("%.2f" % (ours / best) if ours and best else "-")
        lines.append("| " + row.name + " | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


COLOURS = {"ours": "#c2410c", "tinyproxy": "#64748b", "squid": "#0f766e",
           "apache": "#7c3aed"}


def svg(table):
    """Bars, one group for each row: the share of direct."""
    bar, gap, left, width = 11, 16, 250, 420
    parts = []
    y = 34
    for row, results, _ in table:
        parts.append('<text x="%d" y="%d" text-anchor="end">%s</text>'
                     % (left - 8, y + 2.5 * bar, row.name))
        for name in NAMES:
            ratio, _ = share(row, results, name)
            if ratio is None:
                continue
            parts.append('<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>'
                         % (left, y, ratio * width, bar - 1, COLOURS[name]))
            parts.append('<text x="%.1f" y="%d" font-size="9">%.2f</text>'
                         % (left + ratio * width + 4, y + bar - 2, ratio))
            y += bar
        y += gap
    legend = "".join(
        '<rect x="%d" y="10" width="10" height="10" fill="%s"/><text x="%d" y="19">%s</text>'
        % (left + 85 * i, COLOURS[name], left + 85 * i + 14, name)
        for i, name in enumerate(NAMES))
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
            'font-family="sans-serif" font-size="12">'
            '<rect width="100%%" height="100%%" fill="white"/>%s'
            '<line x1="%d" y1="28" x2="%d" y2="%d" stroke="#94a3b8"/>'
            '<text x="%d" y="%d" text-anchor="middle">direct = 1</text>%s</svg>\n'
            % (left + width + 60, y + 20, legend, left + width, left + width, y,
               left + width, y + 14, "".join(parts)))


def start(names, stack):
    programs = {}
    for name in names:
        folder = tempfile.TemporaryDirectory()
        stack.append(folder)
        try:
            programs[name] = Program(name, folder.name)
        except SystemExit as error:
            print(error, file=sys.stderr)
    return programs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default=os.path.join(ROOT, "build"))
    arguments = parser.parse_args()
    folders = []
    programs = start(NAMES, folders)
    try:
        table = []
        for row in ROWS:
            print("... " + row.name, file=sys.stderr, flush=True)
            table.append((row, *run_row(row, programs, arguments.rounds)))
            print(markdown(table[-1:]).splitlines()[2], file=sys.stderr, flush=True)
    finally:
        for program in programs.values():
            program.close()
    text = markdown(table)
    print(text)
    for name, content in (("bench.md", text), ("bench.svg", svg(table))):
        with open(os.path.join(arguments.out, name), "w", encoding="utf-8") as file:
            file.write(content)


if __name__ == "__main__":
    main()

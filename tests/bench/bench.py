#!/usr/bin/env python3
"""make bench: our proxy and its peers, side by side, in one run.

Each row of the table is measured in rounds: direct, ours, each peer, and again,
so that what disturbs the machine disturbs all of them.  Reported is the median,
as a share of direct (the connection without a proxy), followed by the spread
of the rounds.  tests/bench/load.cpp makes the load and compares every byte.

haproxy is no proxy in our sense: it forwards TCP to one address without being
asked.  It shows what a tunnel could be like at best.

    bench.py [--rounds N] [--out FOLDER]    writes bench.md and bench.svg there
    bench.py --trace                        ours without and with --trace instead;
                                            writes trace.md and trace.svg
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from lib import ROOT, cpu_seconds, free_port  # noqa: E402  (their folder had to be named)
from strictness import Program  # noqa: E402

LOAD = os.path.join(ROOT, "build/plain/load")
GIB = 1 << 30
PROXIES = ["ours", "tinyproxy", "squid", "apache"]
NAMES = PROXIES + ["haproxy"]
IDLE_TUNNELS = 9000
IDLE_NAMES = ["ours", "tinyproxy", "squid"]  # apache has 400 workers


class Row:
    """What is measured, and how a run of `load` is called."""

    def __init__(self, name, mode, n, clients=1):
        self.name = name
        self.mode = mode
        self.n = n
        self.clients = clients
        self.smaller_is_better = mode == "rtt"
        self.bulk = mode in ("down", "up", "relay")
        self.names = NAMES if mode in ("down", "up", "connect", "rtt") else PROXIES


ROWS = [
    Row("tunnel, download", "down", GIB),
    Row("tunnel, upload", "up", GIB),
    Row("relay, download", "relay", GIB),
    Row("small GET, 16 clients kept alive", "kept", 16000, 16),
    Row("small GET, new connection each", "new", 6000, 16),
    Row("CONNECT, a byte, close, 16 at a time", "connect", 6000, 16),
    Row("round trip in a tunnel, 1", "rtt", 10000, 1),
    Row("round trip in a tunnel, 50", "rtt", 25000, 50),
]


class Forwarder(Program):
    """haproxy in TCP mode, between a port and the origin server."""

    def __init__(self, folder, origin_port):
        self.origin_port = origin_port
        super().__init__("haproxy", folder)

    def haproxy(self, folder):
        path = self.write(folder, "haproxy.cfg",
                          "global\n  maxconn 9900\n"
                          "defaults\n  mode tcp\n  timeout connect 10s\n"
                          "  timeout client 60s\n  timeout server 60s\n"
                          "listen tunnel\n  bind 127.0.0.1:%d\n  server origin 127.0.0.1:%d\n"
                          % (self.port, self.origin_port))
        return [shutil.which("haproxy", path="/usr/sbin:" + os.environ["PATH"]),
                "-db", "-f", path]


def family(pid):
    """A process and all its children."""
    pids = [pid]
    for one in pids:
        try:
            with open("/proc/%d/task/%d/children" % (one, one), encoding="ascii") as file:
                pids += [int(child) for child in file.read().split()]
        except OSError:
            pass
    return pids


def processor_seconds(pid):
    return sum(map(cpu_seconds, family(pid)))


def pss_kib(pid):
    """Memory, where what processes share counts once."""
    total = 0
    for one in family(pid):
        with open("/proc/%d/smaps_rollup" % one, encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total


def command(row, program):
    """How `load` is called, for a proxy, a forwarder, or none."""
    if program is None:
        return [LOAD, row.mode, "0", str(row.n), str(row.clients)]
    if isinstance(program, Forwarder):
        return [LOAD, row.mode, str(-program.port), str(row.n), str(row.clients),
                str(program.origin_port)]
    return [LOAD, row.mode, str(program.port), str(row.n), str(row.clients)]


def measure(row, program):
    """One run; the result, and for bulk the processor seconds for each GiB."""
    before = processor_seconds(program.process.pid) if program else 0
    done = subprocess.run(
        command(row, program), capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        print(done.stderr.strip(), file=sys.stderr)
        return None, None
    cost = None
    if row.bulk and program:
        cost = (processor_seconds(program.process.pid) - before) / (row.n / GIB)
    return float(done.stdout), cost


def run_row(row, programs, rounds):
    """Results of each participant, round by round: {name: [result]}."""
    results = {name: [] for name in ["direct"] + row.names}
    costs = {name: [] for name in row.names}
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


def idle_memory(program):
    """KiB for each of many idle tunnels, all of which answered twice."""
    before = pss_kib(program.process.pid)
    with subprocess.Popen([LOAD, "idle", str(program.port), str(IDLE_TUNNELS)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        if load.stdout.readline() != "open\n":
            return None
        time.sleep(20)  # what they give back when quiet is not theirs: ours after 15 s
        held = pss_kib(program.process.pid) - before
        load.communicate("\n", timeout=60)
    return held / IDLE_TUNNELS if load.returncode == 0 else None


def idle_row(programs):
    cells = []
    for name in NAMES:
        kib = idle_memory(programs[name]) if name in IDLE_NAMES and name in programs else None
        cells.append("-" if kib is None else "%.1f KiB" % kib)
    return "| %d idle tunnels, memory of each | - | %s | |" % (IDLE_TUNNELS, " | ".join(cells))


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
        peers = [share(row, results, n)[0] for n in PROXIES[1:]]
        best = max([p for p in peers if p], default=None)
        cells.append("%.2f" % (ours / best) if ours and best else "-")
        lines.append("| " + row.name + " | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


COLOURS = {"ours": "#c2410c", "traced": "#ea580c", "tinyproxy": "#64748b", "squid": "#0f766e",
           "apache": "#7c3aed", "haproxy": "#a3a3a3"}


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
            programs[name] = (Forwarder(folder.name, free_port()) if name == "haproxy"
                              else Program(name, folder.name))
        except SystemExit as error:
            print(error, file=sys.stderr)
    return programs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default=os.path.join(ROOT, "build"))
    parser.add_argument("--trace", action="store_true")
    arguments = parser.parse_args()
    if arguments.trace:
        for names in (NAMES, PROXIES, IDLE_NAMES):
            names[:] = ["ours", "traced"]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folders = []
    programs = start(NAMES, folders)
    try:
        table = []
        for row in ROWS:
            print("... " + row.name, file=sys.stderr, flush=True)
            table.append((row, *run_row(row, programs, arguments.rounds)))
            print(markdown(table[-1:]).splitlines()[2], file=sys.stderr, flush=True)
        print("... idle tunnels", file=sys.stderr, flush=True)
        last_row = idle_row(programs)
    finally:
        for program in programs.values():
            program.close()
    text = markdown(table) + last_row + "\n"
    print(text)
    base = os.path.join(arguments.out, "trace" if arguments.trace else "bench")
    for ending, content in ((".md", text), (".svg", svg(table))):
        with open(base + ending, "w", encoding="utf-8") as file:
            file.write(content)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Draws notes/trace.svg anew: the trace that the notes show.

    tests/trace_svg.py     needs build/plain/forward_proxy, curl and unshare

Starts the proxy with --trace on a pseudo-terminal, sends it one curl whose
certificate check fails, and draws the lines in the colors of the trace.  Starts
itself again in a new network namespace, where ports are free.
"""
import fcntl
import html
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios

from lib import PLAIN, ROOT, in_own_network, is_listening, wait_for

COLORS = {"36": "#22d3ee", "33": "#facc15", "32": "#4ade80", "1;31": "#f87171"}
UNCOLORED = "#e2e8f0"
COLUMNS = 100
LINE_HEIGHT = 17


def read_until(terminal, wanted, said=b""):
    def more():
        nonlocal said
        if wanted not in said and select.select([terminal], [], [], 0.2)[0]:
            said += os.read(terminal, 65536)
        return wanted in said
    wait_for(more, 20, "%r on the terminal" % wanted)
    return said


def trace():
    """What a terminal would get for one failed tunnel, up to its log line."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    origin = subprocess.Popen([sys.executable, ROOT + "/notes/origin.py"],
                              stdout=subprocess.DEVNULL, cwd=ROOT)
    proxy = subprocess.Popen([PLAIN, "--trace"],
                             stdout=theirs, stderr=theirs, env=environment)
    try:
        said = read_until(ours, b"through.")
        wait_for(lambda: is_listening(8443), 20, "origin server")
        subprocess.run(["curl", "-s", "-x", "127.0.0.1:3128", "https://localhost:8443/"],
                       check=False)
        said = read_until(ours, b" -> seen", said)
    finally:
        for process in (proxy, origin):
            process.terminate()
            process.wait()
    return said.decode("utf-8")


def drawn(text):
    """The steps as SVG, without the log line and the lines before the first step."""
    lines = [line for line in text.replace("\r\n", "\n").split("\n")
             if line.startswith("#")]
    height = LINE_HEIGHT * len(lines) + 26
    svg = ['<svg xmlns="http://www.w3.org/2000/svg" width="830" height="%d" '
           'font-family="ui-monospace,Menlo,Consolas,monospace" font-size="13">'
           '<rect width="100%%" height="100%%" rx="6" fill="#0f172a"/>' % height]
    for number, line in enumerate(lines):
        color = re.search(r"\x1b\[(1;31|3\d)m", line)
        svg.append('<text x="12" y="%d" fill="%s" xml:space="preserve">%s</text>' % (
            26 + LINE_HEIGHT * number, COLORS[color[1]] if color else UNCOLORED,
            html.escape(re.sub(r"\x1b\[[\d;]*m", "", line))))
    return "\n".join(svg) + "</svg>\n"


if __name__ == "__main__":
    in_own_network()
    with open(ROOT + "/notes/trace.svg", "w", encoding="utf-8") as file:
        file.write(drawn(trace()))

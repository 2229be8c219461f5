#!/usr/bin/env python3
"""The steps of notes/from-nothing: each passes its level of the grader, which the
step before it does not, and the last one passes all of the six.

    tests/from_nothing.py             all of it
    tests/from_nothing.py step3.py    this file
"""

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile
import time

from strictness import ROOT

FOLDER = os.path.join(ROOT, "notes", "from-nothing")
LEVELS = ["basic", "concurrent", "tunnel", "failures", "streaming", "hostile"]


def command(name, scratch):
    """How to start it; a step in C++ is compiled first."""
    path = os.path.join(FOLDER, name)
    if name.endswith(".py"):
        return "%s %s {port}" % (sys.executable, path)
    program = os.path.join(scratch, name.removesuffix(".cpp"))
    subprocess.run([os.environ.get("CXX", "g++"), "-std=c++20", "-O1", "-Wall", "-Wextra",
                    "-Wpedantic", "-Werror", "-pthread", path, "-o", program], check=True)
    return program + " {port}"


def failures(start, levels, patience, scratch, *options):
    """[behaviour: what is wrong]."""
    options += tuple(word for level in levels for word in ("--level", level))
    done = subprocess.run(
        [sys.executable, ROOT + "/tests/grade.py", "--json", "--patience", str(patience),
         "--seconds", "200", "--keep", scratch, *options, start],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    assert done.returncode != 2, done.stdout
    return ["%s: %s" % (one["name"], one["sentence"]) for one in json.loads(done.stdout)["behaviours"]
            if one["verdict"] == "failed"]


def run(name):
    """What is wrong with a step."""
    number = int(re.search(r"\d", name)[0])
    with tempfile.TemporaryDirectory() as scratch:
        start = command(name, scratch)
        levels = LEVELS if number == len(LEVELS) else LEVELS[number - 1:number]
        wrong = failures(start, levels, 5, scratch + "/kept")
        if number < len(LEVELS) and not failures(start, LEVELS[number:number + 1], 0.5,
                                                 scratch + "/next", "--quick"):
            wrong.append("the level of the next step passes too: %s" % LEVELS[number])
    return wrong


def main():
    names = sys.argv[1:] or sorted(os.listdir(FOLDER))
    began = time.monotonic()
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for name, wrong in zip(names, pool.map(run, names)):
            bad += bool(wrong)
            for words in wrong:
                print("FAILED: %s: %s" % (name, words), flush=True)
    print("%.0f s\n%d passed, %d failed" % (time.monotonic() - began, len(names) - bad, bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

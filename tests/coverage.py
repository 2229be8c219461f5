#!/usr/bin/env python3
"""The lines of the product that no test of `make test` has run.

    make coverage         builds with gcov's counters in build/coverage, runs the
                          tests, and prints FILE:LINE: the line

A line that no test can run has its reason in tests/coverage/reasons.txt.  The status
is 1 if a line has neither a test nor a reason.  Branches within a line are not
looked at: tests/mutate.py shows more.
"""
import collections
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build", "coverage")
REASONS = os.path.join(ROOT, "tests", "coverage", "reasons.txt")


def is_product(path):
    return not path.startswith(("/", "tests/", "build/"))


def objects():
    """The product's objects, with or without counts of their own; not those of a
    source that has since been removed."""
    for folder, _, files in os.walk(BUILD):
        for name in files:
            source = os.path.relpath(os.path.join(folder, name[:-5] + ".cpp"), BUILD)
            if (name.endswith(".gcno") and is_product(source)
                    and os.path.isfile(os.path.join(ROOT, source))):
                yield os.path.join(folder, name)


def counts_of(gcno):
    """(file, line) and how often it ran, for each line with code in an object."""
    done = subprocess.run(["gcov", "--json-format", "--stdout", gcno], cwd=ROOT,
                          check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    for text in done.stdout.splitlines():
        for file in json.loads(text)["files"]:
            if is_product(file["file"]):
                for line in file["lines"]:
                    yield (file["file"], line["line_number"]), line["count"]


def reasons():
    """The lines that have one, as FILE: TEXT, and not by their number, which changes."""
    with open(REASONS, encoding="utf-8") as file:
        return {line.strip() for line in file if line.strip() and not line.startswith("#")}


class Sources:
    def __init__(self):
        self.lines = {}

    def line(self, path, number):
        """Its text; "" for line 0 and for one after the end."""
        if path not in self.lines:
            with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                self.lines[path] = [""] + [line.strip() for line in file]
        lines = self.lines[path]
        return lines[number] if number < len(lines) else ""

    def is_code(self, path, number):
        """False where gcov counts only what destroys objects after an exception: at
        a brace, and in the middle of a list of arguments or values."""
        text = self.line(path, number)
        return (re.search(r"\w", text) is not None
                and (not self.line(path, number - 1).endswith((",", "("))
                     or "return" in text))


def main():
    counts = collections.Counter()
    for gcno in objects():
        for place, count in counts_of(gcno):
            counts[place] += count
    sources = Sources()
    unreached = ["%s:%d: %s" % (path, number, sources.line(path, number))
                 for (path, number), count in sorted(counts.items())
                 if count == 0 and sources.is_code(path, number)]
    explained = reasons()
    unexplained = [line for line in unreached
                   if re.sub(r":\d+: ", ": ", line, count=1) not in explained]
    for line in unexplained:
        print(line)
    for line in sorted(explained):
        path, _, text = line.partition(": ")
        sources.line(path, 0)
        if text not in sources.lines[path]:
            print("a reason for a line that is not there: %s" % line)
            unexplained.append(line)
    print("%d lines with code: %d were run, %d have a reason, %d have neither"
          % (len(counts), len(counts) - len(unreached),
             len(unreached) - len(unexplained), len(unexplained)))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())

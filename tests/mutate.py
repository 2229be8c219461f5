#!/usr/bin/env python3
"""Changes the product a little, one place at a time, and lists the changes that
no test notices.

    tests/mutate.py [--seconds N] [--seed N] [FILE...]

A change deletes a statement, or negates a condition or a bool that is returned.
All changes are compiled into one copy of the tree, under build/mutate, where the
variable MUTANT says which of them is in force: so a change costs a run of the
tests, and no build.  What is not changed is taken from build/plain.  Places are
taken in random order until the time is over.
A place that does not compile so (in a constexpr function, say) is left out.
"""
import argparse
import collections
import concurrent.futures
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COPY = os.path.join(ROOT, "build", "mutate")
OUT = "build/plain"
STORY = ["forward_proxy.cpp", "http_relay.cpp", "tunnel.cpp"]

SWITCH = """#pragma once
#include <cstdlib>
namespace mutate {
inline int active()
{
    static const int number = [] {
        const char* const text = std::getenv("MUTANT");
        return text == nullptr ? 0 : std::atoi(text);
    }();
    return number;
}
inline bool kept(int number) { return active() != number; }
inline bool negated(int number, bool value)
{
    return value != (active() == number);
}
}
"""

# The tests, the fastest first; each is given so many seconds.  In one process,
# with -a, the first failure ends them.  Not those that measure or want the machine
# for themselves: several changes are tried at the same time.
STAGES = [
    (["-a", "[message],[target],[framing],[forwarding],[error],[access],"
            "[address],[secrets],[http_io]"], 30),
    (["-a", "[relay]~[memory],[tunnel]~[splice],"
            "[limits]~[scale]~[memory],[options],[log],[stop]"], 90),
    (["~[memory]~[scale]~[alone]"], 240),
]

Place = collections.namedtuple("Place", "file line change text start end")


# --- Places in a source -------------------------------------------------------

def blanked(text):
    """The same length, with comments and what is in quotes as blanks."""
    pattern = r'//[^\n]*|/\*.*?\*/|R"\w*\(.*?\)\w*"|"(?:\\.|[^"\\\n])*"|' \
              r"(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])*'|^#[^\n]*"
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group()), text,
                  flags=re.DOTALL | re.MULTILINE)


def closing(text, start):
    """The index of the parenthesis that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i
    return len(text)


def skip_blank(text, i):
    while i < len(text) and text[i].isspace():
        i += 1
    return i


LOGIC = re.compile(r" (&&|\|\||==|!=|<|>|<=|>=) |^!|^(true|false)$|^(\w+(\.|->|::))*(is|has)_\w+")
DECLARES_IN_CONDITION = re.compile(r";|[^=!<>]=[^=]")
# A call, an assignment or an increment; a declaration has a blank before that.
EXPRESSION = re.compile(
    r"(\+\+|--|[*])?[\w:]+(\([^;]*\)|\[[^;]*\]|\.|->|[\w:])*"
    r"((?<=\))|\+\+|--|\s*(\+|-|\||&)?=(?!=).*)$", re.DOTALL)


def strip_headers(text, start, end):
    """Yields ("negated", from, to) for each condition before a statement, and at
    last ("rest", from, to) for the statement itself."""
    i = skip_blank(text, start)
    while i < end:
        rest = text[i:end]
        if re.match(r"if constexpr\b", rest):
            return
        header = re.match(r"(if|while|for|switch|catch)\s*\(", rest)
        label = re.match(r"(else|do|try)\b|(case\b[^;{]*?|default|public|private)(?<!:):(?!:)", rest)
        if header:
            opened = i + header.end() - 1
            closed = closing(text, opened)
            if header.group(1) in ("if", "while"):
                condition = text[opened + 1:closed]
                if not DECLARES_IN_CONDITION.search(condition):
                    yield "negated", opened + 1, closed
            i = skip_blank(text, closed + 1)
        elif label:
            i = skip_blank(text, i + label.end())
        else:
            break
    yield "rest", i, end


def changes_to(text, start, end):
    """What can be changed in a statement; `end` is its semicolon."""
    for kind, begin, stop in strip_headers(text, start, end):
        if kind == "negated":
            yield "negated", begin, stop
            continue
        statement = text[begin:stop].rstrip()
        returned = re.match(r"return\s+", statement)
        if returned:
            value = statement[returned.end():]
            if LOGIC.search(value) and "?" not in value and not value.startswith("{"):
                yield "negated", begin + returned.end(), stop
        elif statement in ("return", "break", "continue") or re.match(r"throw\b", statement):
            yield "deleted", begin, stop
        elif EXPRESSION.match(statement) or re.match(r"(\+\+|--)\w+$", statement):
            yield "deleted", begin, stop


def is_block(before):
    """Whether a brace after this text begins a block, and not a value."""
    before = before.rstrip()
    if re.search(r"\](\s*\([^()]*(\([^()]*\)[^()]*)*\))?[\w\s>:&-]*$", before):
        return False  # a lambda: the statement goes on after it
    return bool(re.search(r"(\)|\b(const|noexcept|override|try|else|do)|;|^)$", before)
                or re.match(r"\s*(namespace|struct|class|enum|extern)\b", before))


def places_in(path, text):
    code = blanked(text)
    outer = []  # (start of the statement around, parentheses open in it)
    start, parens = 0, 0
    constexpr_until = -1
    for i, c in enumerate(code):
        if c in "([":
            parens += 1
        elif c in ")]":
            parens -= 1
        elif c == "{":
            before = code[start:i]
            block = parens == 0 and is_block(before)
            if re.search(r"\bconstexpr\b", before) and block:
                constexpr_until = max(constexpr_until, closing(code, i))
            if block and outer:
                for kind, begin, stop in strip_headers(code, start, i):
                    if kind == "negated" and i > constexpr_until:
                        yield make_place(path, text, kind, begin, stop)
            outer.append((i + 1 if block else start, parens, block))
            start, parens = i + 1, 0
        elif c == "}":
            begin, parens, block = outer.pop() if outer else (0, 0, True)
            start = i + 1 if block else begin
        elif c == ";" and parens == 0:
            if outer and i > constexpr_until:
                for kind, begin, stop in changes_to(code, start, i):
                    yield make_place(path, text, kind, begin, stop)
            start = i + 1


def make_place(path, text, change, start, end):
    return Place(path, text.count("\n", 0, start) + 1, change,
                 " ".join(text[start:end].split()), start, end)


def with_switches(text, places):
    """The text with each place under its number."""
    inserts = []
    for number, place in places:
        if place.change == "negated":
            inserts.append((place.start, 1, "::mutate::negated(%d, bool(" % number))
            inserts.append((place.end, 0, "))"))
        else:
            inserts.append((place.start, 1, "{ if (::mutate::kept(%d)) " % number))
            inserts.append((place.end + 1, 0, " }"))
    for at, _, inserted in sorted(inserts, reverse=True):
        text = text[:at] + inserted + text[at:]
    return text


# --- The copy of the tree -----------------------------------------------------

def share(source, target):
    """Compilers write a new object and leave the old one; lists of headers are
    written in place."""
    if source.endswith(".d"):
        shutil.copy2(source, target)
    else:
        os.link(source, target)


def make_copy():
    """The tree and what is built of it, so that only what is changed is built."""
    shutil.rmtree(COPY, ignore_errors=True)
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True,
                             stdout=subprocess.PIPE).stdout.decode().split("\0")
    for name in filter(None, tracked):
        if os.path.isfile(os.path.join(ROOT, name)):
            os.makedirs(os.path.dirname(os.path.join(COPY, name)), exist_ok=True)
            shutil.copy2(os.path.join(ROOT, name), os.path.join(COPY, name))
    shutil.copytree(os.path.join(ROOT, OUT), os.path.join(COPY, OUT), copy_function=share)
    with open(os.path.join(COPY, "mutate.h"), "w", encoding="utf-8") as file:
        file.write(SWITCH)


def make():
    return subprocess.run(
        ["make", "-k", "-j%d" % (os.cpu_count() or 1), OUT + "/run_tests", OUT + "/forward_proxy"],
        cwd=COPY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def build(sources, numbered):
    """Leaves out the places that do not compile; returns the others."""
    for _ in range(8):
        for path, text in sources.items():
            changed = with_switches(text, [p for p in numbered.items() if p[1].file == path])
            write_if_other(os.path.join(COPY, path),
                           '#include "mutate.h"\n#line 1\n' + changed)
        done = make()
        if done.returncode == 0:
            return numbered
        wrong = {(path, int(line)) for path, line in re.findall(
            r"^([\w/]+\.cpp):(\d+):\d+: (?:fatal )?error", done.stdout, re.MULTILINE)}
        kept = {n: p for n, p in numbered.items()
                if not any(p.file == path and p.line <= line <= p.line + p.text.count("\n") + 3
                           for path, line in wrong)}
        if len(kept) == len(numbered):
            sys.exit("the copy does not build:\n" + done.stdout[-4000:])
        numbered = kept
    sys.exit("the copy does not build")


def write_if_other(path, text):
    with open(path, encoding="utf-8") as file:
        if file.read() == text:
            return
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


# --- Running ------------------------------------------------------------------

def failure(number, arguments, seconds):
    """What these tests print if they fail, or hang, with this change; else ""."""
    environment = dict(os.environ, MUTANT=str(number), TEST_DEADLINE="60")
    # A change may loop while it allocates.
    command = ["sh", "-c", 'ulimit -v 8000000; exec "$@"', "sh", OUT + "/run_tests"]
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        with subprocess.Popen(
                command + arguments, cwd=COPY, env=environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True) as tests:
            try:
                status = tests.wait(seconds)
            except subprocess.TimeoutExpired:
                status = "still running after %d s" % seconds
            finally:
                end_group(tests)
        output.seek(0)
        return "%s: %s" % (status, output.read()) if status != 0 else ""


def noticed_by(number):
    """What a test prints that fails with this change, or "".  A failure counts when
    it is there again: on a busy machine a test may miss a deadline once."""
    for arguments, seconds in STAGES:
        if failure(number, arguments, seconds):
            again = failure(number, arguments, seconds)
            if again:
                return again
    return ""


def end_group(process):
    """Ends what is left of the tests; SIGTERM lets run_tests end its cases."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(2)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="only list the places")
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    files = arguments.files or STORY + sorted(
        "support/http/" + name for name in os.listdir(os.path.join(ROOT, "support/http"))
        if name.endswith(".cpp"))
    sources = {}
    for path in files:
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            sources[path] = file.read()
    numbered = dict(enumerate(
        (place for path, text in sources.items() for place in places_in(path, text)), 1))
    if arguments.list:
        for place in numbered.values():
            print("%s:%d: %s: %s" % place[:4])
        return 0
    began = time.monotonic()
    make_copy()
    numbered = build(sources, numbered)
    print("%d places, built in %.0f s" % (len(numbered), time.monotonic() - began), flush=True)
    broken = noticed_by(0)
    if broken:
        sys.exit("a test fails without any change:\n" + broken[-4000:])
    return run(numbered, arguments)


def run(numbered, arguments):
    order = sorted(numbered)
    random.Random(arguments.seed).shuffle(order)
    deadline = time.monotonic() + arguments.seconds
    lock = threading.Lock()
    counts = collections.Counter()

    def try_next():
        while time.monotonic() < deadline:
            with lock:
                if not order:
                    return
                number = order.pop()
            noticed = noticed_by(number) != ""
            with lock:
                counts[noticed] += 1
                if not noticed:
                    print("%s:%d: survives %s: %s" % (
                        numbered[number].file, numbered[number].line,
                        numbered[number].change, numbered[number].text), flush=True)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for worker in [pool.submit(try_next) for _ in range(os.cpu_count() or 1)]:
            worker.result()
    print("%d of %d places were tried: %d changes noticed, %d not"
          % (sum(counts.values()), len(numbered), counts[True], counts[False]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Exercises: one function of the real program, to be written anew.

    tests/exercise.py start NAME    a copy in build/exercise/NAME, without the body
    tests/exercise.py grade NAME    builds it, and runs the behaviours that it carries:
                                    plain, and with ThreadSanitizer and AddressSanitizer
    tests/exercise.py check [NAME]  shows that each empty one fails, that typical wrong
                                    answers get the right sentence, and that the real
                                    body passes

A function is found by its name in the sources as they are.  What to do and what to look
at is in notes/exercises.md, a section for each.
"""

import concurrent.futures
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time

from conversations import CASES
from labs import ROOT, share

YOURS = "// Your code."
USER = "sam:secret"
SOURCES = ["Makefile", ".ci", "forward_proxy.cpp", "tunnel.cpp", "tunnel.h",
           "http_relay.cpp", "http_relay.h", "support"]
TUNNELS = ["a tunnel in which nothing moves", "a tunnel after a FIN, in which nothing moves",
           "sockets and threads after 20 tunnels",
           "sockets and threads after 20 tunnels that clients reset",
           "servers that reset tunnels", "a tunnel whose receiver does not read"]


def named(*parts):
    return [case.name for case in CASES if case.level and any(part in case.name for part in parts)]


def level(name):
    return [case.name for case in CASES if case.level == name]


@dataclasses.dataclass
class Wrong:
    """A typical wrong answer: what is replaced in the real body, and what finds it."""
    title: str
    old: str
    new: str
    behaviour: str
    words: str
    kind: str = "plain"


@dataclasses.dataclass
class Exercise:
    function: str
    file: str
    carries: list
    wrong: list


EXERCISES = {
    "pump": Exercise("pump", "tunnel.cpp", level("tunnel") + TUNNELS, [
        Wrong("half-close lost", "to.socket().shutdown_write();", "to.socket().shutdown_both();",
              "a tunnel's FIN, and the answer that follows it", "loses the answer"),
        Wrong("close instead of shutdown", "    from.socket().shutdown_both();\n"
              "    to.socket().shutdown_both();",
              "    ::close(from.socket().descriptor());\n    ::close(to.socket().descriptor());",
              "sockets and threads after 20 tunnels that clients reset", "threads after 20"),
        Wrong("the FIN is kept", "to.socket().shutdown_write();", "",
              "a tunnel's FIN, and the answer that follows it", "hangs"),
        Wrong("a counter that two threads write", "transfer.write(piece);",
              "static long total;\n        total += long(piece.size);\n"
              "        transfer.write(piece);",
              "both directions at once, neither side reads before it has sent",
              "ThreadSanitizer: data race", "tsan"),
    ]),
    "serve_connect": Exercise(
        "serve_connect", "tunnel.cpp",
        level("tunnel") + named("CONNECT to port", "CONNECT without", "a refused CONNECT"), [
            Wrong("200 before connecting", "    Connection server =",
                  "    client.write_all(\"HTTP/1.1 200 Connection established\\r\\n\\r\\n\");\n"
                  "    Connection server =", "a refused CONNECT is a 502 or 503", "answers 200"),
            Wrong("early bytes lost", "    tunnel(client,",
                  "    if (!client.buffered().empty())\n        client.read_some(UINT64_MAX);\n"
                  "    tunnel(client,", "bytes after CONNECT", "loses them"),
            Wrong("a 200 with a length", "established\\r\\n\\r\\n",
                  "established\\r\\nContent-Length: 0\\r\\n\\r\\n",
                  "the 200 ends with an empty line, and has no length", "sends Content-Length"),
        ]),
    "read_head": Exercise("read_head", "support/http_io.cpp", [
        "GET", "a head that arrives in pieces", "a response head that arrives in pieces",
        "a request that is no HTTP", "two pipelined requests", "bytes after CONNECT",
        "a client that has sent half a head", "clients that leave in the middle of a head",
        "clients that connect and leave", "103 Early Hints is passed on, the final response after it",
        "a request head without an end", "a line without an end", "a response head without an end",
        "half a request head, and silence", "half a response head, and silence",
        "bare LF as line end", "response: bare LF as line end"], [
            Wrong("more than the head is read", "            return true;",
                  "        {\n            if (!from.buffered().empty())\n"
                  "                from.read_some(UINT64_MAX);\n            return true;\n        }",
                  "bytes after CONNECT", "loses them"),
            Wrong("one read is a head", "        const auto left",
                  "        if (!head.empty() || !from.buffered().empty())\n"
                  "            throw std::runtime_error{\"half a head\"};\n        const auto left",
                  "a head that arrives in pieces", "does not forward"),
            Wrong("a head that is cut short is complete", "        if (head.empty())\n"
                  "            check_first_bytes(line);",
                  "        if (line.empty())\n            return true;",
                  "a request that is no HTTP", ""),
        ]),
    "framing": Exercise("declared_framing", "support/http/framing.cpp", [
        "GET", "POST with a length", "every byte of a body, both ways", "a chunked upload",
        "the first chunk of an upload", "a POST, then another request"]
        + [name for name in level("hostile")
           if name.startswith(("Content-Length", "Transfer-", "two different Content"))], [
            Wrong("a length beside chunks",
                  "        check_transfer_encoding(head.fields, head.version);\n", "",
                  "Transfer-Encoding with Content-Length", "forwards it"),
            Wrong("the first of two lengths", "parse_content_length(head.fields)",
                  "std::strtoull(combined_value(head.fields, \"Content-Length\")->c_str(), "
                  "nullptr, 10)", "two different Content-Lengths", "forwards it"),
            Wrong("chunks are not seen", "return BodyFraming{BodyFraming::Kind::chunked};",
                  "return std::nullopt;",
                  "a chunked upload", ""),
        ]),
    "fields_to_forward": Exercise("fields_to_forward", "support/http/forwarding.cpp", [
        "repeated fields, their order and case", "Proxy-Connection and Keep-Alive end here",
        "fields that Connection names end here", "credentials are not sent on",
        "POST with a length", "Host is that of the target", "Via is added both ways",
        "a chunked upload"], [
            Wrong("what Connection names is kept", " && !is_nominated(field.name)", "",
                  "fields that Connection names end here", "keeps them in the request"),
            Wrong("one line for each name", "            fields.push_back(field);",
                  "            if (!combined_value(fields, field.name))\n"
                  "                fields.push_back(field);",
                  "repeated fields, their order and case", "changes the request"),
            Wrong("the password is sent on", "is_hop_by_hop(field.name)",
                  "equal_ignoring_case(field.name, \"Connection\")",
                  "credentials are not sent on", "sends them on"),
        ]),
    "accept_clients": Exercise(
        "accept_clients", "forward_proxy.cpp",
        ["GET"] + level("concurrent") + ["clients that connect and leave",
                                         "sockets and threads after 20 exchanges"], [
            Wrong("one client only", "while (!service.is_stopping)", "if (!service.is_stopping)",
                  "a client that sends nothing", "does not forward"),
            Wrong("one client at a time", "start_client(accept_from(listener), service);",
                  "start_client(accept_from(listener), service);\n"
                  "            service.served.wait_until_none(1h);",
                  "a client that sends nothing", "does not forward"),
            Wrong("a socket that is closed nowhere", "start_client(accept_from(listener), service);",
                  "new NamedSocket{accept_from(listener)};",
                  "GET", "does not forward"),
        ]),
}


# --- The function in the source -------------------------------------------------


def find(text, name):
    """(first line, line of the opening brace, last line), counted from 0."""
    lines = text.split("\n")
    for first, line in enumerate(lines):
        if not re.match(r"\w.*\b%s\(" % name, line):
            continue
        opening = first
        while lines[opening] not in ("{", "try {") and not lines[opening].endswith(";"):
            opening += 1
        if lines[opening].endswith(";"):
            continue  # a declaration
        last = opening
        while lines[last] != "}":
            last += 1
        return first, opening, last
    raise LookupError("there is no function %s" % name)


def empty(text, name):
    """The source without the body of that function."""
    lines = text.split("\n")
    first, opening, last = find(text, name)
    body = ["{", "    " + YOURS] + ([] if lines[first].startswith("void ") else ["    return {};"])
    return "\n".join(lines[:opening] + body + lines[last:])


def changed(text, name, old, new):
    """The source with something else in that function."""
    lines = text.split("\n")
    first, _, last = find(text, name)
    body = "\n".join(lines[first:last + 1])
    assert old in body, "%s has no %r any more" % (name, old)
    return "\n".join(lines[:first]) + "\n" + body.replace(old, new) + "\n" + \
        "\n".join(lines[last + 1:])


def contract(exercise):
    """The comment of the declaration, or of the definition."""
    header = os.path.join(ROOT, exercise.file.replace(".cpp", ".h"))
    for path in filter(os.path.exists, (header, os.path.join(ROOT, exercise.file))):
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
        for number, line in enumerate(lines):
            if re.match(r"\w.*\b%s\(" % exercise.function, line):
                first = number
                while lines[first - 1].startswith("//"):
                    first -= 1
                if first < number:
                    return "\n".join(lines[first:number])
    return ""


# --- Building -------------------------------------------------------------------


def copy_sources(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for source in SOURCES:
        subprocess.run(["cp", "-a", os.path.join(ROOT, source), folder], check=True)


def edit(folder, exercise, change):
    path = os.path.join(folder, exercise.file)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(change(text))


def build(folder, kind, *options):
    """What the compiler says if it does not build.  Objects are shared with those of
    the program itself, so that one file is compiled."""
    target = os.path.join(folder, "build", kind)
    if not os.path.isdir(target):
        source = os.path.join(ROOT, "build", kind)
        shutil.copytree(source, target, copy_function=share,
                        ignore=shutil.ignore_patterns("tests", "run_tests", "forward_proxy"))
    done = subprocess.run(["make", "-s", "KIND=" + kind, "WARN=-Wall -Wno-unused-function",
                           *options, "all"], cwd=folder, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout if done.returncode else ""


def build_program(kind):
    subprocess.run(["make", "-s", "KIND=" + kind, "-j%d" % (os.cpu_count() or 1), "all"],
                   cwd=ROOT, check=True)


def grader(folder, kind, behaviours, *options):
    command = "%s/build/%s/forward_proxy --listen 127.0.0.1:{port} --log off --user %s" \
        % (folder, kind, USER)
    only = [word for name in behaviours for word in ("--only", name)]
    return [sys.executable, os.path.join(ROOT, "tests/grade.py"), "--user", USER,
            "--keep", os.path.join(folder, "build/grade"), *options, *only, command]


# --- For a student --------------------------------------------------------------


def section(name):
    with open(os.path.join(ROOT, "notes", "exercises.md"), encoding="utf-8") as file:
        found = re.search(r"^## %s\n(.*?)(?=^## |\Z)" % name, file.read(), re.M | re.S)
    return found[1].strip()


def folder_of(name):
    return os.path.join(ROOT, "build", "exercise", name)


def start(name):
    exercise, folder = EXERCISES[name], folder_of(name)
    shown = os.path.relpath(folder, ROOT)
    if os.path.exists(folder):
        print("%s is there already; remove it to begin again." % shown)
        return 1
    copy_sources(folder)
    edit(folder, exercise, lambda text: empty(text, exercise.function))
    with open(os.path.join(folder, exercise.file), encoding="utf-8") as file:
        line = file.read().split("\n").index("    " + YOURS) + 1
    page = "# %s\n\n%s\n\nIts contract:\n\n```cpp\n%s\n```\n\nIt carries these behaviours:\n\n%s\n" % (
        name, section(name), contract(exercise),
        "\n".join("- " + behaviour for behaviour in exercise.carries))
    with open(os.path.join(folder, "EXERCISE.md"), "w", encoding="utf-8") as file:
        file.write(page)
    print("Write %s in %s/%s, line %d.  What to look at: %s/EXERCISE.md\n"
          "Then: make grade NAME=%s" % (exercise.function, shown, exercise.file, line, shown, name))
    return 0


def grade(name):
    exercise, folder = EXERCISES[name], folder_of(name)
    if not os.path.isdir(folder):
        print("First: make exercise NAME=" + name)
        return 2
    for kind in ("plain", "tsan", "asan"):
        print("== %s" % {"plain": "plain", "tsan": "with ThreadSanitizer: races",
                         "asan": "with AddressSanitizer: memory"}[kind], flush=True)
        build_program(kind)  # so that the rest of it is built once
        errors = build(folder, kind)
        if errors:
            print("It does not build.  The files are those in %s.\n%s"
                  % (os.path.relpath(folder, ROOT), errors), end="")
            return 1
        patience = () if kind == "plain" else ("--patience", "10", "--seconds", "300")
        status = subprocess.run(grader(folder, kind, exercise.carries, *patience),
                                check=False).returncode
        with open(os.path.join(folder, exercise.file), encoding="utf-8") as file:
            if YOURS in file.read():
                print("%s still says “%s”." % (exercise.file, YOURS))
        if status != 0:
            return status
    print("\nAll of it is right.  The real body: %s." % exercise.file)
    return 0


# --- For the tests --------------------------------------------------------------


# For one answer, on a machine that also compiles.  ThreadSanitizer stops the thread in
# which it found a race for as long as it needs to read the program's symbols.
PATIENCE = {"plain": 5, "tsan": 30}


def attempt(label, name, change, behaviours, kind="plain"):
    """{behaviour: sentence} of what fails with that change."""
    exercise = EXERCISES[name]
    folder = os.path.join(ROOT, "build", "exercise", "check", label)
    try:
        copy_sources(folder)
        edit(folder, exercise, change)
        errors = build(folder, kind, "FLAGS_plain=-O0")
        assert not errors, "it does not build:\n" + errors
        done = subprocess.run(grader(folder, kind, behaviours, "--json", "--patience",
                                     str(PATIENCE[kind])),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        assert done.stdout, done.stderr
        return {one["name"]: one["sentence"] for one in json.loads(done.stdout)["behaviours"]
                if one["verdict"] == "failed"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def attempts(name):
    """[(label, problem)] for an exercise: empty, real, wrong in some ways."""
    exercise = EXERCISES[name]

    def tried(what, problem, *arguments):
        try:
            return "%s, %s" % (name, what), problem(attempt(*arguments))
        except (AssertionError, LookupError) as error:
            return "%s, %s" % (name, what), str(error)

    yield name + ", its page", "" if contract(exercise) and section(name) else \
        "it has no contract or no section"
    yield tried("empty", lambda failed: "" if failed else "it passes", name + "-empty", name,
                lambda text: empty(text, exercise.function), exercise.carries[:4])
    yield tried("as it is", lambda failed: failed, name + "-real", name, lambda text: text,
                exercise.carries)
    for number, wrong in enumerate(exercise.wrong):
        if not os.path.exists(os.path.join(ROOT, "build", wrong.kind, "forward_proxy")):
            print("(no build/%s: %s is not tried)" % (wrong.kind, wrong.title))
            continue

        def problem(failed, wrong=wrong):
            sentence = failed.get(wrong.behaviour, "nothing")
            return "" if wrong.words in sentence else \
                "it should say “%s”, and says: %s" % (wrong.words, sentence)
        yield tried(wrong.title, problem, "%s-%d" % (name, number), name,
                    lambda text, w=wrong: changed(text, exercise.function, w.old, w.new),
                    [wrong.behaviour], wrong.kind)


def check(names):
    began = time.monotonic()
    passed, failures = 0, []

    with concurrent.futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        for found in pool.map(lambda name: list(attempts(name)), names):
            for label, problem in found:
                line = "%-50s %s" % (label, problem or "as it should")
                print(line, flush=True)
                passed += not problem
                failures += [line] if problem else []
    print("%.0f s" % (time.monotonic() - began), *failures, sep="\n")
    print("%d passed, %d failed" % (passed, len(failures)))
    return 1 if failures else 0


def main():
    verb, name = (sys.argv[1:3] + ["", ""])[:2]
    if verb == "check":
        return check(sys.argv[2:] or EXERCISES)
    if verb not in ("start", "grade") or name not in EXERCISES:
        print("Say which: make exercise NAME=name, one of\n    " + "\n    ".join(EXERCISES))
        return 2
    return start(name) if verb == "start" else grade(name)


if __name__ == "__main__":
    sys.exit(main())

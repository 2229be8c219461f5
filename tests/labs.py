#!/usr/bin/env python3
"""The labs: famous defects, each a small patch to the real code.

    tests/labs.py                  shows for each patch in notes/labs that it
                                   applies, builds, has the symptom that it tells
                                   of, which the real proxy has not, and that a
                                   test fails
    tests/labs.py NAME...          the same for these
    tests/labs.py --start NAME     builds the broken proxy in build/labs/NAME, says
                                   what to try, and starts it on port 3128
    tests/labs.py --start mystery  the same with one of them, at random, and does not
                                   say which
    tests/labs.py --guess NAME     says whether it was that one

A patch begins with lines for people and for this program:

    Defect:  one sentence.
    Ask:     a question for the class.
    Try:     $ a command; there may be several
    Shows:   a regular expression, found in what the commands print
    Unlike:  the same, for the real proxy
    Fails:   the name of a test
    Graded:  a behaviour of tests/grade.py that fails; the table of labs in
             notes/solutions.md names it too

Needs Linux: every lab runs in its own network namespace, so that port 3128 is free.
"""
import concurrent.futures
import hashlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from lib import ROOT, Proxy, in_own_network

LABS = os.path.join(ROOT, "notes", "labs")
SOURCES = ["Makefile", ".ci", "forward_proxy.cpp", "tunnel.cpp", "tunnel.h",
           "http_relay.cpp", "http_relay.h", "support", "tests", "notes"]


def names():
    return sorted(f[:-len(".patch")] for f in os.listdir(LABS) if f.endswith(".patch"))


def read_lab(name):
    """The lines above the diff, by their first word; Try is a list."""
    lab = {"Try": []}
    with open(os.path.join(LABS, name + ".patch"), encoding="utf-8") as file:
        for line in file:
            if line.startswith("diff "):
                break
            key, colon, text = line.partition(":")
            if not colon:
                continue
            if key == "Try":
                lab["Try"].append(text.strip().removeprefix("$ "))
            else:
                lab[key] = text.strip()
    return lab


def folder_of(name):
    return os.path.join(ROOT, "build", "labs", name)


def share(source, target):
    """Compilers and linkers write a new file and leave the old one, so an object
    can be one file in all folders.  Lists of headers, and the page as a literal, are
    written in place."""
    if source.endswith((".d", ".inc")):
        shutil.copy2(source, target)
    else:
        os.link(source, target)


def make_copy(name, place):
    """The tree with the patch in it, in build/labs/PLACE.  It shares with build/plain
    what was built there, so that only what differs is built anew."""
    folder = folder_of(place)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for source in SOURCES:
        subprocess.run(["cp", "-a", os.path.join(ROOT, source), folder], check=True)
    built = os.path.join(ROOT, "build", "plain")
    if os.path.isdir(built):
        shutil.copytree(built, os.path.join(folder, "build", "plain"),
                        copy_function=share)
    subprocess.run(["git", "apply", "--directory=build/labs/" + place,
                    os.path.join(LABS, name + ".patch")], cwd=ROOT, check=True)
    return folder


def make(folder, *targets):
    subprocess.run(["make", "-s", *targets], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)


def experiment(folder, commands):
    """What the commands print, with that folder's proxy on port 3128."""
    binary = os.path.join(folder, "build/plain/forward_proxy")
    with tempfile.TemporaryDirectory() as scratch, Proxy(binary, listen="127.0.0.1:3128"):
        origin = subprocess.Popen([sys.executable, os.path.join(ROOT, "notes/origin.py"), scratch],
                                  stdout=subprocess.PIPE, text=True)
        try:
            if "ready" not in origin.stdout.readline():
                raise RuntimeError("cannot start notes/origin.py")
            done = subprocess.run(["bash", "-c", "\n".join(commands)], text=True, timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            return done.stdout
        finally:
            origin.kill()
            origin.wait()


def run_inside(name):
    """The experiments, alone in a network namespace."""
    in_own_network()
    lab = read_lab(name)
    shown = experiment(folder_of(name), lab["Try"])
    if not re.search(lab["Shows"], shown, re.MULTILINE):
        return "the symptom is not there:\n" + shown
    sound = experiment(ROOT, lab["Try"])
    if re.search(lab["Shows"], sound, re.MULTILINE):
        return "the real proxy has the symptom too:\n" + sound
    if not re.search(lab["Unlike"], sound, re.MULTILINE):
        return "the real proxy does something else:\n" + sound
    return None


def size_of_new(folder):
    """What the copy needs beside the files that it shares, in MB."""
    return sum(status.st_blocks for place, _, files in os.walk(folder) for status in
               (os.lstat(os.path.join(place, file)) for file in files)
               if status.st_nlink == 1) * 512 / 1e6


def run_lab(name):
    """What is wrong with the claims of a lab, None if nothing, and the size of it."""
    try:
        folder = make_copy(name, name)
        make(folder, "WERROR=-Werror", "all", "build/plain/run_tests")
        return run_built(name, folder), size_of_new(folder)
    except subprocess.CalledProcessError as error:
        return "does not apply or build: %s" % error, 0
    finally:
        shutil.rmtree(folder_of(name))


def run_built(name, folder):
    alone = subprocess.run(
        [sys.executable, os.path.abspath(__file__), "--inside", name],
        capture_output=True, text=True, check=False)
    if alone.returncode != 0:
        return alone.stdout + alone.stderr
    test_name = read_lab(name)["Fails"]
    test = subprocess.run(
        ["timeout", "100", "build/plain/run_tests", test_name.replace(",", "\\,")],
        cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if not re.search(r", [1-9]\d* failed$", test.stdout, re.MULTILINE):
        return "the test '%s' does not fail:\n%s" % (test_name, test.stdout[-2000:])
    return is_graded(name, folder)


def is_graded(name, folder):
    """The grader knows the lab by its behaviour alone."""
    behaviour = read_lab(name)["Graded"]
    with open(os.path.join(ROOT, "notes", "solutions.md"), encoding="utf-8") as file:
        if not re.search(r"^\| `%s` \|.*\| %s \|$" % (name, re.escape(behaviour)), file.read(),
                         re.MULTILINE):
            return "notes/solutions.md does not say that '%s' finds it" % behaviour
    graded = subprocess.run(
        [sys.executable, os.path.join(ROOT, "tests/grade.py"), "--user", "sam:secret",
         "--keep", "build/grade/" + name, "--only", behaviour,
         folder + "/build/plain/forward_proxy --listen 127.0.0.1:{port} --user sam:secret"],
        capture_output=True, text=True, check=False)
    if "FAILED   " + behaviour not in graded.stdout:
        return "'%s' does not fail:\n%s" % (behaviour, graded.stdout + graded.stderr)
    return None


ANSWER = os.path.join(ROOT, "build", "labs", "mystery.answer")


def digest(name):
    """The answer is a file that tells nothing to a student who looks at it."""
    return hashlib.sha256(b"forward_proxy " + name.encode()).hexdigest()


def hide(name):
    os.makedirs(os.path.dirname(ANSWER), exist_ok=True)
    with open(ANSWER, "w", encoding="ascii") as file:
        file.write(digest(name))


def guess(name):
    """(whether the mystery is that defect, what to say)"""
    if name not in names():
        return False, "There is no defect of that name.  They are\n    " + "\n    ".join(names())
    if not os.path.exists(ANSWER):
        return False, "Start one first: make lab LAB=mystery"
    with open(ANSWER, encoding="ascii") as file:
        if file.read() != digest(name):
            return False, "No, it is another one.  What did you see that made you think so?"
    lab = read_lab(name)
    return True, "Yes.  %s\nIt shows like this:\n    %s\nNow answer: %s" % (
        lab["Defect"], "\n    ".join(lab["Try"]), lab["Ask"])


def port_is_taken():
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", 3128)) == 0


def introduce(name):
    lab = read_lab(name)
    print("\n%s\n\n%s\n\nIn another terminal, with `python3 notes/origin.py` in a third:\n"
          % (lab["Defect"], lab["Ask"]))
    for command in lab["Try"]:
        print("    " + command)
    print("\nThe test that fails: make -C build/labs/%s test ONLY='\"%s\"'\n"
          % (name, lab["Fails"]))


def introduce_mystery():
    print("\nThe proxy that starts now has one of these defects:\n\n    %s\n\n"
          "Find out which, with curl, nc and `python3 notes/origin.py`: ask it what the\n"
          "lessons ask, and compare.  Then: make lab-guess NAME=...\n" % "\n    ".join(names()))


def start(name, arguments):
    if port_is_taken():
        sys.exit("A program listens on port 3128 already: stop `make run` first, with Ctrl-C.")
    is_mystery = name == "mystery"
    if is_mystery:
        name = random.choice(names())
        hide(name)
    folder = make_copy(name, "mystery" if is_mystery else name)
    make(folder, "-j%d" % (os.cpu_count() or 1), "all")
    if is_mystery:
        introduce_mystery()
    else:
        introduce(name)
    sys.stdout.flush()
    proxy = os.path.join(folder, "build/plain/forward_proxy")
    os.execv(proxy, [proxy, *arguments])


def check_mystery():
    """Of the guesses only the right one is right."""
    name = random.choice(names())
    hide(name)
    right = [n for n in names() if guess(n)[0]]
    os.remove(ANSWER)
    return None if right == [name] else "%s was hidden, and found as %s" % (name, right)


def main():
    if sys.argv[1:2] == ["--inside"]:
        problem = run_inside(sys.argv[2])
        if problem:
            print(problem)
        return 1 if problem else 0
    if sys.argv[1:2] == ["--start"]:
        if sys.argv[2:] and sys.argv[2] in names() + ["mystery"]:
            start(sys.argv[2], sys.argv[3:])
        print("Say which: make lab LAB=name, one of\n    "
              + "\n    ".join(names() + ["mystery"]))
        return 2
    if sys.argv[1:2] == ["--guess"]:
        is_right, words = guess(" ".join(sys.argv[2:]))
        print(words)
        return 0 if is_right else 1
    passed = failed = 0
    began = time.monotonic()
    # Labs wait, for their experiments and tests, as long as they build.
    with concurrent.futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        labs = sys.argv[1:] or names()
        for name, (problem, size) in zip(labs, pool.map(run_lab, labs)):
            print("%-24s %3.0f MB, %s" % (name, size, problem or "as it says"), flush=True)
            passed, failed = passed + (not problem), failed + bool(problem)
    if not sys.argv[1:]:
        problem = check_mystery()
        print("%-24s %s" % ("mystery", problem or "only its own name is right"))
        passed, failed = passed + (not problem), failed + bool(problem)
    print("%.0f s\n%d passed, %d failed" % (time.monotonic() - began, passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

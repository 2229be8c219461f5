#!/usr/bin/env python3
"""The labs: famous defects, each a small patch to the real code.

    tests/labs.py                  shows for each patch in notes/labs that it
                                   applies, builds, has the symptom that it tells
                                   of, which the real proxy has not, and that a
                                   test fails
    tests/labs.py NAME...          the same for these
    tests/labs.py --start NAME     builds the broken proxy in build/labs/NAME, says
                                   what to try, and starts it on port 3128

A patch begins with lines for people and for this program:

    Defect:  one sentence.
    Ask:     a question for the class.
    Try:     $ a command; there may be several
    Shows:   a regular expression, found in what the commands print
    Unlike:  the same, for the real proxy
    Fails:   the name of a test

Needs Linux: every lab runs in a network namespace of its own, so that port 3128
is free.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
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


def make_copy(name):
    """The tree with the patch in it, under build/labs; what was built already
    comes with it, times included, so that only what differs is built anew."""
    folder = folder_of(name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for source in SOURCES:
        subprocess.run(["cp", "-a", os.path.join(ROOT, source), folder], check=True)
    built = os.path.join(ROOT, "build", "plain")
    if os.path.isdir(built):
        os.makedirs(os.path.join(folder, "build"))
        subprocess.run(["cp", "-a", built, os.path.join(folder, "build")], check=True)
    subprocess.run(["git", "apply", "--directory=build/labs/" + name,
                    os.path.join(LABS, name + ".patch")], cwd=ROOT, check=True)
    return folder


def make(folder, *targets):
    subprocess.run(["make", "-s", *targets], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)


def experiment(folder, commands):
    """What the commands print, with that folder's proxy on port 3128."""
    scratch = os.path.join(ROOT, "build", "labs", str(os.getpid()))
    programs = [
        ([os.path.join(folder, "build/plain/forward_proxy")], "listening"),
        ([sys.executable, os.path.join(ROOT, "notes/origin.py"), scratch], "ready")]
    running = []
    try:
        for command, ready in programs:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            running.append(process)
            while ready not in process.stdout.readline():
                if process.poll() is not None:
                    raise RuntimeError("cannot start " + command[0])
        # Others may run proxies at the same time.
        script = "\n".join(commands).replace(
            "$(pidof forward_proxy)", str(running[0].pid))
        done = subprocess.run(["bash", "-c", script], text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return done.stdout
    finally:
        for process in running:
            process.kill()
            process.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def run_inside(name):
    """The experiments, alone in a network namespace."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
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


def run_lab(name):
    """Shows all that a lab claims; gives what is wrong with it."""
    try:
        folder = make_copy(name)
        make(folder, "all", "build/plain/run_tests")
    except subprocess.CalledProcessError as error:
        return "does not apply or build: %s" % error
    alone = subprocess.run(
        ["unshare", "-rn", sys.executable, os.path.abspath(__file__), "--inside", name],
        capture_output=True, text=True, check=False)
    if alone.returncode != 0:
        return alone.stdout + alone.stderr
    test_name = read_lab(name)["Fails"]
    test = subprocess.run(
        ["timeout", "100", "build/plain/run_tests", test_name.replace(",", "\\,")],
        cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if not re.search(r", [1-9]\d* failed$", test.stdout, re.MULTILINE):
        return "the test '%s' does not fail:\n%s" % (test_name, test.stdout[-2000:])
    shutil.rmtree(folder)
    return None


def start(name, arguments):
    lab = read_lab(name)
    folder = make_copy(name)
    make(folder, "-j%d" % (os.cpu_count() or 1), "all")
    print("\n%s\n\n%s\n\nIn another terminal, with `python3 notes/origin.py` in a third:\n"
          % (lab["Defect"], lab["Ask"]))
    for command in lab["Try"]:
        print("    " + command)
    print("\nThe test that fails: make test ONLY='\"%s\"'\n" % lab["Fails"], flush=True)
    proxy = os.path.join(folder, "build/plain/forward_proxy")
    os.execv(proxy, [proxy, *arguments])


def main():
    if sys.argv[1:2] == ["--inside"]:
        problem = run_inside(sys.argv[2])
        if problem:
            print(problem)
        return 1 if problem else 0
    if sys.argv[1:2] == ["--start"]:
        if sys.argv[2:] and sys.argv[2] in names():
            start(sys.argv[2], sys.argv[3:])
        print("Say which: make lab LAB=name, one of\n    " + "\n    ".join(names()))
        return 2
    passed = failed = 0
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        labs = sys.argv[1:] or names()
        for name, problem in zip(labs, pool.map(run_lab, labs)):
            print("%-24s %s" % (name, problem or "as it says"), flush=True)
            passed, failed = passed + (not problem), failed + bool(problem)
    print("%.0f s\n%d passed, %d failed" % (time.monotonic() - began, passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

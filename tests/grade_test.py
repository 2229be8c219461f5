#!/usr/bin/env python3
"""The grader, judged by itself.

    tests/grade_test.py              all of it
    tests/grade_test.py --table      the table of notes/grading.md

- Ours passes everything.  The table in the note says how notes/forward-proxy.py,
  tinyproxy and squid do, level by level; that is looked at, and that no verdict of
  squid's but those named below is a failure: what the RFCs leave open is no fault.
- Programs that do not listen, end at once, never answer, ignore signals or leave
  children behind get a sentence, in time, and are gone afterwards.
- Points, JSON, and what is kept of a conversation.

tinyproxy and squid have to be installed (`.ci/need tinyproxy squid`).
"""

import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest.mock

from lib import wait_for
from strictness import ROOT
from student import processes, unused_port

NOTE = os.path.join(ROOT, "notes", "grading.md")
PROXIES = {
    "forward_proxy": ROOT + "/build/plain/forward_proxy --listen 127.0.0.1:{port} --log off "
                     "--user sam:secret",
    "notes/forward-proxy.py": "python3 %s/notes/forward-proxy.py {port} sam:secret" % ROOT,
    "tinyproxy": "python3 %s/tests/strictness.py --start tinyproxy {port}" % ROOT,
    "squid": "python3 %s/tests/strictness.py --start squid {port}" % ROOT,
}
# squid ends a tunnel at the first FIN, and cuts an echo short when the upload is complete.
SQUIDS_FAULTS = {"a tunnel's FIN, and the answer that follows it",
                 "a server's FIN, and what the client sends after it",
                 "a body echoed while it is uploaded"}
# It resets such an upload only while the machine is busy.
SQUIDS_FAULT_WHEN_BUSY = "a server that does not read an upload"
results = []


def check(name):
    """Runs a test at once, and counts it."""
    def run(test):
        try:
            test()
            results.append(True)
        except AssertionError as error:
            results.append(False)
            print("FAILED: %s: %s" % (name, error), flush=True)
    return run


def grade(command, *options, user=None):
    """Exit status and output of the grader, run in a new folder, where it keeps its files."""
    user = ["--user", user] if user else []
    done = subprocess.run([sys.executable, ROOT + "/tests/grade.py", *user, *options, command],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300,
                          check=False)
    return done.returncode, done.stdout, done.stderr


# --- Four proxies ---------------------------------------------------------------


def grade_all():
    def one(item):
        name, command = item
        user = "sam:secret" if "secret" in command else None
        status, out, err = grade(command, "--json", "--patience", "10", "--seconds", "240",
                                 "--keep", "build/grade/" + name.replace("/", "-"), user=user)
        assert status in (0, 1), err[-2000:]
        return name, json.loads(out)
    with concurrent.futures.ThreadPoolExecutor(len(PROXIES)) as pool:
        return dict(pool.map(one, PROXIES.items()))


def table(found):
    """| level | ours | ... |, each cell "passed/graded"; squid's fault when busy counts always."""
    lines = ["| level | " + " | ".join(found) + " |", "| --- |" + " --- |" * len(found)]
    for number, row in enumerate(found["forward_proxy"]["levels"]):
        cells = []
        for name, graded in found.items():
            row = graded["levels"][number]
            lucky = sum(name == "squid" and one["level"] == row["level"]
                        and one["verdict"] == "passed" and one["name"] == SQUIDS_FAULT_WHEN_BUSY
                        for one in graded["behaviours"])
            cells.append("%d/%d" % (row["passed"] - lucky, row["passed"] + row["failed"]))
        lines.append("| %s | %s |" % (row["level"], " | ".join(cells)))
    return "\n".join(lines) + "\n"


def failures(graded):
    return {one["name"]: one["sentence"] for one in graded["behaviours"]
            if one["verdict"] == "failed"}


def check_proxies():
    found = grade_all()

    @check("ours passes everything")
    def _():
        assert not failures(found["forward_proxy"]), failures(found["forward_proxy"])
        assert all(one["verdict"] == "passed" for one in found["forward_proxy"]["behaviours"])

    @check("squid fails where it is known to, and nowhere else")
    def _():
        failed = failures(found["squid"])
        assert set(failed) - {SQUIDS_FAULT_WHEN_BUSY} == SQUIDS_FAULTS, failed

    @check("the table in the note")
    def _():
        with open(NOTE, encoding="utf-8") as file:
            assert table(found) in file.read(), "it should be\n" + table(found)

    @check("each failure says what was sent, what came, and a rule")
    def _():
        for graded in found.values():
            for name, sentence in failures(graded).items():
                assert re.fullmatch(r"(The client sent|A client connected|The server sent|"
                                    r"not tried).*", sentence), (name, sentence)
                assert "; the proxy " in sentence and "; right is: " in sentence, sentence


# --- Programs that misbehave ----------------------------------------------------


def program(text):
    """A proxy in Python; PORT is its port."""
    return ["python3", "-c", "import sys; PORT = int(sys.argv[1])\n" + textwrap.dedent(text)]


def command(text):
    folder = tempfile.mkdtemp(dir=SCRATCH)
    path = os.path.join(folder, "student.py")
    with open(path, "w", encoding="utf-8") as file:
        file.write(program(text)[2])
    return "python3 %s {port}" % path


SCRATCH = tempfile.mkdtemp()
TELL_PID = "open('%s/pid-%%d' %% os.getpid(), 'w')\n" % SCRATCH


def running(words):
    """The processes whose command line has these words."""
    found = set()
    for pid in processes():
        with contextlib.suppress(OSError):  # it has ended
            with open("/proc/%d/cmdline" % pid, encoding="utf-8", errors="replace") as file:
                found |= {pid} if words in file.read() else set()
    return found


def all_gone(words):
    """No process of that command is left, whether it has told its number or not."""
    wait_for(lambda: not running(words), 10, "end of all processes")


def told():
    """How many processes have told their numbers."""
    return sum(name.startswith("pid-") for name in os.listdir(SCRATCH))


LISTEN = "import socket; server = socket.create_server(('127.0.0.1', PORT))\n"


def check_misbehaviour():
    @check("a program that ends at once")
    def _():
        status, out, err = grade(command("sys.exit('no module named proxy')"))
        assert status == 2 and "ended (exit status 1) before it listened" in err, out + err
        assert "no module named proxy" in err, err

    @check("a program that does not exist")
    def _():
        status, _, err = grade("/nowhere/proxy {port}")
        assert status == 2 and "Cannot run /nowhere/proxy: No such file" in err, err

    @check("a command without {port}")
    def _():
        status, _, err = grade("python3 proxy.py 3128")
        assert status == 2 and "{port}" in err, err

    @check("a program that never listens, ignores SIGTERM, and has children")
    def _():
        before = told()
        student = command(
            "import os, signal, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "os.fork()\n" + TELL_PID + "time.sleep(1000)")
        status, _, err = grade(student, "--start-within", "3")
        assert status == 2 and "does not listen on port" in err, err
        assert told() > before, "it did not run"
        all_gone(os.path.dirname(student.split()[1]))

    @check("children that have left the session")
    def _():
        before = told()
        student = command(
            "import os, socket, time\n"
            "server = socket.socket()\n"
            "server.bind(('127.0.0.1', PORT))\n"
            "inside, outside = os.pipe()\n"
            "child = os.fork() == 0\n"
            "if child: os.setsid()\n" + TELL_PID +
            "if child: os.write(outside, b'x')\n"
            "else: os.read(inside, 1); server.listen()  # when both have told\n"
            "time.sleep(1000)")
        status, out, _ = grade(student, "--only", "GET", "--patience", "0.2")
        assert status == 1 and "hangs" in out or "does not forward" in out, out
        assert told() >= before + 2, told()
        all_gone(os.path.dirname(student.split()[1]))

    @check("a program that never answers ends in time")
    def _():
        began = time.monotonic()
        status, out, _ = grade(command(LISTEN + "import time; time.sleep(1000)"),
                               "--patience", "0.2", "--level", "basic", "--level", "concurrent")
        assert status == 1 and time.monotonic() - began < 60, out
        assert "basic             0" in out, out
        assert "not tried: the proxy has hung in 5 behaviours of this level" in out, out

    @check("a program that prints without end, and dies of each client")
    def _():
        status, out, err = grade(command(
            LISTEN + "import os, threading\n"
            "def flood():\n"
            "    while True: os.write(1, b'x' * 65536)\n"
            "threading.Thread(target=flood, daemon=True).start()\n"
            "server.accept()\n"
            "os.abort()"), "--only", "GET")
        assert status == 1 and "the program ended (SIGABRT)" in out, out + err


    @check("a program that ends with each client has not hung, and its last words are shown")
    def _():
        status, out, _ = grade(command(
            LISTEN + "server.accept()[0].recv(9)\nraise KeyError('Host')"),
            "--level", "tunnel", "--patience", "20")
        assert status == 1 and "has hung" not in out, out
        assert out.count("the program ended (exit status 1), after it printed “KeyError: "
                         "'Host'”") == 13, out

    @check("an exception in a thread is shown")
    def _():
        _, out, _ = grade(command(
            LISTEN + "import threading\n"
            "def serve(client):\n"
            "    try: client.recv(9); raise KeyError('Host')\n"
            "    finally: client.close()\n"
            "while True: threading.Thread(target=serve, args=server.accept()[:1]).start()"),
            "--only", "GET")
        assert "does not forward, but resets the connection, after it printed " \
            "“KeyError: 'Host'”" in out, out

    @check("a program that refuses everything: it has not hung, and nothing hostile is tried")
    def _():
        began = time.monotonic()
        status, out, _ = grade(command(SEQUENTIAL), "--level", "tunnel", "--level", "hostile",
                               "--patience", "20")
        assert status == 1 and "has hung" not in out and time.monotonic() - began < 60, out
        assert "hostile           0      63" in out, out
        assert "not tried: the proxy does not pass on a plain GET either" in out, out

    @check("a program that listens at another port")
    def _():
        _, _, err = grade(command(
            "import socket, time; server = socket.create_server(('127.0.0.1', 0))\n"
            "print('mine:', server.getsockname()[1], flush=True); time.sleep(1000)"),
            "--start-within", "5")
        port = re.search(r"mine: (\d+)", err)
        assert port, err
        port = port[1]
        assert "does not listen on port" in err and "but on %s." % port in err, err

    @check("the port is none that the kernel gives to others")
    def _():
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            low = int(file.read().split()[0])
        assert low <= 20000 or all(1024 < unused_port()[0] < low for _ in range(20)), low

    @check("the port is none that a student's bind(2) is refused for a minute")
    def _():
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(server.getsockname()) as client:
                accepted, _ = server.accept()
                accepted.close()  # first, so that TIME-WAIT is here
                client.recv(1)
        with unittest.mock.patch("random.randrange", side_effect=[port, 20001, 20002, 20003]):
            assert unused_port()[0] != port

    @check("two graders at the same time take two ports")
    def _():
        port, reserved = unused_port()
        with reserved, unittest.mock.patch("random.randrange", side_effect=[port, 20001, 20002]):
            assert unused_port()[0] != port

    @check("a grader that is ended ends the program")
    def _():
        before = told()
        student = command(
            LISTEN + "import os, signal, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "os.fork()\n" + TELL_PID + "time.sleep(1000)")
        # One program, which is waited for until the signal comes.
        grader = subprocess.Popen([sys.executable, ROOT + "/tests/grade.py", "--only", "GET",
                                   "--patience", "60", student],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: told() >= before + 2, 20, "two processes")
        grader.terminate()
        _, err = grader.communicate(timeout=20)
        assert grader.returncode == 128 + 15 and not err, (grader.returncode, err)
        all_gone(os.path.dirname(student.split()[1]))


# --- Points and forms -----------------------------------------------------------

SEQUENTIAL = LISTEN + """
while True:
    client, _ = server.accept()
    client.recv(65536)
    client.sendall(b"HTTP/1.1 400 Bad\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    client.close()
"""

# It knows that a head ends with CRLF CRLF, and nothing else.
RELAY = LISTEN + """
import threading
def serve(client):
    head = b""
    while not head.endswith(b"\\r\\n\\r\\n") and (piece := client.recv(65536)):
        head += piece
    if head.endswith(b"\\r\\n\\r\\n"):
        method, target, rest = head.split(b" ", 2)
        _, _, place, path = target.split(b"/", 3)
        host, _, port = place.partition(b":")
        server = socket.create_connection((host.decode(), int(port)))
        server.sendall(b" ".join([method, b"/" + path, rest]))
        while piece := server.recv(65536):
            client.sendall(piece)
    client.close()
while True:
    threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()
"""


def check_forms():
    with open(os.path.join(SCRATCH, "weights"), "w", encoding="utf-8") as file:
        json.dump({"levels": {"basic": 10}, "behaviours": {
            "GET": 3, "a request that is no HTTP": 1, "HEAD": 0}}, file)
    only = ["--only", "GET", "--only", "HEAD", "--only", "a request that is no HTTP"]

    @check("points")
    def _():
        status, out, err = grade(command(SEQUENTIAL), *only, "--weights", file.name)
        assert status == 1 and "points: 2.5 of 10" in out, out + err

    @check("JSON, and the conversation")
    def _():
        status, out, _ = grade(command(SEQUENTIAL), *only, "--json", "--weights", file.name)
        found = json.loads(out)
        assert status == 1 and found["levels"][0]["points"] == 2.5, out
        one = found["behaviours"][0]
        assert one["verdict"] == "failed" and "does not forward" in one["sentence"], one
        with open(one["conversation"], encoding="utf-8") as kept:
            text = kept.read()
        assert "printf 'GET http://127.0.0.1:" in text and "400 Bad" in text, text

    @check("the conversation of a failure is shown")
    def _():
        _, out, _ = grade(command(SEQUENTIAL), *only, "--verbose")
        assert "client     sends “GET http://" in out and "To replay it" in out, out

    @check("the sentence names the client that waits")
    def _():
        _, out, _ = grade(command(LISTEN + "client, _ = server.accept()\nclient.recv(9)"),
                          "--only", "a client that sends nothing", "--patience", "0.5")
        assert "The client sent nothing, client 2 sent “GET http://" in out, out

    @check("what fills pages is shown in one line")
    def _():
        _, out, _ = grade(command(LISTEN + """
            client, _ = server.accept()
            target = client.recv(999).split()[1].decode().split(":")
            origin = socket.create_connection((target[0], int(target[1])))
            client.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
            client.recv(1 << 20)
            import time; time.sleep(99)
        """.replace("\n            ", "\n")), "--only", "16 MB through a tunnel",
            "--patience", "5", "--verbose")
        assert "the server got nothing" in out, out
        assert len(out) < 5000 and "and so on, 16777216 bytes" in out, (len(out), out[:3000])

    @check("a proxy that takes its time to connect")
    def _():
        slow = "import time\n" + RELAY.replace("        server = socket.", "        time.sleep(0.3)\n"
                                              "        server = socket.")
        status, out, _ = grade(command(slow), "--only", "GET", "--patience", "5")
        assert status == 0, out

    @check("to wait for a CRLF after a bare LF is no fault")
    def _():
        _, out, _ = grade(command(RELAY), "--only", "bare LF as line end", "--patience", "5")
        assert "open     bare LF as line end: waits for a CRLF" in out, out

    @check("the folder for conversations keeps what else is in it")
    def _():
        folder = tempfile.mkdtemp(dir=SCRATCH)
        for name in ("notes.txt", "basic-of-the-last-time.txt"):
            with open(os.path.join(folder, name), "w", encoding="utf-8"):
                pass
        grade(command(SEQUENTIAL), "--only", "GET", "--keep", folder)
        assert sorted(os.listdir(folder)) == ["basic-GET.txt", "notes.txt"], os.listdir(folder)

    @check("a program that cannot be started, and weights that cannot be read, as JSON")
    def _():
        for words, options in (("Cannot run /nowhere/proxy", []),
                               ("Cannot read the weights: /nowhere/weights",
                                ["--weights", "/nowhere/weights"])):
            status, out, _ = grade("/nowhere/proxy {port}", "--json", *options)
            found = json.loads(out)
            assert status == 2 and words in found["error"] and not found["behaviours"], out

    @check("the reports of a sanitizer")
    def _():
        for moment, words in (("client, _ = server.accept()\n    print(REPORT, flush=True)",
                               "FAILED   a request that is no HTTP: The client sent"),
                              ("import signal; signal.signal(signal.SIGTERM, lambda *_: ("
                               "print(REPORT, flush=True), sys.exit()))\n"
                               "    client, _ = server.accept()", "FAILED   its end:")):
            text = "REPORT = 'SUMMARY: AddressSanitizer: heap-use-after-free'\n" + SEQUENTIAL
            status, out, _ = grade(command(text.replace("client, _ = server.accept()", moment)),
                                   "--only", "a request that is no HTTP")
            assert status == 1 and words in out and "report" in out \
                and "heap-use-after-free" in out, out

    @check("a level or behaviour that does not exist")
    def _():
        with open(file.name, "w", encoding="utf-8") as wrong:
            json.dump({"levels": {"basics": 10}}, wrong)
        status, _, err = grade(command(SEQUENTIAL), "--weights", file.name)
        assert status != 0 and "'basics'" in err, err

    @check("credentials are asked for only when they are named")
    def _():
        status, out, _ = grade(command(SEQUENTIAL), "--only", "no credentials: 407")
        assert status == 0 and "needs --user" in out, out


def main():
    if sys.argv[1:] == ["--table"]:
        print(table(grade_all()), end="")
        return 0
    began = time.monotonic()
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            proxies = pool.submit(check_proxies)
            check_misbehaviour()
            check_forms()
            proxies.result()
    finally:
        shutil.rmtree(SCRATCH)
    print("%.0f s\n%d passed, %d failed" % (time.monotonic() - began, results.count(True),
                                            results.count(False)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())

"""A student's program under test: started on a port, watched, and ended in any case."""

import collections
import contextlib
import ctypes
import glob
import os
import random
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

from lib import TICKS, free_port, is_listening

KEPT = 65536  # bytes of what it prints
PR_SET_CHILD_SUBREAPER = 36
HAS_PROC = os.path.exists("/proc/self/stat")


class CannotStart(Exception):
    """With a sentence for the student."""


def reserve(port):
    """A socket whose name keeps the port from the other graders of this machine until it
    is closed; None if one of them has it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        if sys.platform == "linux":  # which has names that are no files
            sock.bind("\0proxy-grader-port-%d" % port)
        return sock
    except OSError:
        sock.close()
        return None


def unused_port():
    """A port, and what reserves it.  It is below those that the kernel picks for clients
    and for port 0, so that no connection of another program takes it before the student's
    bind(2); another grader, which runs at the same time, does not take it either."""
    low = 32768
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            low = int(file.read().split()[0])
    except OSError:
        pass  # not Linux, where they begin higher
    for _ in range(100 if low > 20000 else 0):
        port = random.randrange(10240, low)
        reserved = reserve(port)
        if not reserved:
            continue
        with socket.socket() as sock:
            try:  # without SO_REUSEADDR, as many students do
                sock.bind(("", port))
                return port, reserved
            except OSError:
                reserved.close()  # it is in use, or was a minute ago (TIME-WAIT)
    port = free_port()
    return port, reserve(port)


def adopt_orphans():
    """Children of a student's program that leave its session become ours (Linux)."""
    if HAS_PROC:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def processes():
    """{pid: (parent, session)} of all processes, from /proc."""
    found = {}
    for name in os.listdir("/proc") if HAS_PROC else ():
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, encoding="utf-8", errors="replace") as file:
                    fields = file.read().rpartition(")")[2].split()
                found[int(name)] = (int(fields[1]), int(fields[3]))
            except (OSError, IndexError):
                pass  # it has ended
    return found


def descendants(roots, everything):
    found = set(roots)
    while True:
        more = {pid for pid, (parent, _) in everything.items() if parent in found} - found
        if not more:
            return found
        found |= more


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass  # it has ended


def kill_orphans():
    """Ends all processes that the students' programs have started."""
    for _ in range(20):
        left = descendants({os.getpid()}, processes()) - {os.getpid()}
        if not left:
            return
        kill(left)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except OSError:
            pass  # no child is left
        time.sleep(0.01)


def listeners():
    """(port, inode) of each socket that waits for clients."""
    for name in ("tcp", "tcp6"):
        try:
            with open("/proc/net/" + name, encoding="ascii") as file:
                for fields in map(str.split, file):
                    if fields[3] == "0A":
                        yield int(fields[1].rpartition(":")[2], 16), fields[9]
        except OSError:
            pass  # no IPv6


def has_listener(port):
    """Read from /proc where that exists: a connection would be a client."""
    if not HAS_PROC:
        return is_listening(port)
    return any(found == port for found, _ in listeners())


class Student:
    """A process and all that it starts."""

    def __init__(self, command, seconds=20, environment=None):
        if "{port}" not in command:
            raise CannotStart("Say where the port goes: PROXY='python3 my_proxy.py {port}'")
        self.port, self.reserved = unused_port()
        try:
            self.command = shlex.split(command.replace("{port}", str(self.port)))
        except ValueError as error:
            raise CannotStart("Cannot read the command `%s`: %s" % (command, error)) from error
        self.printed = collections.deque()
        self.count = 0  # of all bytes that were printed
        self.kept = 0  # of those, the ones in `printed`
        self.lock = threading.Lock()
        self.reports = 0
        try:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True,
                env={"PYTHONUNBUFFERED": "1", **os.environ, **(environment or {})})
        except OSError as error:
            raise CannotStart("Cannot run %s: %s" % (self.command[0], error.strerror)) from error
        os.set_blocking(self.process.stdout.fileno(), False)
        self.reader = threading.Thread(target=self.drain, daemon=True)
        self.reader.start()
        try:
            self.wait_until_listening(seconds)
        except BaseException:
            self.close()
            raise

    def drain(self):
        """Reads what the program prints: a full pipe would stop it."""
        while True:
            select.select([self.process.stdout], [], [])
            with self.lock:
                if self.take() == b"":
                    return

    def take(self):
        """Reads once what it has printed, and keeps the end of it; empty at the end of all,
        None if nothing is there.  Who holds the lock misses nothing that was read."""
        try:
            piece = os.read(self.process.stdout.fileno(), 65536)
        except BlockingIOError:
            return None
        self.printed.append(piece)
        self.count += len(piece)
        self.kept += len(piece)
        while self.kept > KEPT and len(self.printed) > 1:
            self.kept -= len(self.printed.popleft())
        return piece

    def said(self, since=0):
        """The end of what it has printed after the first `since` bytes."""
        with self.lock:
            for _ in range(16):  # it may print faster than we read
                if not self.reader.is_alive() or not self.take():
                    break
            kept = b"".join(self.printed)
            return kept[max(0, len(kept) - self.count + since):].decode("utf-8", "replace")

    def new_reports(self):
        """What a sanitizer has said since the last call, if it was built with one."""
        found = re.findall(r"(?m)^SUMMARY: (\w+Sanitizer: .*)$|^.*: (runtime error: .*)$",
                           self.said())
        found = [one or other for one, other in found]
        new, self.reports = found[self.reports:], len(found)
        return [re.sub(r"/\S*/", "", words) for words in new]

    def wait_until_listening(self, seconds):
        began = time.monotonic()
        words = " ".join(self.command)
        while not has_listener(self.port):
            waited = time.monotonic() - began
            if self.process.poll() is not None and not self.pids():
                self.reader.join(1)
                raise CannotStart("`%s` ended (%s) before it listened on port %d.  %s"
                                  % (words, self.how_it_ended(), self.port, self.last_words()))
            if waited > seconds:
                if is_listening(self.port):
                    return
                others = ", ".join(map(str, self.listens_on()))
                raise CannotStart(
                    "After %g s `%s` does not listen on port %d%s.  Does it take the port from "
                    "the command line, and call listen?  %s"
                    % (seconds, words, self.port, others and ", but on %s" % others,
                       self.last_words()))
            time.sleep(min(0.2, 0.01 + waited / 20))

    def last_words(self):
        said = self.said()[-1500:]
        return "It printed:\n" + said if said else "It printed nothing."

    def how_it_ended(self, within=0):
        """Empty while it runs; waits up to `within` seconds for its end."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            return ""
        if self.pids():
            return ""
        if code < 0:
            return signal.Signals(-code).name
        return "exit status %d" % code

    def ends_or_rests(self, least, most):
        """How it ended; empty if it still runs.  Waits `least` seconds, and up to `most`
        while it is busy: it may be about to end, or to print why."""
        deadline = time.monotonic() + most
        ended, looks = self.how_it_ended(least), 0
        while not ended and looks < 3 and time.monotonic() < deadline:
            looks = looks + 1 if self.is_asleep() else 0
            ended = self.how_it_ended(0.01)
        return ended

    def pids(self):
        """Of the program and of what it has started."""
        everything = processes()
        roots = {pid for pid, (_, session) in everything.items() if session == self.process.pid}
        alive = descendants(roots, everything)
        if self.process.returncode is not None:
            alive.discard(self.process.pid)
        return alive

    # What it needs, by /proc.

    def cpu(self):
        """Seconds of processor time, children that have ended included."""
        used = 0
        for pid in self.pids():
            try:
                with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as file:
                    fields = file.read().rpartition(")")[2].split()
                used += sum(map(int, fields[11:15]))
            except OSError:
                pass  # it has ended
        return used / TICKS

    def memory(self):
        """Bytes that are resident."""
        total = 0
        for pid in self.pids():
            try:
                with open("/proc/%d/status" % pid, encoding="utf-8", errors="replace") as file:
                    found = re.search(r"VmRSS:\s+(\d+)", file.read())
                total += int(found[1]) * 1024 if found else 0
            except OSError:
                pass  # it has ended
        return total

    def is_asleep(self):
        """Whether no thread runs, or waits for a processor or the disk."""
        for pid in self.pids():
            for task in glob.glob("/proc/%d/task/*/stat" % pid):
                try:
                    with open(task, encoding="utf-8", errors="replace") as file:
                        if file.read().rpartition(")")[2].split()[0] in "RD":
                            return False
                except OSError:
                    pass  # it has ended
        return True

    def in_use(self):
        """The numbers of sockets and of threads."""
        sockets = threads = 0
        for pid in self.pids():
            try:
                threads += len(os.listdir("/proc/%d/task" % pid))
                names = os.listdir("/proc/%d/fd" % pid)
            except OSError:
                continue  # it has ended
            for name in names:
                with contextlib.suppress(OSError):  # it has closed that one
                    sockets += os.readlink("/proc/%d/fd/%s" % (pid, name)).startswith("socket:")
        return sockets, threads

    def sockets(self):
        """The inodes of its sockets."""
        found = set()
        for pid in self.pids():
            for name in glob.glob("/proc/%d/fd/*" % pid):
                try:
                    found.update(re.findall(r"^socket:\[(\d+)\]$", os.readlink(name)))
                except OSError:
                    pass  # it has ended, or has closed that one
        return found

    def listens_on(self):
        """The ports at which it waits for clients."""
        mine = self.sockets()
        return sorted({port for port, inode in listeners() if inode in mine})

    def quiet(self, seconds=3):
        """Waits until in_use() has been the same for 0.3 s; whether it was."""
        seen = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            seen.append(self.in_use())
            if len(seen) > 6 and len(set(seen[-6:])) == 1:
                return True
            time.sleep(0.05)
        return False

    def close(self, gently=0):
        """Ends it; `gently` gives it that many seconds after SIGTERM."""
        if gently and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(gently)
            except subprocess.TimeoutExpired:
                pass
        left = self.pids()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except OSError:
            pass  # all have ended
        kill(left)
        self.process.wait()
        if self.reserved:
            self.reserved.close()
        self.reader.join(2)
        if not self.reader.is_alive():
            self.process.stdout.close()

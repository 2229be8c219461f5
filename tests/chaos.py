#!/usr/bin/env python3
"""Random traffic, valid and broken, through the real program.

    chaos.py [PROXY [SECONDS [SEED]]]

Clients send requests of all kinds in pieces of all sizes, stop in the middle,
reset, or never read; the origin server does the same with its responses.  What
must hold, whatever they do: the proxy lives, no sanitizer complains, at the end
threads, descriptors and memory are where they were, and each connection to the
origin carries one request, which is one that a client has sent.
"""

import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENTS = 12


class Violations(list):
    """What did not hold, in words."""


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def send_in_pieces(dice, sock, data):
    while data:
        n = dice.choice([1, 2, 7, 100, 5000, len(data)])
        sock.sendall(data[:n])
        data = data[n:]
        if dice.random() < 0.02:
            raise ConnectionError("enough")


def spoil(dice, data):
    """Sometimes a byte more, less, or another one."""
    if not data or dice.random() < 0.7:
        return data
    at = dice.randrange(len(data))
    junk = bytes([dice.choice([0, 9, 10, 13, 32, 44, 48, 58, 127, 200, dice.randrange(256)])])
    return data[:at] + dice.choice([b"", junk, junk + data[at:at + 1]]) + data[at + 1:]


def body(dice):
    """A body, and the field line that frames it; looks like a request."""
    content = (b"GET http://smuggled/ HTTP/1.1\r\nHost: smuggled\r\n\r\n"
               + dice.randbytes(dice.choice([0, 10, 3000, 200000])))
    if dice.random() < 0.5:
        return b"Content-Length: %d\r\n" % len(content), content
    chunks = b""
    while content:
        n = dice.randrange(1, 5000)
        chunks += b"%x%s\r\n%s\r\n" % (len(content[:n]), dice.choice([b"", b";a=b"]), content[:n])
        content = content[n:]
    return b"Transfer-Encoding: chunked\r\n", chunks + b"0\r\n" + dice.choice(
        [b"", b"X-Trailer: 1\r\n"]) + b"\r\n"


class Origin:
    """Answers as the dice say, and looks at what arrives."""

    def __init__(self, dice, violations):
        self.dice = random.Random(dice.random())
        self.violations = violations
        self.sent = set()  # the numbers of requests that clients have begun
        self.seen = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.authority = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            sock, _ = self.listener.accept()
            dice = random.Random(self.dice.random())
            threading.Thread(target=self.serve, args=(sock, dice), daemon=True).start()

    def serve(self, sock, dice):
        sock.settimeout(10)
        try:
            with sock:
                data = b""
                while b"\r\n\r\n" not in data:
                    piece = sock.recv(65536)
                    if not piece:
                        return
                    data += piece
                    if data.startswith(b"tunnel"):
                        self.echo(sock, dice, data)
                        return
                self.look_at(data)
                self.answer(sock, dice)
        except OSError:
            pass

    def look_at(self, data):
        line = data.split(b"\r\n")[0]
        found = re.fullmatch(rb"\S+ /(\d+)/\S* HTTP/1\.1", line)
        if not found or int(found[1]) not in self.sent:
            self.violations.append("the origin got: %r" % line[:200])
        elif int(found[1]) in self.seen:
            self.violations.append("twice: %r" % line)
        else:
            self.seen.append(int(found[1]))

    @staticmethod
    def echo(sock, dice, data):
        while data:
            sock.sendall(data)
            if dice.random() < 0.1:
                reset(sock)
                return
            data = sock.recv(65536)

    @staticmethod
    def answer(sock, dice):
        for _ in range(dice.choice([0, 0, 1, 3])):
            send_in_pieces(dice, sock, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        if dice.random() < 0.1:
            if dice.random() < 0.5:
                reset(sock)
            return
        field, content = body(dice)
        if dice.random() < 0.2:
            field = b""  # ended by close
        status = dice.choice([b"200 OK", b"204 No Content", b"304 Not Modified", b"404 Gone",
                              b"500 Oh", b"101 Switching Protocols"])
        response = b"HTTP/1.%d %s\r\n%sSet-Cookie: a\r\n\r\n%s" % (
            dice.choice([0, 1, 1, 1]), status, field, content)
        response = spoil(dice, response)
        send_in_pieces(dice, sock, response[:dice.choice([len(response)] * 4 + [len(response) // 2])])
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


class Client(threading.Thread):
    def __init__(self, number, seed, proxy_port, origin, deadline):
        super().__init__()
        self.number = number * 1000000
        self.dice = random.Random(seed)
        self.port = proxy_port
        self.origin = origin
        self.deadline = deadline
        self.connections = 0

    def run(self):
        while time.monotonic() < self.deadline:
            self.connections += 1
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
                    self.talk(sock)
                    if self.dice.random() < 0.2:
                        reset(sock)
            except OSError:
                pass

    def talk(self, sock):
        dice = self.dice
        if dice.random() < 0.2:
            send_in_pieces(dice, sock, spoil(
                dice, b"CONNECT %s HTTP/1.1\r\nHost: h\r\n\r\n" % self.origin.authority.encode())
                + b"tunnel" + dice.randbytes(dice.choice([0, 100, 100000])))
        elif dice.random() < 0.1:
            send_in_pieces(dice, sock, dice.randbytes(dice.randrange(1, 3000)))
        else:
            data = b"".join(self.request() for _ in range(dice.choice([1, 1, 2, 5])))
            send_in_pieces(dice, sock, data)
        if dice.random() < 0.3:
            sock.shutdown(socket.SHUT_WR)
        for _ in range(dice.choice([0, 1, 10, 1000])):
            if not sock.recv(65536):
                break
            if dice.random() < 0.02:
                break

    def request(self):
        dice = self.dice
        self.number += 1
        self.origin.sent.add(self.number)
        method = dice.choice([b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS"])
        field, content = body(dice) if method in (b"POST", b"PUT") else (b"", b"")
        head = b"%s http://%s/%d/ HTTP/1.%d\r\nHost: h\r\n%s%s\r\n" % (
            method, self.origin.authority.encode(), self.number, dice.choice([0, 1, 1, 1]),
            field, dice.choice([b"", b"Connection: close\r\n", b"Upgrade: x\r\nConnection: Upgrade\r\n",
                                b"Expect: 100-continue\r\n"]))
        # A spoilt number would be that of another request; all else may be spoilt.
        line, rest = head.split(b" HTTP/", 1)
        return line + spoil(dice, b" HTTP/" + rest) + spoil(dice, content)


def in_use(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as file:
        status = dict(line.split(":", 1) for line in file)
    return (int(status["Threads"]), len(os.listdir("/proc/%d/fd" % pid)),
            int(status["VmRSS"].split()[0]))


def come_to_rest(pid, before):
    deadline = time.monotonic() + 30
    while True:
        now = in_use(pid)
        if now[:2] <= before[:2] or time.monotonic() > deadline:
            return now
        time.sleep(0.05)


def main():
    proxy = sys.argv[1] if len(sys.argv) > 1 else os.path.join(
        HERE, "../build/plain/forward_proxy")
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
    print("seed %d" % seed)
    dice = random.Random(seed)
    violations = Violations()
    origin = Origin(dice, violations)
    environment = dict(os.environ, ASAN_OPTIONS="quarantine_size_mb=1:detect_leaks=1")
    with subprocess.Popen(
            [proxy, "--listen", "127.0.0.1:0", "--log", "off", "--idle-timeout", "3",
             "--head-timeout", "3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment) as process:
        port = int(process.stdout.readline().rsplit(b":", 1)[1])

        def run(duration):
            clients = [Client(len(origin.sent) + i + 1, dice.random(), port, origin,
                              time.monotonic() + duration) for i in range(CLIENTS)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            return sum(client.connections for client in clients)
        run(seconds / 4)  # the allocator has to find its size first
        before = come_to_rest(process.pid, (2, 8, 0))
        connections = run(seconds)
        after = come_to_rest(process.pid, before)
        if process.poll() is not None:
            violations.append("the proxy has ended")
        process.terminate()
        complaints = process.stderr.read().decode()
        if process.wait() != 0 or "Sanitizer" in complaints or "runtime error" in complaints:
            violations.append("status %d: %s" % (process.returncode, complaints[-3000:]))
    kib = 200000 if "tsan" in proxy else 20000  # whose shadow of the memory grows
    if after[0] > before[0] or after[1] > before[1] or after[2] > before[2] + kib:
        violations.append("threads, descriptors, KiB: %r before, %r after" % (before, after))
    print("%d connections, %d requests begun, %d reached the origin"
          % (connections, len(origin.sent), len(origin.seen)))
    if len(origin.seen) < 100:
        violations.append("too few requests reached the origin")
    for violation in violations[:10]:
        print("FAILED: " + violation)
    print("%d passed, %d failed" % (not violations, bool(violations)))
    sys.exit(bool(violations))


main()

#!/usr/bin/env python3
"""Random traffic, valid and broken, through the real program.

    chaos.py [PROXY [SECONDS [SEED]]]

Clients send requests of all kinds in pieces of all sizes, stop in the middle,
reset, or never read.  Servers do the same with their responses, or use one of
TRICKS.  Heads come from a grammar: Connection nominates fields at random, and
values hold bytes that would drive a terminal or break JSON.  One proxy logs JSON
and shows bodies, the other logs text.  Afterwards:

- each proxy still runs, no sanitizer has complained, and threads, descriptors and
  memory are where they were;
- each connection to a server has carried one request, which a client has sent,
  without the fields that are meant for the proxy alone;
- each line of output is one that the proxy writes: strict JSON, or the grammar of
  a text line, in UTF-8 without control characters; and the steps of a connection
  are numbered one by one, so that a forged step shows;
- no password and no cookie is in any output.
"""

import collections
import glob
import os
import random
import re
import socket
import struct
import sys
import threading
import time

from lib import JSON, ON, OTHER, PLAIN, STEP, TEXT, Proxy, check_lines, wait_for

CLIENTS = 12
SECRET = b"s3cr3t"  # only in well-formed heads: a mutated one may have lost its field name
CAPTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "captures")

FORGED = [b"\n#1.1     1     0.0ms  C-->P      forged", b'\n{"forged":1}', b"\r\n#1.1 x"]
NASTY = [b"\x1b[2J", b"\xc2\x9b2J", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\xe2\x81\xa6", b"\xff\xfe",
         b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\x7f", b"\x00", b"\x0b", b"\x85"]
VALUES = [b"", b"1", b"a, b", b'"a\\"b"', b"\xe4\xbd\xa0\xe5\xa5\xbd", b"\\u0000", b"\t",
          b"x" * 300, b"\xe9", b"\xc2\x85", b"\xe2\x80\xae", b"\xff", b"\xed\xa0\x80",
          b"\xf0\x9f\x98"]
HOP_BY_HOP = [b"X-Drop", b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authorization"]
NAMES = HOP_BY_HOP + [b"Accept", b"Cookie", b"cookie", b"Authorization", b"X-Keep", b"Via", b"TE",
                      b"Trailer", b"Warning", b"Date", b"Strict-Transport-Security", b"Upgrade"]
NOMINATED = NAMES + [b"close", b"keep-alive", b"Max-Forwards", b"Host", b"Content-Length",
                     b"Transfer-Encoding", b"Connection", b"", b"\xff"]
TARGETS = [b""] * 5 + [b"?a=|[]{}^`\\", b"%", b"\xe6\x90\x9c", b"\xc2\x9b",
                          b"\xe2\x80\xae", b'"<>"']
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


# --- What is sent ---------------------------------------------------------------

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
    """A byte or a few more, one less, or other ones, somewhere."""
    at = dice.randrange(len(data) + 1)
    junk = dice.choice([dice.choice(FORGED), dice.choice(NASTY), dice.choice([
        b"\r", b"\n", b" ", b"\t", b",", b"0", b":", b"\r\n ", bytes([dice.randrange(256)])])])
    return data[:at] + dice.choice([b"", junk, junk + data[at:at + 1]]) + data[at + 1:]


def fields(dice, secret):
    """Field lines; those of HOP_BY_HOP are always nominated, others at random."""
    lines = []
    count = 140 if dice.random() < 0.02 else dice.choice([0, 0, 1, 2, 5, 5])
    for name in dice.choices(NAMES, k=count):
        value = dice.choice(VALUES)
        if name.lower() in (b"cookie", b"authorization", b"proxy-authorization"):
            value = dice.choice([b"Basic %s", b"Basic\t%s", b"%s", b"a=%s; b"]) % secret
        lines.append(b"%s: %s\r\n" % (name, value))
    tokens = dice.sample(NOMINATED, dice.choice([0, 0, 1, 3])) + HOP_BY_HOP[:1]
    lines.append(b"Connection: %s\r\n" % b", ".join(tokens))
    dice.shuffle(lines)
    return b"".join(lines)


def body(dice, broken=False):
    """A body, and the field line that frames it; looks like a request."""
    content = (b"GET http://smuggled/ HTTP/1.1\r\nHost: smuggled\r\n\r\n" + dice.choice(FORGED)
               + dice.choice(NASTY) + dice.randbytes(dice.choice([0, 10, 3000, 200000])))
    if dice.random() < 0.5:
        wrong = dice.choice([-1, 1, -len(content), 1 << 40]) if broken else 0
        return b"Content-Length: %d\r\n" % (len(content) + wrong), content
    chunks = b""
    while content:
        n = dice.randrange(1, 5000)
        piece, content = content[:n], content[n:]
        size = len(piece) + (dice.choice([-1, 1, 1 << 62]) if broken and dice.random() < 0.3 else 0)
        chunks += b"%x%s\r\n%s\r\n" % (size % (1 << 65), dice.choice([b"", b";a=b"]), piece)
    return b"Transfer-Encoding: chunked\r\n", chunks + b"0\r\n" + dice.choice(
        [b"", b"X-Trailer: %s\r\n" % dice.choice(VALUES)]) + b"\r\n"


def response(dice, broken=False):
    field, content = body(dice, broken)
    if dice.random() < 0.2:
        field = b""  # ended by close
    status = dice.choice([b"200 OK", b"204 No Content", b"304 Not Modified", b"404 Gone",
                          b"500 \xff\xc2\x9b", b"101 Switching Protocols"])
    head = b"HTTP/1.%d %s\r\n%sSet-Cookie: %s\r\n%s\r\n" % (
        dice.choice([0, 1, 1, 1]), status, field, SECRET, fields(dice, SECRET))
    return head + content


def hello(dice, side):
    """What a TLS client or server once sent; its names are replaced by control
    characters and forged lines, because the proxy shows the names in a tunnel."""
    with open(dice.choice(sorted(glob.glob(os.path.join(CAPTURES, "*." + side)))), "rb") as file:
        data = file.read()
    data = data.replace(b"localhost", dice.choice(
        [b"a\n#TLS  1 ", b"a\x1b[2J\n\r\0b", b"\xff\xc2\x85\xe2\x80\xae\nab"])[:9])
    data = data.replace(b"http/1.1", dice.choice([b"\n#TLS  x", b"h\x9b\xc2\x9b2J\r", b"http/1.1"]))
    return spoil(dice, data) if dice.random() < 0.3 else data


# --- The servers ----------------------------------------------------------------

def partial_head(dice, sock):
    answer = response(dice)
    sock.sendall(answer[:dice.randrange(answer.index(b"\r\n\r\n"))])
    if dice.random() < 0.5:
        sock.recv(65536)  # silent until the proxy or its client has had enough


def flood_of_interim(dice, sock):
    for _ in range(dice.choice([5, 200])):
        sock.sendall(HINTS * 10)


def trickle(dice, sock):
    answer = response(dice)
    for at in range(dice.choice([10, 200])):
        sock.sendall(answer[at:at + 1])
        time.sleep(0.005)
    sock.sendall(answer[200:])


def broken_body(dice, sock):
    send_in_pieces(dice, sock, response(dice, broken=True))


def spoilt_head(dice, sock):
    head, _, content = response(dice).replace(SECRET, b"other").partition(b"\r\n\r\n")
    for _ in range(dice.choice([1, 3])):
        head = spoil(dice, head)
    send_in_pieces(dice, sock, head + b"\r\n\r\n" + content)


def garbage(dice, sock):
    sock.sendall(dice.randbytes(dice.choice([1, 100, 100000])))


def reset_at_once(_, sock):
    reset(sock)


def good_answer(dice, sock):
    for _ in range(dice.choice([0, 0, 1, 3])):
        send_in_pieces(dice, sock, HINTS)
    answer = response(dice)
    send_in_pieces(dice, sock, answer[:dice.choice([len(answer)] * 4 + [len(answer) // 2])])


TRICKS = [partial_head, flood_of_interim, trickle, broken_body, spoilt_head, garbage, reset_at_once]


class Origin:
    """Answers as the dice say, and looks at what arrives."""

    def __init__(self, dice, violations):
        self.dice = random.Random(dice.random())
        self.violations = violations
        self.sent = set()  # the numbers of requests that clients have begun
        self.clean = set()  # of these, those that came as they should be
        self.seen = set()
        self.via = [b"1.1 a"]  # what the proxies call themselves
        self.authority = self.listen(self.serve)
        self.tunnel_authority = self.listen(self.serve_tunnel)

    def listen(self, serve):
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)

        def run(sock, dice):
            sock.settimeout(10)
            try:
                with sock:
                    serve(sock, dice)
            except OSError:
                pass

        def accept():
            while True:
                args = (listener.accept()[0], random.Random(self.dice.random()))
                threading.Thread(target=run, args=args, daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        return b"127.0.0.1:%d" % listener.getsockname()[1]

    def serve(self, sock, dice):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65536)
            if not piece:
                return
            data += piece
        self.look_at(data.partition(b"\r\n\r\n")[0].split(b"\r\n"))
        (good_answer if dice.random() < 0.6 else dice.choice(TRICKS))(dice, sock)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass

    def look_at(self, lines):
        found = re.fullmatch(rb"\S+ /(\d+)/[^ ]* HTTP/1\.1", lines[0])
        number = found and int(found[1])
        names = [line.partition(b":")[0].lower() for line in lines[1:]]
        if number not in self.sent:
            self.violations.append("the server got: %r" % lines[0][:200])
        elif number in self.seen:
            self.violations.append("twice: %r" % lines[0])
        elif number in self.clean and (names.count(b"host") != 1 or names.count(b"via") < 1 or any(
                name.lower() in names for name in HOP_BY_HOP)):
            self.violations.append("the server got: %r" % lines)
        # A new list each time: a client may be choosing from the old one.
        self.via = (self.via + [line[5:] for line in lines if re.match(
            rb"Via: 1.1 forward_proxy-\w+$", line)])[-10:]
        if b"content-length" in names and b"transfer-encoding" in names:
            self.violations.append("framed twice: %r" % lines)
        self.seen.add(number)

    @staticmethod
    def serve_tunnel(sock, dice):
        while data := sock.recv(65536):
            sock.sendall(hello(dice, "server") if data.startswith(b"\x16") else data)
            if dice.random() < 0.1:
                reset(sock)
                return


# --- The clients ----------------------------------------------------------------

class Client(threading.Thread):
    def __init__(self, number, seed, ports, origin, deadline):
        super().__init__()
        self.number = number * 1000000
        self.dice = random.Random(seed)
        self.ports = ports
        self.origin = origin
        self.deadline = deadline
        self.connections = 0

    def run(self):
        while time.monotonic() < self.deadline:
            self.connections += 1
            try:
                with socket.create_connection(
                        ("127.0.0.1", self.dice.choice(self.ports)), timeout=10) as sock:
                    self.talk(sock)
                    if self.dice.random() < 0.2:
                        reset(sock)
            except OSError:
                pass

    def talk(self, sock):
        dice = self.dice
        kind = dice.random()
        if kind < 0.2:
            head = b"CONNECT %s HTTP/1.1\r\nHost: h\r\n%s\r\n" % (
                self.origin.tunnel_authority, fields(dice, b"other"))
            head = head if dice.random() < 0.7 else spoil(dice, head)
            send_in_pieces(dice, sock, head + dice.choice([
                hello(dice, "client"), dice.randbytes(dice.choice([1, 100, 100000]))]))
        elif kind < 0.3:
            send_in_pieces(dice, sock, dice.randbytes(dice.randrange(1, 3000)))
        else:
            clean = dice.random() < 0.7  # a spoilt request may hide where the next one begins
            send_in_pieces(dice, sock, b"".join(
                self.request(clean) for _ in range(dice.choice([1, 1, 2, 5]))))
        if dice.random() < 0.3:
            sock.shutdown(socket.SHUT_WR)
        for _ in range(dice.choice([0, 1, 10, 1000])):
            if not sock.recv(65536) or dice.random() < 0.02:
                break

    def request(self, clean):
        dice = self.dice
        self.number += 1
        self.origin.sent.add(self.number)
        method = dice.choice(b"GET GET HEAD POST PUT OPTIONS TRACE X!".split())
        field, content = body(dice) if method in (b"POST", b"PUT") else (b"", b"")
        secret = SECRET if clean else b"other"
        user = b"user:%s@" % secret if dice.random() < 0.02 else b""
        line = b"%s http://%s%s/%d/%s" % (
            method, user, self.origin.authority, self.number, dice.choice(TARGETS))
        rest = b" HTTP/1.%d\r\nHost: h\r\n%s%s%s\r\n" % (
            dice.choice([0, 1, 1, 1]), field, fields(dice, secret), dice.choice([
                b"", b"Connection: close\r\n", b"Upgrade: x\r\nConnection: Upgrade\r\n",
                b"Expect: 100-continue\r\n", b"Max-Forwards: %d\r\n" % dice.randrange(3)]))
        if dice.random() < 0.02:
            rest = b"%sVia: %s (%s)\r\n\r\n" % (
                rest[:-2], dice.choice(self.origin.via), dice.choice(NASTY[:9] + VALUES))
        if clean:
            self.origin.clean.add(self.number)
            return line + rest + content
        # A spoilt number would be that of another request; all else may be spoilt.
        for _ in range(dice.choice([1, 3])):
            rest = spoil(dice, rest)
        return line + rest + (spoil(dice, content) if dice.random() < 0.3 else content)


# --- What the proxies say -------------------------------------------------------

def in_use(proxy):
    with open("/proc/%d/status" % proxy.pid, encoding="ascii") as file:
        status = dict(line.split(":", 1) for line in file)
    return (*proxy.in_use(), int(status["VmRSS"].split()[0]))


def come_to_rest(proxy, before):
    try:
        wait_for(lambda: all(a <= b for a, b in zip(proxy.in_use(), before)), 30, "base line")
    except AssertionError:
        pass  # the caller compares
    return in_use(proxy)


def finish(binary, proxy, before, kinds, say):
    """Checks and ends one of the proxies."""
    if proxy.process.poll() is not None:
        say("the proxy has ended")
    else:
        after = come_to_rest(proxy, before)
        kib = 200000 if "tsan" in binary else 20000  # whose shadow of the memory grows
        if after[0] > before[0] or after[1] > before[1] or after[2] > before[2] + kib:
            say("threads, descriptors, KiB: %r before, %r after" % (before, after))
    status = proxy.stop(30)
    errors = proxy.errors()
    if status != 0 or b"Sanitizer" in errors or b"runtime error" in errors:
        say("exit status %s: %s" % (status, errors[-3000:].decode(errors="replace")))
    check_lines(proxy.output(), kinds[0], say)
    check_lines(errors, kinds[1], say)
    for output in (proxy.output(), errors):
        at = output.find(SECRET)
        if at >= 0:
            say("a secret: %r" % output[max(0, at - 100):at + 30])
    proxy.close()


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else PLAIN
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
    print("seed %d" % seed, flush=True)
    dice = random.Random(seed)
    violations = []
    threading.excepthook = lambda args: violations.append("a thread of this test: %r" % (args,))
    origin = Origin(dice, violations)
    common = ["--idle-timeout", "1", "--head-timeout", "1", "--trace"]
    environment = {"ASAN_OPTIONS": "quarantine_size_mb=1:detect_leaks=1"}
    proxies = [Proxy(binary, *common, *more, environment=environment) for more in (
        ["--log", "json", "--show-bodies"], ["--log", "text"])]

    ports = [proxy.port for proxy in proxies]
    idle = [proxy.settled() for proxy in proxies]

    def run(duration):
        clients = [Client(len(origin.sent) + i + 1, dice.random(), ports, origin,
                          time.monotonic() + duration) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return sum(client.connections for client in clients)
    run(seconds / 4)  # the allocator has to find its size first
    before = [come_to_rest(*each) if each[0].process.poll() is None else None
              for each in zip(proxies, idle)]
    connections = run(seconds)
    for proxy, base, kinds in zip(proxies, before, (
            ([JSON, OTHER], [STEP, ON, OTHER]), ([STEP, ON, TEXT, OTHER], [OTHER]))):
        finish(binary, proxy, base, kinds, violations.append)
    print("%d connections, %d requests begun, %d reached the server"
          % (connections, len(origin.sent), len(origin.seen)))
    if len(origin.seen) < 100:
        violations.append("too few requests reached the server")
    kinds = collections.Counter(violation[:25] for violation in violations)
    for violation in violations:
        if kinds[violation[:25]] > 0:  # three of a kind are enough
            kinds[violation[:25]] = min(kinds[violation[:25]], 3) - 1
            print("FAILED: " + violation)
    print("%d passed, %d failed" % (not violations, bool(violations)))
    sys.exit(bool(violations))


main()

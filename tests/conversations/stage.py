"""A stage for conversations: a proxy, an origin server that the test plays, and
clients; every byte chosen by the test, and every byte recorded.

A case is one behaviour of a proxy.  tests/strictness.py runs those that are
`strict`, and counts a repair of a broken message as wrong; tests/grade.py runs
those that have a `level`, and accepts what RFC 9110 and RFC 9112 leave open.
"""

import base64
import dataclasses
import re
import select
import socket
import struct
import time
from typing import Callable

from lib import unread

PATIENCE = 3.0  # seconds, for what should come; a proxy that hangs costs this


class Wrong(Exception):
    """What the proxy did instead, in a few words; maybe the bytes that show it."""

    def __init__(self, words, got=None):
        super().__init__(words)
        self.got = got


class Open(Exception):
    """The proxy did something else that the RFCs allow: no verdict."""


def want(condition, words, got=None):
    if not condition:
        raise Wrong(words, got)


def ready(socks, seconds, write=()):
    """Those that can be read, or written, as soon as there is one; after that time, none.
    Ten waits of a tenth each: only one of them runs out while the machine stands still."""
    for _ in range(10):
        to_read, to_write, _ = select.select(socks, write, [], seconds / 10)
        if to_read or to_write:
            return to_read + to_write
    return []


# --- The two ends ---------------------------------------------------------------


class End:
    """A socket that remembers what it has read."""

    def __init__(self, sock, name="client", record=None, patience=PATIENCE):
        self.sock = sock
        self.sock.settimeout(patience)
        self.patience = patience
        self.name = name
        self.record = [] if record is None else record
        self.data = b""
        self.note("connects" if name.startswith("client") else "is connected to")

    def note(self, what, data=b""):
        self.record.append((self.name, what, bytes(data[:4096]), len(data)))

    def the_name(self):
        return self.name if self.name[-1].isdigit() else "the " + self.name

    def send(self, data):
        """All of it, as long as some of it moves (sendall has one timeout for all)."""
        self.note("sends", data)
        left = memoryview(data)
        try:
            while left and ready([], self.patience, [self.sock]):
                left = left[self.sock.send(left[:1 << 18]):]
        except (OSError, ValueError):  # also of a socket that is closed meanwhile
            pass  # the answer says why

    def wait_until_read(self):
        """Waits until the program has read what was sent."""
        try:
            if unread(self.sock) is None:
                time.sleep(0.05)  # nothing tells
            wait_until(lambda: not unread(self.sock), self.patience)
        except OSError:
            pass  # it has ended the connection, as the next read tells

    def more(self):
        """Reads on; False at any end."""
        if self.sock.fileno() < 0:
            self.note("reads a reset")  # it was closed here meanwhile
            return False
        if not ready([self.sock], self.patience):
            self.note("waits in vain")
            raise Wrong("hangs: %s got %s" % (self.the_name(), "no more than this"
                                              if self.data else "nothing"), self.data or None)
        try:
            piece = self.sock.recv(65536)
        except OSError:
            self.note("reads a reset")
            return False
        self.note("reads" if piece else "reads a FIN", piece)
        self.data += piece
        return bool(piece)

    def until(self, mark):
        while mark not in self.data:
            if not self.more():
                raise Wrong("closes early" if self.data else "closes silently",
                            self.data or None)
        at = self.data.index(mark) + len(mark)
        taken, self.data = self.data[:at], self.data[at:]
        return taken

    def head(self):
        return self.until(b"\r\n\r\n")

    def final_head(self):
        while True:
            head = self.head()
            if not re.match(rb"HTTP/1\.1 1", head):
                return head

    def rest(self):
        while self.more():
            pass
        return self.data

    def exactly(self, n):
        """Large amounts are read into one buffer, for the sake of speed."""
        pieces = bytearray(self.data)
        self.data = b""
        while len(pieces) < n:
            if not self.more():
                self.data = bytes(pieces)
                raise Wrong("closes early", self.data[-200:])
            pieces += self.data
            self.data = b""
        taken, self.data = bytes(pieces[:n]), bytes(pieces[n:])
        return taken

    def ends(self):
        """Whether the connection ends; what still comes is read."""
        try:
            while self.more():
                pass
        except Wrong:
            return False
        return True

    def finish(self):
        """Sends a FIN, and goes on reading."""
        self.note("sends a FIN")
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the connection is gone already

    def reset(self):
        self.note("resets the connection")
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        if self.sock.fileno() >= 0:
            self.note("closes")
        self.sock.close()


class Stage:
    """A proxy, and an origin server that listens."""

    def __init__(self, port, strict=True, patience=PATIENCE, user=None, program=None):
        self.port = port
        self.strict = strict  # a repair of a broken message counts as wrong
        self.patience = patience
        self.user = user  # "NAME:PASSWORD": each request carries them
        self.program = program  # for its memory, processor time and descriptors
        self.record = []
        self.ends = []
        self.others = []
        self.counts = {}
        self.listener = self.listen()
        self.at = b"127.0.0.1:%d" % self.listener.getsockname()[1]

    def listen(self):
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        listener.settimeout(self.patience)
        self.others.append(listener)
        return listener

    def refuse(self):
        """From now on ORIGIN is a port at which nothing listens.  A socket is bound to it:
        another program could listen at a port that was only closed."""
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.others.append(sock)
        self.at = b"127.0.0.1:%d" % sock.getsockname()[1]

    def add(self, sock, kind):
        self.counts[kind] = self.counts.get(kind, 0) + 1
        name = kind if self.counts[kind] == 1 else "%s %d" % (kind, self.counts[kind])
        end = End(sock, name, self.record, self.patience)
        self.ends.append(end)
        return end

    def client(self, data=b"", credentials=True):
        """Connects and sends; ORIGIN stands for the origin server's address."""
        try:
            sock = socket.create_connection(("127.0.0.1", self.port), self.patience)
        except socket.timeout:
            raise Wrong("accepts no connection")
        except OSError as error:
            raise Wrong("refuses the connection: %s" % error.strerror)
        end = self.add(sock, "client")
        if data:
            end.send(self.fill_in(data, credentials))
        return end

    def fill_in(self, data, credentials=True):
        data = data.replace(b"ORIGIN", self.at)
        first, newline, rest = data.partition(b"\n")
        if self.user and credentials and newline:
            line = b"Proxy-Authorization: Basic " + base64.b64encode(self.user.encode())
            rest = line + (b"\r\n" if first.endswith(b"\r") else b"\n") + rest
        return first + newline + rest

    def server(self, listener=None):
        listener = listener or self.listener
        for _ in range(max(1, int(self.patience / 0.05))):
            if select.select([listener], [], [], 0.05)[0]:
                return self.add(listener.accept()[0], "server")
            why_not = self.why_not_forwarded()
            if why_not:
                raise Wrong(why_not, self.answered())
        self.record.append(("server", "waits in vain", b"", 0))
        raise Wrong("does not forward, within %g s" % self.patience, self.answered())

    def why_not_forwarded(self):
        """What shows that nothing will come: the program has ended, or the last client's
        connection, or that client was told of an error.  Empty as long as it may."""
        if self.program and self.program.how_it_ended():
            return "does not forward"
        clients = [end for end in self.ends if end.name.startswith("client")]
        if not clients or clients[-1].sock.fileno() < 0:
            return ""
        last = clients[-1]
        if not select.select([last.sock], [], [], 0)[0]:
            return ""
        try:
            data = last.sock.recv(4096, socket.MSG_PEEK)
        except OSError:
            return "does not forward, but resets the connection"
        if not data:
            return "does not forward, but closes the connection"
        return "does not forward" if status(last.data + data) >= 400 else ""

    def answered(self):
        """What the last client was told instead."""
        for end in reversed(self.ends):
            if end.name.startswith("client") and end.sock.fileno() >= 0 \
                    and select.select([end.sock], [], [], 0)[0]:
                try:
                    end.more()
                except Wrong:
                    pass
                return end.data[:200] or None
        return None

    def touched(self):
        return bool(select.select([self.listener], [], [], 0)[0])

    def is_answered(self, client):
        """What is ready when the proxy has answered the client or reached the server."""
        return ready([client.sock, self.listener], self.patience)

    def either(self, client):
        """Waits for one of the two."""
        ready = self.is_answered(client)
        want(ready, "hangs: it neither answers nor forwards")
        return ready

    def close(self):
        for end in self.ends:
            end.close()
        for listener in self.others:
            listener.close()


def status(head):
    found = re.match(rb"HTTP/1\.[01] (\d\d\d)", head)
    return int(found.group(1)) if found else 0


def lines(head, name):
    return re.findall(rb"(?im)^" + name + rb":[ \t]*(.*?)\r$", head)


def wait_until(condition, seconds):
    """Whether the condition has become true within that time.  The time to look is not
    counted."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        time.sleep(0.02)
    return condition()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
GET = b"GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nConnection: close\r\n"
POST = b"POST http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nConnection: close\r\n"
CONNECT = b"CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"


def exchange(stage, fields=b"", response=OK, start=GET, body=b""):
    """One request and response; gives both heads and the client's end."""
    client = stage.client(start + fields + b"\r\n" + body)
    server = stage.server()
    request = server.head()
    server.send(response)
    server.finish()
    return request, client.final_head(), client


# --- The cases ------------------------------------------------------------------


@dataclasses.dataclass
class Case:
    name: str
    run: Callable  # takes a Stage; raises Wrong or Open
    level: str = None  # of the grader; none where the RFCs leave the behaviour open
    expects: str = ""  # what is right, and which RFC or user says so
    strict: bool = False  # a row of strictness.py
    needs: tuple = ()  # "user": credentials are known; "proc": Linux's /proc
    alone: bool = False  # needs up to a minute: runs beside the others, with another proxy


CASES = []


def add(name, run, **what):
    assert name not in [case.name for case in CASES], name
    CASES.append(Case(name, run, **what))


def behaviour(name, level, expects, **what):
    """Registers a function as a case."""
    def register(run):
        add(name, run, level=level, expects=expects, **what)
        return run
    return register


def faithful(name, level=None, expects="", **what):
    """The same, for a row of strictness.py."""
    return behaviour(name, level, expects, strict=True, **what)

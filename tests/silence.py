#!/usr/bin/env python3
"""Every phase of an exchange, and every way in which a peer can misbehave in it.

    silence.py [PROXY [WORD...]]     with words: only the cells whose names have one

Each row of CELLS brings an exchange to a phase, lets the client or the server
misbehave, and names what ends the exchange.  The cells run side by side.  Each
has its own proxy process, so the CPU time, threads and descriptors of that process
are those of the cell.  In every cell:

- while nothing moves, or a byte now and then, the proxy uses no CPU time;
- the exchange ends after the limit that the row names, not earlier, and at most
  a few seconds later.  All other limits are long;
- the client sees what the row says, the line in the log has the words of the row,
  and both connections end;
- threads and descriptors return to the base line while the peers that have not
  left keep their sockets open.  SIGTERM then ends the proxy with status 0.
"""

import collections
import concurrent.futures
import re
import sys
import time

from lib import PLAIN, Origin, Proxy, connect, faster_clock, in_own_network, move, wait_for

SHORT, LONG = 2.0, 30.0  # seconds: the limit under test, and all others
SLACK = 5.0  # seconds that an end may be late
QUIET = 0.05  # seconds of CPU time in one second in which nothing moves
HUGE = 1 << 40

Cell = collections.namedtuple("Cell", "phase who what ends seen words more")


def cell(phase, who, what, ends, seen, words, **more):
    """`ends` is the limit that ends the exchange ("head", "idle", "connect"), "at
    once", "goes on" (it survives, and is then completed), or "renews" (the same,
    and it survives the idle limit)."""
    return Cell(phase, who, what, ends, seen, words, more)


# --- The phases -----------------------------------------------------------------
# Each sets what its peers drip (a byte or message now and then) and flood with.

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
CHUNK = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
LINES = b"\r\nX: y" * 10000
JUNK = b"x" * 65536
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Scene:
    """One proxy, one client, one server, and what they would send."""

    def __init__(self, binary, ends, more):
        self.more = more
        limits = {name: SHORT if name == ends or (name, ends) == ("idle", "renews") else LONG
                  for name in ("head", "idle", "connect")}
        environment = None
        if "default" in more:  # the limit is that of the documents, and time passes faster
            del limits[ends]
            limits = dict.fromkeys(limits, 1e6)
            environment = faster_clock(more["default"] / SHORT)
        self.proxy = Proxy(binary, "--log", "json", *(
            "--%s-timeout=%.0f" % pair for pair in limits.items()), environment=environment)
        self.origin = Origin()
        self.client = self.server = None
        self.rest = []  # [(peer, bytes)] that complete the exchange
        # The first client makes the proxy start what it starts once.
        first = connect(self.proxy.port)
        first.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert move([first], lambda: first.end, 20), "the first client is not answered"
        first.close()
        self.base = self.proxy.settled()
        self.logged = wait_for(lambda: len(self.proxy.log()), 20, "line in the log")
        self.client = connect(self.proxy.port)
        self.client.drip, self.client.jet = b"G", JUNK

    def move(self, until, seconds):
        return move([self.client, self.server], until, seconds)

    def request(self, method=b"GET", fields=b"", end=b"\r\n"):
        self.client.send(b"%s http://%s/ HTTP/%s\r\nHost: h\r\n%s%s%s" % (
            method, self.origin.authority, self.more.get("version", b"1.1"), fields,
            self.more.get("fields", b""), end))
        self.client.jet = b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n" * 1000

    def accept(self, words):
        self.server = self.origin.accept()
        self.server.drip, self.server.jet = b"x", JUNK
        self.read(self.server, words)

    def read(self, peer, words):
        assert self.move(lambda: words in peer.data or peer.end, 20), "no %r" % words
        assert words in peer.data, "%r instead of %r" % (peer.data, words)

    def over(self):
        """Whether the exchange has its line in the log, or the client its end (which
        in a tunnel may be that of one direction)."""
        return (len(self.proxy.log()) > self.logged
                or (self.client.end in ("FIN", "RST") and self.framing != "tunnel")
                or (self.more.get("unlogged") and self.proxy.in_use() <= self.base))

    def close(self):
        for one in (self.client, self.server, self.origin, self.proxy):
            if one:
                one.close()


def accepted(_):
    pass


def in_request_head(s):
    s.request(end=b"X: ")
    s.client.drip, s.client.jet = b"x", LINES


def between_requests(s):
    s.request()
    s.accept(b"\r\n\r\n")
    s.server.send(OK)
    s.read(s.client, b"hello")
    s.server.close()
    s.client.data = b""
    assert s.move(s.over, 20), "no line in the log"
    s.logged += 1


def connecting(s):
    if s.who == "server" and s.what == "RST":
        s.origin.refuse_connections()
    else:
        s.origin.swallow_connections()
    if s.more.get("connect"):
        s.client.send(b"CONNECT %s HTTP/1.1\r\nHost: h\r\n\r\n" % s.origin.authority)
    else:
        s.request()
    s.client.jet = b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n" * 1000
    if s.who == "client" or s.what != "RST":
        sockets = s.base[1] + 2
        assert s.move(lambda: s.proxy.in_use()[1] >= sockets, 20), "it does not connect"


def in_request_body(s):
    if s.more.get("length"):
        s.request(b"POST", b"Content-Length: %d\r\n" % HUGE, b"\r\nhello")
        s.client.drip, s.client.jet = b"x", JUNK
    else:
        s.request(b"POST", b"Transfer-Encoding: chunked\r\n", b"\r\n5\r\nhello\r\n")
        s.client.drip, s.client.jet = b"1\r\nx\r\n", CHUNK
    s.accept(b"hello")
    s.rest = [(s.client, b"0\r\n\r\n"), (s.server, OK)]


def awaiting_100(s):
    s.request(b"POST", b"Content-Length: 5\r\nExpect: 100-continue\r\n")
    s.accept(b"\r\n\r\n")


def waiting(s):
    s.request()
    s.accept(b"\r\n\r\n")
    s.rest = [(s.server, OK)]


def pipelined(s):
    """A second request follows at once; only the first is at the server."""
    s.request()
    s.client.send(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
    s.accept(b"\r\n\r\n")
    s.rest = [(s.server, OK)]


def in_response_head(s):
    waiting(s)
    s.server.send(b"HTTP/1.1 200 OK\r\nX: ")
    s.server.drip, s.server.jet = b"x", LINES
    s.rest = [(s.server, b"\r\nContent-Length: 5\r\n\r\nhello")]


def after_1xx(s):
    waiting(s)
    s.server.send(HINTS)
    if "version" not in s.more:  # HTTP/1.0 has no interim responses
        s.read(s.client, b"\r\n\r\n")
    s.server.drip, s.server.jet = HINTS, HINTS * 100
    if s.more.get("large"):  # a few fill the buffers, before they are too many
        s.server.jet = HINTS.replace(b"</a>", b"x" * 50000)


def in_second_head(s):
    after_1xx(s)
    s.server.send(b"HTTP/1.1 200 OK\r\nX: ")
    s.server.drip = b"x"


def in_body_length(s):
    waiting(s)
    size = HUGE if "floods" in s.what else 1000
    s.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    start = s.server.sent
    s.server.send(b"hello")
    s.read(s.client, b"hello")
    s.rest = [(s.server, lambda: b"x" * (size - (s.server.sent - start)))]


def in_body_chunked(s):
    waiting(s)
    s.server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    s.read(s.client, b"hello")
    s.server.drip, s.server.jet = b"1\r\nx\r\n", CHUNK
    s.rest = [(s.server, b"0\r\n\r\n")]


def in_chunk_size(s):
    in_body_chunked(s)
    s.server.send(b"5;a=")
    s.server.drip, s.server.jet = b"b", JUNK


def in_trailer(s):
    in_body_chunked(s)
    s.server.send(b"0\r\nX: ")
    s.server.drip, s.server.jet = b"b", LINES


def in_body_close(s):
    waiting(s)
    s.server.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
    s.read(s.client, b"hello")
    s.rest = [(s.server, b"")]


def in_tunnel(s):
    s.client.send(b"CONNECT %s HTTP/1.1\r\nHost: h\r\n\r\nto server" % s.origin.authority)
    s.client.drip, s.client.jet = b"x", JUNK
    s.accept(b"to server")
    s.server.send(b"to client")
    s.read(s.client, b"to client")


def after_101(s):
    s.request(fields=b"Upgrade: x\r\nConnection: Upgrade\r\n")
    s.accept(b"\r\n\r\n")
    s.server.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
                  b"Connection: Upgrade\r\n\r\nto client")
    s.read(s.client, b"to client")
    s.client.drip, s.client.jet = b"x", JUNK


PHASES = {
    "accepted": accepted, "in the request head": in_request_head,
    "between requests": between_requests, "connecting": connecting,
    "in the request body": in_request_body, "waiting for 100": awaiting_100,
    "waiting": waiting, "waiting, the next request is here": pipelined,
    "in the response head": in_response_head, "after 1xx": after_1xx,
    "in the head after 1xx": in_second_head,
    "response body, length": in_body_length, "response body, chunked": in_body_chunked,
    "response body, close": in_body_close, "in a chunk's size": in_chunk_size,
    "in the trailer": in_trailer, "tunnel": in_tunnel, "tunnel after 101": after_101,
}


# --- The table ------------------------------------------------------------------
# What the client sees: a status of the proxy's, "FIN" or "RST" (no response),
# "cut" (a response that does not look complete), "complete", "closed" (a tunnel,
# either way), or None where the client has left.

CUT_BY_SERVER = "the server: Connection timed out"
RESET_BY_CLIENT = "the client: Connection reset"
CLOSE = b"Connection: close\r\n"

CELLS = [
    cell("accepted", "client", "silent", "head", "FIN", "waiting for a request"),
    cell("accepted", "client", "drips", "head", "408", "Request Head Timeout"),
    cell("accepted", "client", "floods", "at once", "414", "URI Too Long"),
    cell("accepted", "client", "FIN", "at once", "FIN", "closed without a request"),
    cell("accepted", "client", "RST", "at once", None, RESET_BY_CLIENT),

    cell("in the request head", "client", "silent", "head", "408", "Request Head Timeout"),
    cell("in the request head", "client", "drips", "head", "408", "Request Head Timeout"),
    cell("in the request head", "client", "floods", "at once", "431", "Fields Too Large"),
    cell("in the request head", "client", "FIN", "at once", "400", "Request Cut Short"),
    cell("in the request head", "client", "RST", "at once", None, RESET_BY_CLIENT),

    cell("between requests", "client", "silent", "idle", "FIN", "", unlogged=True),
    cell("between requests", "client", "drips", "head", "408", "Request Head Timeout"),
    cell("between requests", "client", "FIN", "at once", "FIN", "", unlogged=True),
    cell("between requests", "client", "RST", "at once", None, "", unlogged=True),

    cell("connecting", "server", "silent", "connect", "504", "Connection Timed Out"),
    cell("connecting", "server", "RST", "at once", "502", "Connection Refused"),
    cell("connecting", "client", "drips", "connect", "504", "Connection Timed Out"),
    cell("connecting", "client", "floods", "connect", "504", "Connection Timed Out"),
    cell("connecting", "client", "FIN", "at once", "FIN", "client left"),
    cell("connecting", "client", "FIN", "connect", "504", "Timed Out", fields=CLOSE),
    cell("connecting", "client", "FIN", "connect", "504", "Timed Out", version=b"1.0"),
    cell("connecting", "client", "FIN", "connect", "504", "Timed Out", connect=True),
    cell("connecting", "client", "RST", "at once", None, "Connection reset|client left"),
    cell("connecting", "client", "RST", "at once", None, "Connection reset|client left",
         connect=True),

    cell("in the request body", "client", "silent", "idle", "408", "Request Body Timeout"),
    cell("in the request body", "client", "silent", "idle", "408", "Request Body Timeout",
         length=True),
    cell("in the request body", "client", "drips", "renews", "complete", "complete"),
    cell("in the request body", "client", "FIN", "at once", "400", "Request Cut Short"),
    cell("in the request body", "client", "RST", "at once", None, RESET_BY_CLIENT),
    cell("in the request body", "client", "floods unread", "idle", "504", "Sent No Answer"),
    cell("in the request body", "client", "floods unread", "idle", "504", "Sent No Answer",
         length=True),
    cell("in the request body", "client", "floods", "renews", None, "", slowly=True),
    cell("in the request body", "client", "floods", "renews", None, "", slowly=True,
         length=True),
    cell("in the request body", "server", "FIN", "at once", "502", "Closed Without Answer"),
    cell("in the request body", "server", "RST", "at once", "502", "Server Reset"),
    cell("waiting for 100", "server", "silent", "idle", "504", "Sent No Answer"),

    cell("waiting", "server", "silent", "idle", "504", "Server Sent No Answer"),
    cell("waiting", "server", "floods", "at once", "502", "Malformed Response"),
    cell("waiting", "server", "FIN", "at once", "502", "Server Closed Without Answer"),
    cell("waiting", "server", "RST", "at once", "502", "Server Reset The Connection"),
    cell("waiting", "client", "drips", "idle", "504", "Server Sent No Answer"),
    cell("waiting", "client", "floods", "idle", "504", "Server Sent No Answer"),
    cell("waiting", "client", "FIN", "at once", "FIN", "client left"),
    cell("waiting", "client", "FIN", "goes on", "complete", "complete", fields=CLOSE),
    cell("waiting", "client", "FIN", "goes on", "complete", "complete", version=b"1.0"),
    cell("waiting", "client", "FIN", "idle", "504", "Sent No Answer", fields=CLOSE),
    cell("waiting, the next request is here", "client", "FIN", "goes on", "complete",
         "complete|itself"),
    cell("waiting", "client", "RST", "at once", None, RESET_BY_CLIENT),

    cell("in the response head", "server", "silent", "head", "504", "Response Head Timeout"),
    cell("in the response head", "server", "drips", "head", "504", "Response Head Timeout"),
    cell("in the response head", "server", "floods", "at once", "502", "Malformed Response"),
    cell("in the response head", "server", "FIN", "at once", "502", "Malformed Response"),
    cell("in the response head", "server", "RST", "at once", "502", "Server Reset"),
    cell("in the response head", "client", "drips", "head", "504", "Response Head Timeout"),
    cell("in the response head", "client", "floods", "head", "504", "Response Head Timeout"),
    cell("in the response head", "client", "FIN", "at once", "FIN", "client left"),
    cell("in the response head", "client", "FIN", "goes on", "complete", "complete",
         fields=CLOSE),
    cell("in the response head", "client", "RST", "at once", None, RESET_BY_CLIENT),

    cell("after 1xx", "server", "silent", "idle", "504", "Server Sent No Answer"),
    cell("after 1xx", "server", "silent", "idle", "504", "Sent No Answer", version=b"1.0"),
    cell("after 1xx", "server", "drips", "renews", "complete", "complete"),
    cell("after 1xx", "server", "drips", "renews", "complete", "complete", version=b"1.0"),
    cell("after 1xx", "server", "floods", "at once", "502", "Too Many Interim Responses"),
    cell("after 1xx", "server", "floods", "at once", "502", "Too Many Interim Responses",
         version=b"1.0"),
    cell("after 1xx", "server", "FIN", "at once", "502", "Server Closed Without Answer"),
    cell("after 1xx", "server", "RST", "at once", "502", "Server Reset The Connection"),
    cell("after 1xx", "client", "FIN", "at once", "FIN", "client left"),
    cell("after 1xx", "client", "FIN", "goes on", "complete", "complete", fields=CLOSE),
    cell("after 1xx", "client", "RST", "at once", None, RESET_BY_CLIENT),
    cell("after 1xx", "client", "RST", "at once", None, RESET_BY_CLIENT, version=b"1.0"),
    cell("after 1xx", "client", "RST", "at once", None, RESET_BY_CLIENT, version=b"1.0",
         server_drips=True),
    cell("after 1xx", "server", "floods unread", "idle", None, "the client: Connection timed",
         large=True),
    cell("in the head after 1xx", "server", "silent", "head", "504", "Response Head Timeout"),
    cell("in the head after 1xx", "server", "drips", "head", "504", "Response Head Timeout"),

    *(row for framing, fin_seen, fin_words in (
        ("length", "cut", "short of its Content-Length"),
        ("chunked", "cut", "before its last chunk"), ("close", "complete", "complete"))
      for phase in ("response body, " + framing,) for row in (
          cell(phase, "server", "silent", "idle", "cut", CUT_BY_SERVER),
          cell(phase, "server", "drips", "renews", "complete", "complete"),
          cell(phase, "server", "floods unread", "idle", "cut", "the client: Connection timed"),
          cell(phase, "server", "floods", "renews", None, "", slowly=True),
          cell(phase, "server", "FIN", "at once", fin_seen, fin_words),
          cell(phase, "server", "RST", "at once", "cut", "the server: Connection reset"),
          cell(phase, "client", "drips", "idle", "cut", CUT_BY_SERVER),
          cell(phase, "client", "floods", "idle", "cut", CUT_BY_SERVER),
          cell(phase, "client", "FIN", "goes on", "complete", "complete"),
          cell(phase, "client", "RST", "at once", None, RESET_BY_CLIENT))),
    cell("response body, chunked", "server", "silent", "idle", "cut", CUT_BY_SERVER,
         version=b"1.0"),
    cell("in a chunk's size", "server", "silent", "idle", "cut", CUT_BY_SERVER),
    cell("in a chunk's size", "server", "floods", "at once", "cut", "chunk"),
    cell("in the trailer", "server", "silent", "idle", "cut", CUT_BY_SERVER),
    cell("in the trailer", "server", "floods", "at once", "cut", "trailer|field|lines"),

    cell("tunnel", "client", "silent", "idle", "closed", "timed out"),
    cell("tunnel", "client", "drips", "renews", "complete", "finished first"),
    cell("tunnel", "server", "drips", "renews", "complete", "finished first"),
    cell("tunnel", "client", "floods unread", "idle", "closed", "timed out"),
    cell("tunnel", "server", "floods unread", "idle", "closed", "timed out"),
    cell("tunnel", "client", "floods", "renews", None, "", slowly=True),
    cell("tunnel", "server", "floods", "renews", None, "", slowly=True),
    cell("tunnel", "client", "FIN", "goes on", "complete", "client finished first"),
    cell("tunnel", "server", "FIN", "goes on", "complete", "server finished first"),
    cell("tunnel", "client", "FIN", "idle", "closed", "client finished first"),
    cell("tunnel", "server", "FIN", "idle", "closed", "server finished first"),
    cell("tunnel", "client", "FIN", "renews", "complete", "client finished first",
         server_drips=True),
    cell("tunnel", "client", "RST", "at once", None, RESET_BY_CLIENT),
    cell("tunnel", "server", "RST", "at once", "closed", "the server: Connection reset"),
    cell("tunnel after 101", "client", "silent", "idle", "closed", "timed out"),
    cell("tunnel after 101", "client", "drips", "renews", "complete", "finished first"),
    cell("tunnel after 101", "client", "FIN", "goes on", "complete", "client finished"),
    cell("tunnel after 101", "client", "RST", "at once", None, RESET_BY_CLIENT),
    cell("tunnel after 101", "server", "RST", "at once", "closed", "Connection reset"),

    # The limits that hold when no option is given.
    cell("in the request head", "client", "drips", "head", "408", "Head Timeout", default=30),
    cell("connecting", "server", "silent", "connect", "504", "Timed Out", default=10),
    cell("in the request body", "client", "floods unread", "idle", "504", "No Answer",
         default=600),
    cell("waiting", "server", "silent", "idle", "504", "Sent No Answer", default=600),
    cell("in the response head", "server", "drips", "head", "504", "Response Head Timeout",
         default=30),
    cell("response body, length", "server", "floods unread", "idle", "cut", "timed out",
         default=600),
    cell("tunnel", "client", "silent", "idle", "closed", "timed out", default=600),
    cell("tunnel", "client", "floods unread", "idle", "closed", "timed out", default=600),
    cell("tunnel", "server", "floods unread", "idle", "closed", "timed out", default=600),
    cell("tunnel", "client", "FIN", "idle", "closed", "client finished", default=60),
    cell("tunnel", "server", "FIN", "idle", "closed", "server finished", default=60),
]


def name_of(row):
    more = []
    for key, value in row.more.items():
        if isinstance(value, bytes):
            more.append(("HTTP/" if key == "version" else "") + value.decode().strip())
        elif key != "unlogged":
            more.append("default of %d s" % value if key == "default" else key.replace("_", " "))
    return "%s: %s %s%s, ends %s" % (row.phase, row.who, row.what,
                                     more and " (%s)" % ", ".join(more) or "", row.ends)


# --- What the peers do ----------------------------------------------------------

def act(s):
    """Does what can be done at once; the rest is in pass_time()."""
    if s.what == "FIN":
        s.actor.finish()
    elif s.what == "RST" and s.actor:
        s.actor.reset()
    elif "floods" in s.what:
        s.actor.flood = s.actor.jet
        if s.what == "floods unread" and not s.more.get("large"):
            # The proxy moves a bulk in another way than the first bytes.
            assert s.move(lambda: s.other.size > 8 << 20, 20), "only %d bytes pass" % s.other.size
        if s.what == "floods unread" or s.more.get("slowly"):
            s.other.deaf = True


def pass_time(s, until, seconds):
    """Moves bytes for that long, and lets drip who drips, and read slowly who does."""
    deadline = time.monotonic() + seconds
    while not until():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if s.what == "drips":
            s.actor.send(s.actor.drip)
        if s.more.get("server_drips"):
            s.server.send(s.server.drip)
        if s.more.get("slowly") and not s.other.end:
            s.other.read_some()
        s.move(until, min(left, 0.25))
    return True


def stall(s):
    """Lets a flood run until its sender is stuck."""
    assert s.move(lambda: s.over() or time.monotonic() - s.actor.moved > 0.4, 20), \
        "the flood is swallowed, %d bytes of it" % s.actor.sent


def check_cpu(s):
    before = s.proxy.cpu_seconds()
    pass_time(s, lambda: False, 1)
    used = s.proxy.cpu_seconds() - before
    assert used <= QUIET, "%.0f ms of CPU time in a second in which nothing moves" % (used * 1e3)


def seen_by(s, framing):
    """What the client saw, in the words of the table."""
    data = re.sub(rb"\AHTTP/1\.1 (?!101)1.*?\r\n\r\n", b"", s.client.data, flags=re.S)
    while data != (shorter := re.sub(rb"\AHTTP/1\.1 (?!101)1.*?\r\n\r\n", b"", data, flags=re.S)):
        data = shorter
    if not data:
        return s.client.end or "nothing"
    if framing == "tunnel":
        return "closed" if s.client.end else "open"
    head, _, body = data.partition(b"\r\n\r\n")
    status = head[9:12].decode()
    if status != "200":
        return status
    if framing == "chunked" and s.more.get("version") != b"1.0":
        whole = body.endswith(b"0\r\n\r\n")
    elif framing in ("chunked", "close"):
        whole = s.client.end == "FIN"
    else:
        whole = len(body) >= int(re.search(rb"Content-Length: (\d+)", head)[1])
    return "complete" if whole else "cut"


def complete(s):
    """Ends an exchange that has gone on; what the client saw."""
    if "tunnel" in s.phase:
        for peer in (s.client, s.server):
            peer.finish()
    for peer, data in s.rest:
        peer.send(data() if callable(data) else data)
    if s.server and s.rest:
        s.server.finish()
    assert s.move(s.over, SLACK), "it is not complete %g s after its last byte" % SLACK


# --- One cell -------------------------------------------------------------------

def watch(s, row):
    """From the misbehaviour to the end of the exchange."""
    # The limit begins after this, however long it took to read what the proxy passed on.
    began = s.began if row.ends != "idle" else max(
        peer.began for peer in (s.client, s.server) if peer)
    act(s)
    if row.ends == "at once":
        assert pass_time(s, s.over, SLACK), "it goes on after %g s" % SLACK
    elif row.ends in ("goes on", "renews"):
        if row.ends == "renews":
            pass_time(s, s.over, 1.5 * SHORT)
        if not row.more.get("slowly"):
            check_cpu(s)
        pass_time(s, s.over, 1)
        assert not s.over(), "it ended before its time: %r" % s.proxy.log()[-1]
        if row.more.get("slowly"):
            s.actor.reset()
        else:
            complete(s)
    else:
        if "floods" in row.what:
            stall(s)
        check_cpu(s)
        assert pass_time(s, s.over, SHORT + SLACK), \
            "it goes on %.1f s after the limit" % (time.monotonic() - began - SHORT)
        took = time.monotonic() - began
        assert took >= 0.95 * SHORT, "it ended after %.1f s of %g: %r" % (
            took, SHORT, s.proxy.log()[s.logged:])


def check_end(s, row):
    """What both peers saw, and the line in the log."""
    for peer in (s.client, s.server):
        if peer:
            peer.deaf = False
    if row.seen != "complete" or "tunnel" in row.phase:
        assert s.move(lambda: all(not p or p.end for p in (s.client, s.server)), SLACK), \
            "what the peers see: client %s, server %s" % (s.client.end, s.server and s.server.end)
    else:  # the client's connection may stay open
        s.move(lambda: seen_by(s, s.framing) == "complete", SLACK)
    if row.seen:
        seen = seen_by(s, s.framing)
        wanted = "closed" if row.seen == "complete" and s.framing == "tunnel" else row.seen
        assert seen == wanted, "the client sees %s: %r" % (seen, s.client.data[:200])
    s.move(lambda: len(s.proxy.log()) > s.logged, 0 if row.more.get("unlogged") else SLACK)
    lines = s.proxy.log()[s.logged:]
    for line in lines:
        assert re.search(row.words, line["ending"]), "the log says %r" % line["ending"]
    assert lines or row.more.get("unlogged"), "no line in the log"
    if row.seen and row.seen.isdigit():
        assert str(lines[0]["status"]) == row.seen, "the log's status: %r" % lines[0]


def check_base_line(s, row):
    """Peers that have not left keep their sockets while the proxy gives up its own."""
    if row.ends in ("goes on", "renews"):
        for peer in (s.client, s.server):
            if peer:
                peer.close()
    done = s.move(lambda: all(a <= b for a, b in zip(s.proxy.in_use(), s.base)), 10)
    assert done, "threads, descriptors: %r, base line %r" % (s.proxy.in_use(), s.base)
    status = s.proxy.stop()
    assert status == 0, "exit status %r: %s" % (status, s.proxy.errors()[-500:])


def play(binary, row):
    """Plays one cell; what was wrong, or None."""
    s = Scene(binary, row.ends, row.more)
    try:
        s.phase, s.who, s.what = row.phase, row.who, row.what
        s.framing = "tunnel" if "tunnel" in row.phase else "chunked" if re.search(
            "chunk|trailer", row.phase) else "close" if "close" in row.phase else "length"
        s.began = time.monotonic()
        PHASES[row.phase](s)
        s.actor, s.other = (s.client, s.server)[::1 if row.who == "client" else -1]
        watch(s, row)
        check_end(s, row)
        check_base_line(s, row)
        return None
    except (AssertionError, OSError) as error:
        return "%s" % error or repr(error)
    finally:
        s.close()


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else PLAIN
    rows = [row for row in CELLS
            if not sys.argv[2:] or any(word in name_of(row) for word in sys.argv[2:])]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for row, wrong in zip(rows, pool.map(lambda row: play(binary, row), rows)):
            if wrong:
                failed += 1
                print("FAILED: %s: %s" % (name_of(row), wrong), flush=True)
    print("%d passed, %d failed" % (len(rows) - failed, failed))
    return failed > 0


if __name__ == "__main__":
    # Small buffers fill at once, and a slow reader empties them in time.
    in_own_network(tcp_buffers=131072)
    sys.exit(main())

#!/usr/bin/env python3
"""The same bytes through several proxies: who is strict, and who is faithful?

    tests/strictness.py                          checks ours, and fails if it errs
    tests/strictness.py ours tinyproxy squid     a Markdown table, side by side

tinyproxy and squid have to be installed (`.ci/need tinyproxy squid`).  Each
case is a conversation between a client and an origin server, with the proxy in
between.  Where RFC 9112 lets a proxy refuse or repair (a folded line, a length
beside chunks), refusing is what counts as right here: a repair is a guess.
"""

import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE = 3.0  # seconds, for what should come; a proxy that hangs costs this
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Wrong(Exception):
    """What the proxy did instead, in a few words."""


def want(condition, words):
    if not condition:
        raise Wrong(words)


# --- The two ends ---------------------------------------------------------------


class End:
    """A socket that remembers what it has read."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.data = b""

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass  # the answer says why

    def more(self):
        """Reads on; False at any end."""
        try:
            piece = self.sock.recv(65536)
        except socket.timeout:
            raise Wrong("hangs")
        except OSError:
            return False
        self.data += piece
        return bool(piece)

    def until(self, mark):
        while mark not in self.data:
            if not self.more():
                raise Wrong("closes early" if self.data else "closes silently")
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
        while len(self.data) < n:
            if not self.more():
                raise Wrong("closes early")
        taken, self.data = self.data[:n], self.data[n:]
        return taken

    def close(self):
        self.sock.close()


class Stage:
    """A proxy, and an origin server that listens."""

    def __init__(self, port):
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.at = b"127.0.0.1:%d" % self.listener.getsockname()[1]
        self.ends = []

    def client(self, data=b""):
        end = End(socket.create_connection(("127.0.0.1", self.port)))
        self.ends.append(end)
        end.send(data.replace(b"ORIGIN", self.at))
        return end

    def server(self):
        try:
            end = End(self.listener.accept()[0])
        except socket.timeout:
            raise Wrong("does not forward")
        self.ends.append(end)
        return end

    def touched(self):
        return bool(select.select([self.listener], [], [], 0)[0])

    def close(self):
        for end in self.ends:
            end.close()
        self.listener.close()


def status(head):
    found = re.match(rb"HTTP/1\.[01] (\d\d\d)", head)
    return int(found.group(1)) if found else 0


def lines(head, name):
    return re.findall(rb"(?im)^" + name + rb":[ \t]*(.*?)\r$", head)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
GET = b"GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nConnection: close\r\n"
POST = b"POST http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nConnection: close\r\n"

# --- Requests that must not be forwarded ----------------------------------------

REFUSED = [
    # name, bytes, statuses that say the right thing
    ("bare LF as line end", b"GET http://ORIGIN/ HTTP/1.1\nHost: ORIGIN\n\n", {400}),
    ("bare CR in a field value", GET + b"A: b\rc\r\n\r\n", {400}),
    ("NUL in a field value", GET + b"A: b\0c\r\n\r\n", {400}),
    ("control character in a field value", GET + b"A: b\x01c\r\n\r\n", {400}),
    ("DEL in a field value", GET + b"A: b\x7fc\r\n\r\n", {400}),
    ("blank before the colon", GET + b"A : b\r\n\r\n", {400}),
    ("folded field line", GET + b"A: b\r\n c\r\n\r\n", {400}),
    ("empty field name", GET + b": b\r\n\r\n", {400}),
    ("field name that is no token", GET + b"A(b): c\r\n\r\n", {400}),
    ("field line without a colon", GET + b"Abc\r\n\r\n", {400}),
    ("two Host fields", GET + b"Host: other\r\n\r\n", {400}),
    ("no Host in HTTP/1.1", b"GET http://ORIGIN/ HTTP/1.1\r\nConnection: close\r\n\r\n", {400}),
    ("invalid Host", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", {400}),
    ("Transfer-Encoding with Content-Length", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400, 411, 413}),
    ("Transfer-Encoding: xchunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("Transfer-Encoding: chunked, gzip", POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", {400, 501}),
    ("Transfer-Encoding: gzip, chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("Transfer-Encoding twice", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("Transfer-Encoding: chunked,", POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", {400, 501}),
    ("Transfer-Encoding in HTTP/1.0", b"POST http://ORIGIN/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    ("Transfer_Encoding", POST + b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", {400}),
    ("two different Content-Lengths", POST + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\nhello", {400, 411, 413}),
    ("Content-Length: 5, 5", POST + b"Content-Length: 5, 5\r\n\r\nhello", {400, 411, 413}),
    ("Content-Length: +5", POST + b"Content-Length: +5\r\n\r\nhello", {400, 411, 413}),
    ("Content-Length: -5", POST + b"Content-Length: -5\r\n\r\nhello", {400, 411, 413}),
    ("Content-Length: 0x5", POST + b"Content-Length: 0x5\r\n\r\nhello", {400, 411, 413}),
    ("Content-Length: 5 5", POST + b"Content-Length: 5 5\r\n\r\nhello", {400, 411, 413}),
    ("Content-Length empty", POST + b"Content-Length:\r\n\r\nhello", {400, 411, 413}),
    ("Content-Length of 2^64", POST + b"Content-Length: 18446744073709551616\r\n\r\nhello", {400, 411, 413}),
    ("two blanks in the request line", b"GET  http://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n", {400}),
    ("tab in the request line", b"GET\thttp://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n", {400}),
    ("blank in the target", b"GET http://ORIGIN/a b HTTP/1.1\r\nHost: h\r\n\r\n", {400}),
    ("control character in the target", b"GET http://ORIGIN/a\x01b HTTP/1.1\r\nHost: h\r\n\r\n", {400}),
    ("byte outside ASCII in the target", b"GET http://ORIGIN/\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n", {400}),
    ("fragment in the target", b"GET http://ORIGIN/a#b HTTP/1.1\r\nHost: h\r\n\r\n", {400}),
    ("user information in the target", b"GET http://user@ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n", {400}),
    ("https without CONNECT", b"GET https://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nConnection: close\r\n\r\n", {400, 501}),
    ("method that is no token", b"G(T http://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n", {400, 501}),
    ("HTTP/1.2", b"GET http://ORIGIN/ HTTP/1.2\r\nHost: h\r\nConnection: close\r\n\r\n", {400, 505}),
    ("HTTP/2.0", b"GET http://ORIGIN/ HTTP/2.0\r\nHost: h\r\nConnection: close\r\n\r\n", {400, 505}),
    ("http/1.1 in lower case", b"GET http://ORIGIN/ http/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", {400}),
    ("CONNECT without a port", b"CONNECT 127.0.0.1 HTTP/1.1\r\nHost: h\r\n\r\n", {400}),
    ("CONNECT to port 0", b"CONNECT 127.0.0.1:0 HTTP/1.1\r\nHost: h\r\n\r\n", {400}),
    ("CONNECT to port 65536", b"CONNECT 127.0.0.1:65536 HTTP/1.1\r\nHost: h\r\n\r\n", {400}),
    ("CONNECT with user information", b"CONNECT user@ORIGIN HTTP/1.1\r\nHost: h\r\n\r\n", {400}),
]


def refused(stage, data, statuses):
    client = stage.client(data)
    ready, _, _ = select.select([client.sock, stage.listener], [], [], PATIENCE)
    want(ready, "hangs")
    if stage.listener in ready:
        server = stage.server()
        server.head()
        server.send(OK)
        raise Wrong("forwards it")
    got = status(client.head())
    want(got in statuses, "answers %d" % got)
    want(not stage.touched(), "forwards it")


# --- Chunked request bodies that must not look complete -------------------------

BROKEN_CHUNKS = [
    ("chunk longer than its size", b"3\r\nhello\r\n0\r\n\r\n"),
    ("chunk size 0x5", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("chunk size -5", b"-5\r\nhello\r\n0\r\n\r\n"),
    ("chunk size of 65 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("chunk size with a blank before it", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("chunk size ended by LF alone", b"5\nhello\r\n0\r\n\r\n"),
    ("chunk ended by LF alone", b"5\r\nhello\n0\r\n\r\n"),
    ("control character in a chunk extension", b"5;a\x01\r\nhello\r\n0\r\n\r\n"),
    ("Content-Length in the trailer section", b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"),
    ("malformed trailer section", b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n"),
]


def broken_chunks(stage, body):
    client = stage.client(POST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    ready, _, _ = select.select([client.sock, stage.listener], [], [], PATIENCE)
    if stage.listener in ready:
        server = stage.server()
        server.head()
        # The body is complete for the server when its last chunk is there.
        ready = True
        while ready and not re.search(rb"(^|\r\n)0\r\n(.*\r\n)?\r\n$", server.data):
            ready = select.select([server.sock], [], [], 1.0)[0]
            if ready and not server.more():
                break
        want(not re.search(rb"(^|\r\n)0\r\n(.*\r\n)?\r\n$", server.data),
             "forwards it as complete")
    if client.more():  # to close without a word is harsh, but right
        got = status(client.head())
        want(got == 400, "answers %d" % got)


# --- Responses that must not be passed on ---------------------------------------

BAD_RESPONSES = [
    ("response: bare LF as line end", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("response: bare CR in a field value", b"HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 2\r\n\r\nok"),
    ("response: NUL in a field value", b"HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 2\r\n\r\nok"),
    ("response: control character in a field value", b"HTTP/1.1 200 OK\r\nA: b\x01c\r\nContent-Length: 2\r\n\r\nok"),
    ("response: blank before the colon", b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 2\r\n\r\nok"),
    ("response: folded field line", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok"),
    ("response: Transfer-Encoding with Content-Length", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("response: two different Content-Lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
    ("response: Content-Length: +2", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("response: Transfer-Encoding: xchunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("response: status code of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("response: no status line", b"hello\r\n\r\nok"),
    ("response: closed without a byte", b""),
]


def bad_response(stage, data):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(data)
    server.close()
    got = status(client.head())
    want(got in (502, 500), "answers %d" % got)
    want(got == 502, "answers 500")


# --- Faithfulness ---------------------------------------------------------------

FAITHFUL = []


def faithful(name):
    def register(run):
        FAITHFUL.append((name, run))
    return register


def exchange(stage, fields=b"", response=OK, start=GET, body=b""):
    """One request and response; gives both heads and the client's end."""
    client = stage.client(start + fields + b"\r\n" + body)
    server = stage.server()
    request = server.head()
    server.send(response)
    server.sock.shutdown(socket.SHUT_WR)
    return request, client.final_head(), client


@faithful("repeated fields, their order and case")
def _(stage):
    request, head, _ = exchange(
        stage, b"x-One: 1\r\nX-Two: 2\r\nx-One: 3\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nx-B: 1\r\nSet-Cookie: b\r\n"
        b"Content-Length: 0\r\n\r\n")
    want(b"x-One: 1\r\nX-Two: 2\r\nx-One: 3\r\n" in request, "changes requests")
    want(b"Set-Cookie: a\r\nx-B: 1\r\nSet-Cookie: b\r\n" in head, "changes responses")


@faithful("the query, dots and escapes of the path")
def _(stage):
    start = GET.replace(b"ORIGIN/ ", b"ORIGIN/a/../b;c//%7e?d=%2F ")
    request, _, _ = exchange(stage, start=start)
    want(request.startswith(b"GET /a/../b;c//%7e?d=%2F HTTP/1.1\r\n"), "changes the target")


@faithful("Host is that of the target")
def _(stage):
    request, _, _ = exchange(stage, start=GET.replace(b"Host: ORIGIN", b"Host: wrong.example"))
    want(lines(request, b"Host") == [stage.at], "forwards another Host")


@faithful("the reason phrase")
def _(stage):
    _, head, _ = exchange(stage, response=OK.replace(b"200 OK", b"200 Quite Odd"))
    want(b" 200 Quite Odd\r\n" in head, "replaces it")


@faithful("hop-by-hop fields and credentials end here")
def _(stage):
    request, _, _ = exchange(
        stage, b"Proxy-Authorization: Basic YTpi\r\nProxy-Connection: x\r\n"
        b"Keep-Alive: 5\r\nTE: gzip\r\n")
    for name in (b"Proxy-Authorization", b"Proxy-Connection", b"Keep-Alive", b"TE"):
        want(not lines(request, name), "forwards " + name.decode())


@faithful("fields that Connection names end here")
def _(stage):
    start = GET.replace(b"Connection: close", b"Connection: close, x-one\r\nConnection: X-Two")
    request, head, _ = exchange(
        stage, b"X-One: 1\r\nX-Two: 2\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: X-Three\r\nX-Three: 3\r\nContent-Length: 0\r\n\r\n",
        start=start)
    want(not lines(request, b"X-One") and not lines(request, b"X-Two"), "forwards requests'")
    want(not lines(head, b"X-Three"), "forwards responses'")


@faithful("Connection cannot name Content-Length away")
def _(stage):
    start = POST.replace(b"Connection: close", b"Connection: close, content-length")
    request, _, _ = exchange(stage, b"Content-Length: 5\r\n", start=start, body=b"hello")
    want(lines(request, b"Content-Length") == [b"5"], "drops it")


@faithful("Via is added both ways")
def _(stage):
    request, head, _ = exchange(stage, b"Via: 1.0 before\r\n")
    via = b", ".join(lines(request, b"Via"))
    want(via.startswith(b"1.0 before, 1.1 "), "not in requests")
    want(lines(head, b"Via"), "not in responses")


@faithful("a loop is noticed")
def _(stage):
    request, _, _ = exchange(stage)
    via = lines(request, b"Via")
    want(via, "sends no Via")
    client = stage.client(GET + b"Via: " + via[-1] + b"\r\n\r\n")
    ready, _, _ = select.select([client.sock, stage.listener], [], [], PATIENCE)
    want(client.sock in ready and status(client.head()) >= 400, "forwards it")


@faithful("103 Early Hints is passed on, the final response after it")
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    want(status(client.head()) == 103, "drops it")
    want(status(client.head()) == 200, "loses the final response")


@faithful("Expect: 100-continue, the server agrees")
def _(stage):
    client = stage.client(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    server = stage.server()
    head = server.head()
    want(lines(head, b"Expect"), "does not forward Expect")
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    want(status(client.head()) == 100, "drops the 100")
    client.send(b"hello")
    want(server.exactly(5) == b"hello", "changes the body")
    server.send(OK)
    want(status(client.head()) == 200, "loses the response")


@faithful("Expect: 100-continue, the server refuses")
def _(stage):
    client = stage.client(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    server.sock.shutdown(socket.SHUT_WR)
    got = status(client.head())
    want(got == 417, "answers %d" % got)


@faithful("413 arrives during the upload")
def _(stage):
    client = stage.client(POST + b"Content-Length: 10000000\r\n\r\nbegin")
    server = stage.server()
    server.head()
    server.exactly(5)
    server.send(b"HTTP/1.1 413 Big\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
    got = status(client.head())
    want(got == 413, "answers %d" % got)
    want(client.rest()[:3] == b"big", "loses its body")


@faithful("10 MB echoed while they are uploaded")
def _(stage):
    body = os.urandom(1000) * 10000
    client = stage.client(POST + b"Content-Length: %d\r\n\r\n" % len(body))
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body))

    def echo():
        try:
            left = len(body)
            while left > 0:
                piece = server.exactly(min(left, 50000))
                server.send(piece)
                left -= len(piece)
        except Wrong:
            pass

    threads = [threading.Thread(target=echo),
               threading.Thread(target=client.send, args=(body,))]
    for thread in threads:
        thread.start()
    try:
        want(status(client.head()) == 200, "fails")
        want(client.exactly(len(body)) == body, "changes it")
    finally:
        server.sock.shutdown(socket.SHUT_RDWR)
        client.sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


@faithful("an event is passed on before the next one is sent")
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
    client.until(b"first")
    server.send(b"6\r\nsecond\r\n0\r\n\r\n")
    client.until(b"second")


@faithful("a chunked upload")
def _(stage):
    client = stage.client(POST + b"Transfer-Encoding: chunked\r\n\r\n"
                          b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    server = stage.server()
    head = server.head()
    if lines(head, b"Content-Length"):
        body = server.exactly(11)
    else:
        server.until(b"0\r\n\r\n") if b"0\r\n\r\n" in server.data else server.until(b"\r\n0\r\n\r\n")
        body = b"hello world"
    want(body == b"hello world", "changes it")
    server.send(OK)
    want(status(client.head()) == 200, "loses the response")


@faithful("trailer fields of a response")
def _(stage):
    _, _, client = exchange(
        stage, b"TE: trailers\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
    want(b"X-Sum: 1\r\n" in client.rest(), "drops them")


@faithful("trailer fields of a request")
def _(stage):
    client = stage.client(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
    server = stage.server()
    server.head()
    end = time.monotonic() + 1
    while b"0\r\n" not in server.data and time.monotonic() < end:
        server.more()
    want(b"X-Sum: 1\r\n" in server.data, "drops them")
    server.send(OK)
    client.head()


@faithful("no chunks for an HTTP/1.0 client")
def _(stage):
    client = stage.client(b"GET http://ORIGIN/ HTTP/1.0\r\n\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    server.close()
    head = client.head()
    want(not lines(head, b"Transfer-Encoding"), "sends Transfer-Encoding")
    want(client.rest() == b"ok", "sends chunks")


@faithful("a HEAD response with a length, then another request")
def _(stage):
    start = b"HEAD http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"
    client = stage.client(start)
    for _ in range(2):
        server = stage.server()
        server.head()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n")
        server.close()
        want(lines(client.head(), b"Content-Length") == [b"99"], "changes the length")
        client.send(start.replace(b"ORIGIN", stage.at))


@faithful("two pipelined requests")
def _(stage):
    one = b"GET http://ORIGIN/1 HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"
    client = stage.client(one + one.replace(b"ORIGIN/1", b"ORIGIN/2"))
    for path in (b"/1", b"/2"):
        server = stage.server()
        want(path in server.head().split(b"\r\n")[0], "sends the wrong one")
        server.send(OK.replace(b"ok", path))
        server.close()
        client.head()
        want(client.exactly(2) == path, "mixes the answers")


@faithful("a body cut short by the server looks cut short")
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    server.close()
    head = client.head()
    data = client.rest()
    want(lines(head, b"Transfer-Encoding") and b"\r\n0\r\n" not in data, "looks complete")


@faithful("101 Switching Protocols")
def _(stage):
    client = stage.client(b"GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n"
                          b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n")
    server = stage.server()
    want(lines(server.head(), b"Upgrade") == [b"x"], "drops Upgrade")
    server.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello")
    got = status(client.head())
    want(got == 101, "answers %d" % got)
    want(client.exactly(5) == b"hello", "loses bytes")


@faithful("bytes behind CONNECT")
def _(stage):
    client = stage.client(b"CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\nearly")
    server = stage.server()
    want(status(client.head()) == 200, "fails")
    want(server.exactly(5) == b"early", "loses them")


@faithful("a tunnel's FIN, and the answer that follows it")
def _(stage):
    client = stage.client(b"CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n")
    server = stage.server()
    client.head()
    client.send(b"question")
    client.sock.shutdown(socket.SHUT_WR)
    want(server.rest() == b"question", "loses bytes")
    server.send(b"answer")
    server.close()
    want(client.rest() == b"answer", "loses the answer")


@faithful("a refused CONNECT is a 502 or 503")
def _(stage):
    port = stage.at
    stage.listener.close()
    client = End(socket.create_connection(("127.0.0.1", stage.port)))
    stage.ends.append(client)
    client.send(b"CONNECT " + port + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    got = status(client.head())
    want(got in (502, 503), "answers %d" % got)


# --- The proxies ----------------------------------------------------------------


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Program:
    """A proxy that runs until close()."""

    def __init__(self, name, folder):
        self.port = free_port()
        command = getattr(self, name)(folder)
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    sys.exit("cannot start %s: %s" % (name, " ".join(command)))
                time.sleep(0.05)

    def ours(self, folder):
        return [os.path.join(ROOT, "build/plain/forward_proxy"),
                "--listen", "127.0.0.1:%d" % self.port, "--log", "off"]

    def traced(self, folder):
        return self.ours(folder) + ["--trace"]

    def tinyproxy(self, folder):
        path = self.write(folder, "tinyproxy.conf",
                          "Port %d\nListen 127.0.0.1\nTimeout 60\nMaxClients 10000\n"
                          "Allow 127.0.0.1\nLogLevel Critical\n" % self.port)
        return [shutil.which("tinyproxy"), "-d", "-c", path]

    def squid(self, folder):
        os.chmod(folder, 0o777)
        path = self.write(folder, "squid.conf",
                          "http_port 127.0.0.1:%d\nhttp_access allow all\n"
                          "cache deny all\naccess_log none\ncache_log %s/log\n"
                          "pid_filename none\ncoredump_dir %s\nshutdown_lifetime 0\n"
                          "netdb_filename none\ncache_store_log none\n"
                          % (self.port, folder, folder))
        return [shutil.which("squid", path="/usr/sbin:" + os.environ["PATH"]), "-N", "-f", path]

    def apache(self, folder):
        modules = "/usr/lib/apache2/modules/mod_%s.so"
        loads = "".join(
            "LoadModule %s_module %s\n" % (name, modules % name)
            for name in ("mpm_event", "authz_core", "proxy", "proxy_http", "proxy_connect"))
        path = self.write(folder, "apache.conf", loads
                          + "ServerName localhost\nListen 127.0.0.1:%d\nPidFile %s/pid\n"
                          "ErrorLog %s/log\nDefaultRuntimeDir %s\nMutex file:%s\n"
                          "ProxyRequests On\nProxyVia On\nAllowCONNECT 1-65535\n"
                          "KeepAliveTimeout 60\nMaxKeepAliveRequests 0\n"
                          "<Proxy *>\nRequire all granted\n</Proxy>\n"
                          % (self.port, folder, folder, folder, folder))
        os.chmod(folder, 0o777)
        return [shutil.which("apache2", path="/usr/sbin:" + os.environ["PATH"]),
                "-D", "FOREGROUND", "-f", path]

    @staticmethod
    def write(folder, name, text):
        path = os.path.join(folder, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def close(self):
        self.process.terminate()
        self.process.wait()


def all_cases():
    for name, data, statuses in REFUSED:
        yield name, lambda stage, d=data, s=statuses: refused(stage, d, s)
    for name, body in BROKEN_CHUNKS:
        yield name, lambda stage, b=body: broken_chunks(stage, b)
    for name, data in BAD_RESPONSES:
        yield name, lambda stage, d=data: bad_response(stage, d)
    yield from FAITHFUL


def outcome(run, port):
    """Empty if the proxy did right, otherwise what it did instead."""
    stage = Stage(port)
    try:
        run(stage)
        return ""
    except Wrong as wrong:
        return str(wrong)
    except OSError as error:
        return "breaks: " + str(error)
    finally:
        stage.close()


def run_all(name):
    with tempfile.TemporaryDirectory() as folder:
        program = Program(name, folder)
        try:
            return {case: outcome(run, program.port) for case, run in all_cases()}
        finally:
            program.close()


def main():
    names = sys.argv[1:] or ["ours"]
    results = {name: run_all(name) for name in names}
    if names != ["ours"]:
        print("| case | " + " | ".join(names) + " |")
        print("| --- |" + " --- |" * len(names))
        for case, _ in all_cases():
            print("| " + case + " | "
                  + " | ".join(results[name][case] or "ok" for name in names) + " |")
        print("| **right, of %d** | " % len(results[names[0]])
              + " | ".join(str(list(results[name].values()).count("")) for name in names) + " |")
        return
    wrong = {case: words for case, words in results["ours"].items() if words}
    for case, words in wrong.items():
        print("FAILED: %s: %s" % (case, words))
    print("%d passed, %d failed" % (len(results["ours"]) - len(wrong), len(wrong)))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

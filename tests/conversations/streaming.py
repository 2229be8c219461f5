"""Bytes are passed on when they are here, in both directions, and no faster than
the receiver takes them."""

import os
import select
import socket
import threading

from .stage import (GET, OK, POST, Open, Wrong, behaviour, exchange, faithful, lines, status,
                    want)
from .tunnel import tunnel

AT_ONCE = "what is here is passed on at once (streams of events would stand still)"
HELD = 64 << 20  # more than the kernel's buffers hold
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def allows_411(client, stage):
    """RFC 9112 §6.3 lets a server ask for a length."""
    if stage.strict or stage.listener in stage.either(client):
        return
    head = client.head()
    if status(head) == 411:
        raise Open("asks for a length with 411, as RFC 9112 §6.3 allows")
    raise Wrong("answers %d" % status(head), head)


@behaviour("the head of a response before its body", "streaming", AT_ONCE)
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n")
    want(status(client.head()) == 200, "fails")


@behaviour("the first bytes of a body with a length", "streaming", AT_ONCE)
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nfirst")
    client.until(b"first")
    server.send(b"after")
    client.until(b"after")


@behaviour("the first bytes of a body that ends with the connection", "streaming", AT_ONCE)
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\n\r\nfirst")
    client.until(b"first")
    server.send(b"after")
    client.until(b"after")


@faithful("an event is passed on before the next one is sent", "streaming", AT_ONCE)
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
    client.until(b"first")
    server.send(b"6\r\nsecond\r\n0\r\n\r\n")
    client.until(b"second")


@behaviour("the first bytes of an upload", "streaming", AT_ONCE)
def _(stage):
    client = stage.client(POST + b"Content-Length: 10\r\n\r\nfirst")
    server = stage.server()
    server.head()
    got = server.exactly(5)
    want(got == b"first", "changes them", got)
    client.send(b"after")
    got = server.exactly(5)
    want(got == b"after", "changes them", got)


@faithful("103 Early Hints is passed on, the final response after it", "streaming",
          "a proxy forwards interim responses (RFC 9110 §15.2)")
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    head = client.head()
    want(status(head) == 103, "drops it", head)
    head = client.head()
    want(status(head) == 200, "loses the final response", head)


@faithful("Expect: 100-continue, the server agrees", "streaming",
          "a client that waits for 100 (Continue) gets one (RFC 9110 §10.1.1)")
def _(stage):
    client = stage.client(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    server = stage.server()
    head = server.head()
    if lines(head, b"Expect"):
        server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    else:
        want(not stage.strict, "does not forward Expect")
    head = client.head()
    want(status(head) == 100, "drops the 100", head)
    client.send(b"hello")
    want(server.exactly(5) == b"hello", "changes the body")
    server.send(OK)
    want(status(client.head()) == 200, "loses the response")


@faithful("Expect: 100-continue, the server refuses", "streaming",
          "the server's refusal is the response (RFC 9110 §10.1.1)")
def _(stage):
    client = stage.client(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    server.finish()
    head = client.final_head()
    want(status(head) == 417, "answers %d" % status(head), head)


@faithful("413 arrives during the upload", "streaming",
          "a response can come before the request is complete (RFC 9110 §7.5, RFC 9112 §9.5)")
def _(stage):
    client = stage.client(POST + b"Content-Length: 10000000\r\n\r\nbegin")
    server = stage.server()
    server.head()
    server.exactly(5)
    server.send(b"HTTP/1.1 413 Big\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
    head = client.head()
    want(status(head) == 413, "answers %d" % status(head), head)
    got = client.rest()[:3] if stage.strict else client.exactly(3)
    want(got == b"big", "loses its body", got)


@faithful("a body echoed while it is uploaded", "streaming",
          "a server may answer while it reads: a proxy that uploads first and reads afterwards "
          "can wait for ever (RFC 9110 §7.5)")
def _(stage):
    body = os.urandom(1000) * (10000 if stage.strict else 24000)
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
        for end in (server, client):
            try:
                end.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already
        for thread in threads:
            thread.join()


@faithful("a chunked upload", "streaming", "chunks are decoded or passed on (RFC 9112 §7.1)")
def _(stage):
    client = stage.client(CHUNKED + b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    allows_411(client, stage)
    server = stage.server()
    head = server.head()
    if lines(head, b"Content-Length"):
        body = server.exactly(11)
    else:
        body = dechunked(server)
    want(body == b"hello world", "changes it", body)
    server.send(OK)
    want(status(client.head()) == 200, "loses the response")


def dechunked(server):
    body = b""
    while True:
        size = int(server.until(b"\r\n").split(b";")[0], 16)
        body += server.exactly(size)
        server.until(b"\r\n")
        if size == 0:
            return body


@behaviour("the first chunk of an upload", "streaming", AT_ONCE)
def _(stage):
    client = stage.client(CHUNKED + b"5\r\nfirst\r\n")
    if not stage.strict:
        ready, _, _ = select.select([client.sock, stage.listener], [], [], stage.patience)
        want(ready, "waits for the whole body")
    allows_411(client, stage)
    server = stage.server()
    server.head()
    server.until(b"first")
    client.send(b"5\r\nafter\r\n0\r\n\r\n")
    server.until(b"after")


@faithful("trailer fields of a response")
def _(stage):
    _, _, client = exchange(
        stage, b"TE: trailers\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
    want(b"X-Sum: 1\r\n" in client.rest(), "drops them")


@faithful("trailer fields of a request")
def _(stage):
    client = stage.client(CHUNKED + b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
    server = stage.server()
    server.head()
    try:
        body = server.until(b"\r\n\r\n")  # which ends the trailer section, if it is empty too
    except Wrong:
        body = server.data
    want(b"X-Sum: 1\r\n" in body, "drops them")
    server.send(OK)
    client.head()


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


# --- Not faster than the receiver -----------------------------------------------

PRESSURE = "a proxy reads no more than it can pass on, or its memory is full of one client"


def stalls(sender):
    """Sends until nothing moves for half a second; whether that comes before HELD."""
    sender.sock.setblocking(False)
    sent = 0
    piece = bytes(1 << 18)
    while sent < HELD and select.select([], [sender.sock], [], 0.5)[1]:
        try:
            sent += sender.sock.send(piece)
        except BlockingIOError:
            pass  # it was a little less room than select thought
        except OSError:
            raise Wrong("closes while the other side is slow")
    sender.note("sends zeros, %d MB" % (sent >> 20))
    sender.sock.setblocking(True)
    return sent < HELD


@behaviour("a client that does not read a download", "streaming", PRESSURE)
def _(stage):
    stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    want(stalls(server), "takes %d MB although its receiver does not read" % (HELD >> 20))


@behaviour("a server that does not read an upload", "streaming", PRESSURE)
def _(stage):
    client = stage.client(POST + b"Content-Length: %d\r\n\r\n" % (2 * HELD))
    server = stage.server()
    server.head()
    want(stalls(client), "takes %d MB although its receiver does not read" % (HELD >> 20))


@behaviour("a tunnel whose receiver does not read", "streaming", PRESSURE)
def _(stage):
    _, server = tunnel(stage)
    want(stalls(server), "takes %d MB although its receiver does not read" % (HELD >> 20))


@behaviour("flat memory during 64 MB", "streaming",
           "what has been passed on is forgotten (less than 32 MB more than before)",
           needs=("proc",))
def _(stage):
    exchange(stage)
    before = stage.program.memory()
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    feeder = threading.Thread(target=lambda: server.send(bytes(HELD)), daemon=True)
    feeder.start()
    client.head()
    left = HELD
    while left > 0:
        piece = len(client.data)
        left -= piece
        client.data = b""
        if left > 0:
            want(client.more(), "closes early")
    grown = stage.program.memory() - before
    want(grown < 32 << 20, "has grown by %d MB" % (grown >> 20))

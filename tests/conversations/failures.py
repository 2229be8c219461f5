"""Failures: their own client learns of them, soon, and other clients see nothing."""

import select
import socket

from .stage import (GET, POST, Wrong, behaviour, exchange, faithful, lines, status, want)
from .tunnel import tunnel

STATUS = "a server that cannot be reached is a 502, 503 or 504 (RFC 9110 §15.6)"
CUT = "a response that was cut short does not look complete (RFC 9112 §8)"
MINUTE = 65  # seconds; whose limit is a minute should not fail by an instant


def is_failure(client):
    head = client.head()
    want(500 <= status(head) < 600, "answers %d" % status(head), head)


@behaviour("a port on which nothing listens", "failures", STATUS)
def _(stage):
    stage.refuse()
    is_failure(stage.client(GET + b"\r\n"))


def unknown(stage, start):
    client = stage.client(start.replace(b"ORIGIN", b"no-such-host.invalid:80"))
    client.patience = MINUTE
    is_failure(client)


@behaviour("a name that does not exist", "failures", STATUS, alone=True)
def _(stage):
    unknown(stage, GET + b"\r\n")


@behaviour("CONNECT to a name that does not exist", "failures", STATUS, alone=True)
def _(stage):
    unknown(stage, b"CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n")


@behaviour("an address from which no answer comes", "failures",
           "a server that cannot be reached is a 504 within a minute (RFC 9110 §15.6.5; "
           "TCP alone would try for two)", needs=("proc",), alone=True)
def _(stage):
    stage.listener.listen(0)  # Linux drops a SYN when the backlog is full
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        fillers.append(filler)
        stage.others.append(filler)
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", int(stage.at.split(b":")[1])))
    want(not select.select([], fillers[-1:], [], 0.2)[1], "was not tried: no full backlog")
    client = stage.client(GET + b"\r\n")
    client.patience = MINUTE
    is_failure(client)


@behaviour("a server that closes without a response", "failures",
           "that is a 502, not silence (RFC 9110 §15.6.3)")
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.close()
    is_failure(client)


@behaviour("a server that resets the connection", "failures",
           "that is a 502, not silence (RFC 9110 §15.6.3)")
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.reset()
    is_failure(client)


@faithful("a body cut short by the server looks cut short", "failures", CUT)
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    server.close()
    head = client.head()
    data = client.rest()
    chunked = lines(head, b"Transfer-Encoding")
    if not stage.strict and (status(head) >= 500 or not chunked and was_reset(client)):
        return
    want(chunked and b"\r\n0\r\n" not in data, "looks complete", head + data)


def was_reset(client):
    return client.record[-1][:2] == (client.name, "reads a reset")


@behaviour("fewer bytes than the length says", "failures", CUT)
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf")
    server.close()
    head = client.head()
    data = client.rest()
    want(status(head) >= 500 or lines(head, b"Content-Length") == [b"10"] and len(data) < 10
         or was_reset(client), "makes it look complete", head + data)


@behaviour("a request body that is cut short", "failures",
           "an upload that was cut short does not look complete (RFC 9112 §8)")
def _(stage):
    client = stage.client(POST + b"Content-Length: 10\r\n\r\nhalf")
    if stage.listener not in stage.either(client):
        raise Wrong("answers before the body has come")
    server = stage.server()
    head = server.head()
    client.reset()
    server.ends()
    want(lines(head, b"Content-Length") == [b"10"] and len(server.data) < 10,
         "makes it look complete", head + server.data)


@behaviour("a client that leaves during a download", "failures",
           "a download without a client ends (within a few seconds, by closing the server's "
           "connection)")
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nbegin")
    client.until(b"begin")
    client.reset()
    for _ in range(200):
        try:
            server.sock.sendall(bytes(1 << 18))
            if select.select([server.sock], [], [], 0.02)[0] and not server.sock.recv(1):
                return
        except socket.timeout:
            raise Wrong("keeps the server's connection, and does not read")
        except OSError:
            return
    raise Wrong("goes on reading 50 MB for a client that is gone")


def leave_and_ask(stage, beginnings):
    """A client for each beginning sends it and leaves, every second one by a reset;
    then the next client gets its response."""
    for number, beginning in enumerate(beginnings):
        client = stage.client(beginning)
        if number % 2:
            client.reset()
        else:
            client.close()
    _, head, _ = exchange(stage)
    want(status(head) == 200, "answers %d" % status(head), head)


@behaviour("clients that connect and leave", "failures",
           "a client that says nothing and leaves does no harm")
def _(stage):
    leave_and_ask(stage, [b""] * 20)


@behaviour("clients that leave in the middle of a head", "failures",
           "a client that leaves does no harm to the next")
def _(stage):
    leave_and_ask(stage, [GET[:25 + number] for number in range(10)])


@behaviour("clients that leave before the response", "failures",
           "writing to a client that is gone ends that client alone (SIGPIPE ends programs)")
def _(stage):
    for _ in range(10):
        client = stage.client(GET + b"\r\n")
        server = stage.server()
        server.head()
        client.reset()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(200000))
        server.close()
    _, head, _ = exchange(stage)
    want(status(head) == 200, "answers %d" % status(head), head)


@behaviour("servers that reset tunnels", "failures", "a tunnel that breaks does no harm to others")
def _(stage):
    for _ in range(10):
        client, server = tunnel(stage)
        server.reset()
        client.send(bytes(1000))
        client.ends()
    _, head, _ = exchange(stage)
    want(status(head) == 200, "answers %d" % status(head), head)

"""CONNECT: a connection, a 200, and then bytes that the proxy does not read."""

import os
import threading

from .stage import CONNECT, GET, Wrong, behaviour, faithful, lines, status, want

MEGABYTE = 1 << 20


def tunnel(stage, early=b""):
    client = stage.client(CONNECT + early)
    server = stage.server()
    head = client.head()
    want(status(head) == 200, "answers %d" % status(head), head)
    return client, server


def at_once(*runs):
    """Runs all in threads; throws what one of them has thrown."""
    wrong = []

    def catch(run):
        try:
            run()
        except Exception as error:  # of a thread, for the one that waits
            wrong.append(error)
    threads = [threading.Thread(target=catch, args=(run,), daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    if wrong:
        raise wrong[0]
    want(not any(thread.is_alive() for thread in threads), "hangs")


@behaviour("CONNECT is answered with 200", "tunnel",
           "2xx says that the tunnel is there (RFC 9110 §9.3.6)")
def _(stage):
    client = stage.client(CONNECT)
    head = client.head()
    want(200 <= status(head) < 300, "answers %d" % status(head), head)
    stage.server()


@behaviour("the 200 ends with an empty line, and has no length", "tunnel",
           "the head ends with CRLF CRLF, without Content-Length or Transfer-Encoding "
           "(RFC 9110 §9.3.6)")
def _(stage):
    client = stage.client(CONNECT)
    server = stage.server()
    while not client.data.endswith((b"\r\n\r\n", b"\n\n")) and client.more():
        pass
    want(client.data.endswith(b"\r\n\r\n") and client.data.count(b"\n") ==
         client.data.count(b"\r\n"), "ends it otherwise", client.data)
    for name in (b"Content-Length", b"Transfer-Encoding"):
        want(not lines(client.data, name), "sends " + name.decode(), client.data)
    client.data = b""
    server.send(b"x")
    want(client.exactly(1) == b"x", "sends more before the tunnel begins")


@behaviour("bytes both ways", "tunnel", "bytes pass unchanged (RFC 9110 §9.3.6)")
def _(stage):
    client, server = tunnel(stage)
    data = bytes(range(256))
    client.send(data)
    got = server.exactly(256)
    want(got == data, "changes what the client sends", got)
    server.send(data[::-1])
    got = client.exactly(256)
    want(got == data[::-1], "changes what the server sends", got)


@faithful("bytes after CONNECT", "tunnel",
          "bytes that follow the head begin the tunnel (RFC 9110 §9.3.6)")
def _(stage):
    client = stage.client(CONNECT + b"early")
    server = stage.server()
    want(status(client.head()) == 200, "fails")
    try:
        got = server.exactly(5)
    except Wrong:
        got = server.data
    want(got == b"early", "loses them", got)


@behaviour("a server that speaks first", "tunnel",
           "its bytes come after the 200 (RFC 9110 §9.3.6; SSH and SMTP servers speak first)")
def _(stage):
    client = stage.client(CONNECT)
    server = stage.server()
    server.send(b"SSH-2.0-hello\r\n")
    head = client.head()
    want(head.startswith(b"HTTP/1.") and status(head) == 200, "sends them first", head)
    want(client.exactly(15) == b"SSH-2.0-hello\r\n", "changes them")


HALF = "a FIN ends one direction only (RFC 9293 §3.6; RFC 9110 §9.3.6 ends a tunnel " \
    "when a side has closed)"


@faithful("a tunnel's FIN, and the answer that follows it", "tunnel", HALF)
def _(stage):
    client, server = tunnel(stage)
    client.send(b"question")
    client.finish()
    want(server.rest() == b"question", "loses bytes", server.data)
    server.send(b"answer")
    server.close()
    want(client.rest() == b"answer", "loses the answer", client.data)


@behaviour("a server's FIN, and what the client sends after it", "tunnel", HALF)
def _(stage):
    client, server = tunnel(stage)
    server.send(b"question")
    server.finish()
    want(client.rest() == b"question", "loses bytes", client.data)
    client.send(b"answer")
    client.close()
    want(server.rest() == b"answer", "loses the answer", server.data)


@behaviour("the end of a tunnel", "tunnel",
           "when both sides have finished, both connections close (RFC 9110 §9.3.6)")
def _(stage):
    client, server = tunnel(stage)
    server.send(b"bye")
    server.close()
    want(client.exactly(3) == b"bye", "loses the last bytes")
    want(client.ends(), "leaves the client's connection open after the server closed")


@behaviour("a server that resets a tunnel", "tunnel",
           "the other side learns of it (RFC 9110 §9.3.6)")
def _(stage):
    client, server = tunnel(stage)
    server.reset()
    want(client.ends(), "leaves the client's connection open")


@behaviour("a client that resets a tunnel", "tunnel",
           "the other side learns of it (RFC 9110 §9.3.6)")
def _(stage):
    client, server = tunnel(stage)
    client.reset()
    want(server.ends(), "leaves the server's connection open")


@behaviour("16 MB through a tunnel", "tunnel", "nothing is lost, however much it is")
def _(stage):
    client, server = tunnel(stage)
    data = os.urandom(MEGABYTE) * 16
    got = []
    at_once(lambda: client.send(data), lambda: got.append(server.exactly(len(data))))
    want(got == [data], "changes them")


@behaviour("both directions at once, neither side reads before it has sent", "tunnel",
           "each direction is copied by itself, or a full one stops the other")
def _(stage):
    client, server = tunnel(stage)
    data = os.urandom(MEGABYTE) * 8
    got = {}

    def read(end):
        got[end] = end.exactly(len(data))
    # The server reads nothing until it has sent everything.
    at_once(lambda: client.send(data), lambda: read(client),
            lambda: (server.send(data), read(server)))
    want(got[client] == data and got[server] == data, "changes them")


@behaviour("an HTTP request inside a tunnel is not touched", "tunnel",
           "what a tunnel carries is not read (RFC 9110 §9.3.6)")
def _(stage):
    client, server = tunnel(stage)
    data = GET.replace(b"ORIGIN", stage.at) + b"Proxy-Connection: x\r\n\r\n"
    client.send(data)
    got = server.exactly(len(data))
    want(got == data, "changes it", got)


@faithful("a refused CONNECT is a 502 or 503", "failures",
          "after a 200 no failure can be reported: connect first, then answer "
          "(RFC 9110 §9.3.6)")
def _(stage):
    stage.refuse()
    client = stage.client(b"CONNECT " + stage.at + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    head = client.head()
    got = status(head)
    want(got in (502, 503) or not stage.strict and 500 <= got < 600, "answers %d" % got, head)

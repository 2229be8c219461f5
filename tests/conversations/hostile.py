"""Hostile peers: messages without an end, peers that stop, and what the proxy must free."""

import select
import socket
import time

from .stage import GET, POST, Wrong, behaviour, exchange, ready, status, wait_until, want
from .tunnel import tunnel

LIMIT = 8 << 20
ENDLESS = "a head has a limit (RFC 9110 §17.5); 8 MB are beyond all of them"
SPIN = "a proxy that waits needs no processor time"
LEAK = "an exchange that has ended leaves no socket and no thread behind"


def takes_endlessly(end, line):
    """Whether the proxy reads LIMIT bytes, and neither closes nor answers."""
    sent = 0
    piece = line * (65536 // len(line))
    while sent < LIMIT:
        if select.select([end.sock], [], [], 0)[0]:
            return False  # it says something, or it has closed
        if not select.select([], [end.sock], [], 1)[1]:
            return False  # it has stopped reading
        try:
            sent += end.sock.send(piece, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass  # it was a little less room than select thought
        except OSError:
            return False
    end.note("sends lines, %d MB" % (sent >> 20))
    return not ready([end.sock], end.patience)


@behaviour("a request head without an end", "hostile", ENDLESS)
def _(stage):
    client = stage.client(GET)
    want(not takes_endlessly(client, b"A: b\r\n"), "reads all of it")


@behaviour("a line without an end", "hostile", ENDLESS)
def _(stage):
    client = stage.client(GET + b"A: ")
    want(not takes_endlessly(client, b"a" * 1024), "reads all of it")


@behaviour("a response head without an end", "hostile", ENDLESS)
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 OK\r\n")
    want(not takes_endlessly(server, b"A: b\r\n") or
         select.select([client.sock], [], [], 0)[0], "reads all of it")


@behaviour("a request to the proxy itself", "hostile",
           "a proxy does not forward to itself without end (RFC 9110 §7.6)")
def _(stage):
    own = b"127.0.0.1:%d" % stage.port
    client = stage.client((GET + b"\r\n").replace(b"ORIGIN", own))
    head = client.head()
    want(status(head), "answers without a status", head)
    _, head, _ = exchange(stage)
    want(status(head) == 200, "answers %d afterwards" % status(head), head)


# --- Spinning -------------------------------------------------------------------


def sleeps(stage):
    """One second is enough in which it hardly runs; a program that still warms up, or
    a busy machine, gets five."""
    began = time.monotonic()
    first = before = stage.program.cpu()
    for _ in range(5):
        wait_until(lambda: False, 1)
        now = stage.program.cpu()
        if now - before < 0.05:
            return
        before = now
    raise Wrong("took %.1f s of processor time in %.0f s" % (now - first, time.monotonic() - began))


@behaviour("a tunnel in which nothing moves", "hostile", SPIN, needs=("proc",))
def _(stage):
    tunnel(stage)
    sleeps(stage)


@behaviour("a tunnel after a FIN, in which nothing moves", "hostile", SPIN, needs=("proc",))
def _(stage):
    client, _ = tunnel(stage)
    client.finish()
    sleeps(stage)


@behaviour("half a request head, and silence", "hostile", SPIN, needs=("proc",))
def _(stage):
    stage.client(GET[:50])
    sleeps(stage)


@behaviour("half a response head, and silence", "hostile", SPIN, needs=("proc",))
def _(stage):
    stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.1 200 O")
    sleeps(stage)


@behaviour("half an upload, and silence", "hostile", SPIN, needs=("proc",))
def _(stage):
    stage.client(POST + b"Content-Length: 10\r\n\r\nhalf")
    stage.server().head()
    sleeps(stage)


# --- Leaking --------------------------------------------------------------------


def leaves_nothing(stage, one):
    """Some rounds first: pools and logs are opened then."""
    for _ in range(3):
        one(stage)
        close_ends(stage)
    settle = stage.program.quiet()
    before = stage.program.in_use()
    for _ in range(20):
        one(stage)
        close_ends(stage)

    def is_back():
        now = stage.program.in_use()
        return all(a <= b + 4 for a, b in zip(now, before))
    if not wait_until(is_back, 5):
        now = stage.program.in_use()
        raise Wrong("has %d sockets and %d threads after 20 of them, and before %d and %d"
                    % (now + before) + ("" if settle else " (and was never quiet)"))


def close_ends(stage):
    for end in stage.ends:
        end.close()


@behaviour("sockets and threads after 20 exchanges", "hostile", LEAK, needs=("proc",))
def _(stage):
    leaves_nothing(stage, exchange)


@behaviour("sockets and threads after 20 clients that left", "hostile", LEAK, needs=("proc",))
def _(stage):
    def leave(stage):
        client = stage.client(GET + b"\r\n")
        server = stage.server()
        server.head()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(100000))
        client.reset()
        server.close()
    leaves_nothing(stage, leave)


@behaviour("sockets and threads after 20 tunnels", "hostile", LEAK, needs=("proc",))
def _(stage):
    def open_and_close(stage):
        client, server = tunnel(stage)
        client.finish()
        server.rest()
        server.close()
        client.rest()
    leaves_nothing(stage, open_and_close)


@behaviour("sockets and threads after 20 tunnels that clients reset", "hostile", LEAK,
           needs=("proc",))
def _(stage):
    """The server stays, and says nothing: the proxy has to close that side itself.  The
    reset comes when both directions wait, and not while one of them begins."""
    servers = []

    def reset(stage):
        client, server = tunnel(stage)
        stage.ends.remove(server)
        servers.append(server)
        wait_until(stage.program.is_asleep, 0.2)
        client.reset()
    try:
        leaves_nothing(stage, reset)
    finally:
        for server in servers:
            server.close()


@behaviour("sockets and threads after 20 refused connections", "hostile", LEAK,
           needs=("proc",))
def _(stage):
    stage.refuse()

    def refused(stage):
        client = stage.client(GET + b"\r\n")
        client.rest()
    leaves_nothing(stage, refused)

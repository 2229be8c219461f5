"""Clients at the same time: none waits for another, none gets another's response."""

from .stage import CONNECT, GET, OK, Open, behaviour, lines, status, want

ALL = 100
OTHERS = "while one client waits, the others are served (this is why a proxy has threads)"


def is_served(stage):
    """Another client gets its response."""
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(OK)
    want(status(client.head()) == 200, "fails")


@behaviour("a client that has sent half a head", "concurrent", OTHERS)
def _(stage):
    stage.client(GET[:30])
    is_served(stage)


@behaviour("a client that sends nothing", "concurrent", OTHERS)
def _(stage):
    stage.client()
    is_served(stage)


@behaviour("a server that does not answer yet", "concurrent", OTHERS)
def _(stage):
    waiting = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    is_served(stage)
    server.send(OK)
    want(status(waiting.head()) == 200, "forgets the first client")


def open_tunnel(stage):
    """Makes a tunnel.  A proxy without tunnels only fails the level 'tunnel'."""
    client = stage.client(CONNECT)
    if stage.listener not in stage.either(client) and client.more():
        raise Open("makes no tunnels, which costs it the level 'tunnel' alone")
    return client


@behaviour("a tunnel in which nothing is sent", "concurrent", OTHERS)
def _(stage):
    client = open_tunnel(stage)
    stage.server()
    want(status(client.head()) == 200, "fails")
    is_served(stage)


@behaviour("a client that does not read", "concurrent", OTHERS)
def _(stage):
    stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.patience = 0.5
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + bytes(30000000))
    is_served(stage)


@behaviour("100 clients at once, each its own response", "concurrent",
           "each client gets the response to its own request")
def _(stage):
    clients = []
    for number in range(ALL):
        clients.append(stage.client(GET.replace(b"ORIGIN/ ", b"ORIGIN/%d " % number)
                                    + b"X-Number: %d\r\n\r\n" % number))
    servers = []
    for number in range(ALL):  # no response until all are here
        servers.append(stage.server())
    for server in servers:
        head = server.head()
        path = head.split(b" ")[1]
        want(lines(head, b"X-Number") == [path[1:]], "mixes requests", head)
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                    % (len(path), path))
    for number, client in enumerate(clients):
        head = client.head()
        want(status(head) == 200, "answers %d" % status(head), head)
        path = b"/%d" % number
        got = client.exactly(len(path))
        want(got == path, "gives a client another's response", got)


@behaviour("100 tunnels at once", "concurrent", "each tunnel carries its own bytes")
def _(stage):
    clients = [open_tunnel(stage)] + [stage.client(CONNECT) for _ in range(ALL - 1)]
    servers = [stage.server() for _ in clients]
    for number, client in enumerate(clients):
        head = client.head()
        want(status(head) == 200, "answers %d" % status(head), head)
        client.send(b"%03d" % number)
    for server in servers:
        server.send(server.exactly(3))
    for number, client in enumerate(clients):
        got = client.exactly(3)
        want(got == b"%03d" % number, "mixes tunnels", got)

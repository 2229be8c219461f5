#!/usr/bin/env python3
"""A forward proxy from nothing, step 3: CONNECT, and bytes that are not read."""
import re
import socket
import sys
import threading

HERE = {b"connection", b"proxy-connection", b"keep-alive", b"te", b"trailer", b"upgrade",
        b"host", b"proxy-authorization", b"proxy-authenticate"}  # for one connection alone
REQUEST_LINE = rb"([!-~]+) ([^ \t]+) (HTTP/1\.[01])"
STATUS_LINE = rb"HTTP/1\.[01] \d{3}( .*)?"
FIELD = rb"([^:]+):[ \t]*(.*)"


class Failure(Exception):
    """Ends the exchange, and becomes the status line of a response."""


def send_all(sock, lines):
    sock.sendall(b"\r\n".join(lines) + b"\r\n\r\n")


def copy(received, sock, left=float("inf")):
    """Copies until the sender has finished, or until `left` bytes have gone."""
    while left > 0 and (data := received.read1(min(left, 65536))):
        sock.sendall(data)
        left -= len(data)
    return left


def read_head(received, start, status):
    """The start line, and the fields as pairs."""
    lines = []
    while (line := received.readline(65536)) != b"\r\n":
        if not line.endswith(b"\r\n"):
            raise Failure(status)
        lines.append(line[:-2])
    fields = [re.fullmatch(FIELD, line) for line in lines[1:]]
    if not lines or not re.fullmatch(start, lines[0]) or not all(fields):
        raise Failure(status)
    return lines[0], [field.groups() for field in fields]


def values(fields, name):
    return [value.strip() for other, value in fields if other.lower() == name]


def to_forward(fields):
    named = b",".join(values(fields, b"connection")).lower().split(b",")
    here = HERE | {name.strip() for name in named}
    return [name + b": " + value for name, value in fields if name.lower() not in here] \
        + [b"Via: 1.1 from-nothing", b"Connection: close"]


def connect_to(authority, default_port=b""):
    host, _, port = authority.rpartition(b":") if b":" in authority else (authority, 0, default_port)
    return socket.create_connection((host.strip(b"[]"), int(port)))


def wake(sock, how=socket.SHUT_RDWR):
    """Wakes a thread that waits there; to close would not."""
    try:
        sock.shutdown(how)
    except OSError:
        pass  # the connection is gone already


def relay(client, received, method, target, version, fields):
    url = re.fullmatch(rb"http://([^/?#]+)([^#]*)", target)
    if not url:
        raise Failure("400 Bad Request")
    length = int((values(fields, b"content-length") or [0])[0])
    path = url[2] if url[2].startswith(b"/") else b"/" + url[2]
    with connect_to(url[1], b"80") as server, server.makefile("rb") as answered:
        send_all(server, [b" ".join([method, path, version]), b"Host: " + url[1],
                          *to_forward(fields)])
        if copy(received, server, length) > 0:
            raise ConnectionError("the rest of the body will not come")
        start, fields = read_head(answered, STATUS_LINE, "502 Bad Gateway")
        send_all(client, [start, *to_forward(fields)])
        copy(answered, client)


def pump(received, sock, sender):
    try:
        copy(received, sock)  # first what came after the head, which is in the buffer
        sock.shutdown(socket.SHUT_WR)  # a FIN ends one direction only
    except OSError:
        wake(sender)
        wake(sock)


def tunnel(client, received, target):
    with connect_to(target) as server, server.makefile("rb") as answered:
        send_all(client, [b"HTTP/1.1 200 Connection established"])
        upstream = threading.Thread(target=pump, args=(received, server, client))
        upstream.start()
        pump(answered, client, server)
        upstream.join()


def serve_client(client):
    with client, client.makefile("rb") as received:
        try:
            try:
                start, fields = read_head(received, REQUEST_LINE, "400 Bad Request")
                method, target, version = start.split(b" ")
                if method == b"CONNECT":
                    tunnel(client, received, target)
                else:
                    relay(client, received, method, target, version, fields)
            except Failure as failure:
                send_all(client, [b"HTTP/1.1 " + str(failure).encode(), b"Content-Length: 0",
                                  b"Connection: close"])
        except (OSError, ValueError):
            pass  # the client has left, or is not understood


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
        while True:
            threading.Thread(target=serve_client, args=listener.accept()[:1], daemon=True).start()

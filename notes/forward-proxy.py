#!/usr/bin/env python3
"""The same proxy in Python, to be laid beside the C++: same parts, same names.

    notes/forward-proxy.py [--trace] [PORT [NAME:PASSWORD]]        on 127.0.0.1

Left out, to stay short: a client's second request, and its chunked bodies.
"""
import argparse
import base64
import hmac
import itertools
import socket
import threading
import time
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "proxy-connection", "keep-alive", "te", "upgrade",
              "trailer", "proxy-authorization", "proxy-authenticate"}
IDLE = 600  # seconds of silence
MAX_HEAD = 65536  # bytes


class Failure(Exception):
    """Raised only while the client has been sent no part of a response."""


# --- forward_proxy.cpp: accept, a thread for each client, relay or tunnel? ------

def accept_clients(listener, options):
    for number in itertools.count(1):
        client, address = listener.accept()
        trace = Trace(number, options.trace)
        trace("C-->P    ", "connected from %s:%d" % address)
        threading.Thread(target=serve_client, args=(client, options, trace),
                         daemon=True).start()


def serve_client(client, options, trace):
    client.settimeout(IDLE)
    with client, client.makefile("rb") as received:  # closed here and nowhere else
        try:
            try:
                serve_request(client, received, options, trace)
            except Failure as failure:
                refuse(client, failure, trace)
        except OSError as error:
            print("closed:", error, flush=True)
    trace("    P    ", "ended")


def serve_request(client, received, options, trace):
    start, fields = read_head(received, "400")
    print(start, flush=True)
    trace("C-->P    ", start, fields)
    if start.count(" ") != 2:
        raise Failure("400 Malformed Request Line")
    check_credentials(fields, options.user)
    method, target, version = start.split(" ")
    if method == "CONNECT":
        serve_connect(client, received, target, trace)
    else:
        relay(client, received, method, target, version, fields, trace)


def check_credentials(fields, user):
    if not user:
        return
    scheme, _, credentials = value(fields, "proxy-authorization").partition(" ")
    expected = base64.b64encode(user.encode()).decode()
    if scheme.lower() != "basic" or not hmac.compare_digest(credentials, expected):
        raise Failure("407 Proxy Authentication Required")


def refuse(client, failure, trace):
    fields = [("Content-Length", "0"), ("Connection", "close"),
              ("Proxy-Authenticate", 'Basic realm="proxy"')]
    trace("    P    ", str(failure))
    trace("C<--P    ", f"HTTP/1.1 {failure}", fields)
    send_head(client, f"HTTP/1.1 {failure}", fields)
    client.shutdown(socket.SHUT_WR)
    client.settimeout(2)
    while client.recv(65536):  # closing over unread bytes would be an RST
        pass


# --- tunnel.cpp: connect, then 200, then bytes both ways ------------------------

def serve_connect(client, received, target, trace):
    with connect_to(target, None, trace) as server, server.makefile("rb") as answered:
        trace("C<--P    ", "HTTP/1.1 200 Connection established")
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        tunnel(client, received, server, answered, trace)


def tunnel(client, received, server, answered, trace):
    def fin(arrow):
        trace(arrow, "FIN: nothing more comes from this side")

    towards_server = threading.Thread(
        target=pump, args=(received, server, client, lambda: fin("C======>S")))
    towards_server.start()
    pump(answered, client, server, lambda: fin("C<======S"))
    towards_server.join()  # after this no other thread uses the sockets


def pump(source, target, sender, finished):
    try:
        while data := source.read1(65536):  # first the bytes that came after the head
            target.sendall(data)
        finished()
        target.shutdown(socket.SHUT_WR)  # a FIN ends one direction only
    except OSError:
        wake(sender)
        wake(target)


def wake(end):
    """Wakes a thread that is blocked on the socket; close() would not."""
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


# --- http_relay.cpp: one request out, one response back -------------------------

def relay(client, received, method, target, version, fields, trace):
    url = urlsplit(target)
    length = value(fields, "content-length") or "0"
    if url.scheme != "http":
        raise Failure("400 Not A Proxy Request")
    if value(fields, "transfer-encoding") or not length.isdecimal():
        raise Failure("411 Length Required")
    path = (url.path or "/") + ("?" + url.query if url.query else "")
    with connect_to(url.netloc, "80", trace) as server, \
            server.makefile("rb") as answered:
        start = f"{method} {path} {version}"
        kept = [("Host", url.netloc)] + fields_to_forward(fields, {"host"})
        trace("    P-->S", start, kept)
        send_head(server, start, kept)
        upload = threading.Thread(target=send_body, args=(received, server, int(length)))
        upload.start()
        try:
            bring_back(client, answered, trace)
        finally:
            wake(server)
            client.shutdown(socket.SHUT_RD)  # wakes the upload as well
            upload.join()


def bring_back(client, answered, trace):
    while True:
        start, fields = read_head(answered, "502")
        trace("    P<--S", start, fields)
        if not start.split(" ")[1].startswith("1"):
            break
        send_head(client, start, fields)  # interim: the final response follows
    kept = fields_to_forward(fields)
    trace("C<--P    ", start, kept)
    send_head(client, start, kept)
    while data := answered.read1(65536):
        client.sendall(data)
    client.shutdown(socket.SHUT_WR)


def send_body(received, server, left):
    try:
        while left > 0 and (data := received.read1(min(left, 65536))):
            server.sendall(data)
            left -= len(data)
    except OSError:
        pass  # the server may still say why


# --- support: heads, names, the trace -------------------------------------------

def read_head(peer, status_if_bad):
    lines, size = [], 0
    while (line := peer.readline(MAX_HEAD)) != b"\r\n":
        size += len(line)
        if size > MAX_HEAD:
            raise Failure("431 Request Header Fields Too Large")
        separator = b":" if lines else b" "  # of a field line, of the first line
        if not line.endswith(b"\r\n") or separator not in line:
            raise Failure(status_if_bad + " Malformed Or Cut Short")
        lines.append(line.decode("latin-1").rstrip("\r\n"))
    pairs = [line.partition(":") for line in lines[1:]]
    return lines[0] if lines else "", [(name, text.strip()) for name, _, text in pairs]


def send_head(peer, start, fields):
    lines = [start] + [f"{name}: {text}" for name, text in fields] + ["", ""]
    peer.sendall("\r\n".join(lines).encode("latin-1"))


def fields_to_forward(fields, without=frozenset()):
    named = {n.strip().lower() for n in value(fields, "connection").split(",")}
    kept = [(n, v) for n, v in fields if n.lower() not in HOP_BY_HOP | named | without]
    return kept + [("Via", "1.1 forward-proxy-py"), ("Connection", "close")]


def value(fields, name):
    return ", ".join(text for n, text in fields if n.lower() == name)


def connect_to(authority, default_port, trace):
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdecimal():
        host, port = authority, default_port
    trace("    P-->S", f"connecting to {host}:{port}")
    try:
        server = socket.create_connection((host.strip("[]"), port), timeout=10)
    except (OSError, UnicodeError) as error:
        raise Failure(f"502 {error}") from error
    trace("    P-->S", "connected to %s:%d" % server.getpeername()[:2])
    server.settimeout(IDLE)
    return server


class Trace:
    """Prints the steps of one connection, in the columns of the C++ program."""

    def __init__(self, number, is_on):
        self.number, self.is_on = number, is_on
        self.steps, self.accepted = itertools.count(1), time.monotonic()

    def __call__(self, arrow, text, fields=()):
        if not self.is_on:
            return
        ms = 1000 * (time.monotonic() - self.accepted)
        margin = "%-6s %3d %7.1fms  " % (f"#{self.number}", next(self.steps), ms)
        lines = [margin + arrow + "  " + printable(text)]
        for name, content in fields:
            shown = "(not shown)" if "authorization" in name.lower() else content
            lines.append(" " * (len(margin) + 13) + printable(f"{name}: {shown}"))
        print("\n".join(lines), flush=True)


def printable(text):
    """A control character would be obeyed by the terminal."""
    return "".join(c if c.isprintable() else "\\x%02x" % ord(c) for c in text)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", metavar="PORT", type=int, nargs="?", default=3128)
    parser.add_argument("user", metavar="NAME:PASSWORD", nargs="?")
    parser.add_argument("--trace", action="store_true")
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", options.port))
    print("listening on 127.0.0.1:%d" % options.port, flush=True)
    try:
        accept_clients(listener, options)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

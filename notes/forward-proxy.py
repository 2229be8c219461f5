#!/usr/bin/env python3
"""The same proxy in Python, to be laid beside the C++: same parts, same names.

    notes/forward-proxy.py [PORT [NAME:PASSWORD]]        on 127.0.0.1

What costs lines is left out: a client's second request, and its chunked bodies.
"""
import base64
import hmac
import socket
import sys
import threading
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "proxy-connection", "keep-alive", "te", "upgrade",
              "trailer", "proxy-authorization", "proxy-authenticate"}
IDLE = 600  # seconds of silence
USER = sys.argv[2] if len(sys.argv) > 2 else None


class Failure(Exception):
    """Thrown only while the client has been sent no response."""


# --- forward_proxy.cpp: accept, a thread for each client, relay or tunnel? ------

def accept_clients(listener):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve_client, args=(client,), daemon=True).start()


def serve_client(client):
    client.settimeout(IDLE)
    with client, client.makefile("rb") as received:  # closed here and nowhere else
        try:
            try:
                serve_request(client, received)
            except Failure as failure:
                refuse(client, failure)
        except OSError as error:
            print("closed:", error, flush=True)


def serve_request(client, received):
    start, fields = read_head(received, "400")
    print(start, flush=True)
    if start.count(" ") != 2:
        raise Failure("400 Malformed Request Line")
    check_credentials(fields)
    method, target, version = start.split(" ")
    if method == "CONNECT":
        serve_connect(client, received, target)
    else:
        relay(client, received, method, target, version, fields)


def check_credentials(fields):
    scheme, _, credentials = value(fields, "proxy-authorization").partition(" ")
    expected = base64.b64encode((USER or "").encode()).decode()
    if USER and not (scheme.lower() == "basic" and hmac.compare_digest(credentials, expected)):
        raise Failure("407 Proxy Authentication Required")


def refuse(client, failure):
    send_head(client, f"HTTP/1.1 {failure}", [
        ("Content-Length", "0"), ("Connection", "close"),
        ("Proxy-Authenticate", 'Basic realm="proxy"')])
    client.shutdown(socket.SHUT_WR)
    client.settimeout(2)
    while client.recv(65536):  # closing over unread bytes would be an RST
        pass


# --- tunnel.cpp: connect, then 200, then bytes both ways ------------------------

def serve_connect(client, received, target):
    with connect_to(target) as server, server.makefile("rb") as answered:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        tunnel(client, received, server, answered)


def tunnel(client, received, server, answered):
    towards_server = threading.Thread(target=pump, args=(received, server, client))
    towards_server.start()
    pump(answered, client, server)
    towards_server.join()  # then nobody uses the sockets any more


def pump(source, target, sender):
    try:
        while data := source.read1(65536):  # first what came behind the head
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)  # a FIN ends one direction only
    except OSError:
        wake(sender)
        wake(target)


def wake(end):
    """Wakes a thread that waits there, which closing would not."""
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


# --- http_relay.cpp: one request out, one response back -------------------------

def relay(client, received, method, target, version, fields):
    url = urlsplit(target)
    length = value(fields, "content-length") or "0"
    if url.scheme != "http":
        raise Failure("400 Not A Proxy Request")
    if value(fields, "transfer-encoding") or not length.isdecimal():
        raise Failure("411 Length Required")
    path = (url.path or "/") + ("?" + url.query if url.query else "")
    with connect_to(url.netloc, "80") as server, server.makefile("rb") as answered:
        send_head(server, f"{method} {path} {version}",
                  [("Host", url.netloc)] + fields_to_forward(fields, {"host"}))
        upload = threading.Thread(target=send_body, args=(received, server, int(length)))
        upload.start()
        try:
            start, fields = read_head(answered, "502")
            while start.split(" ")[1].startswith("1"):  # interim: the final one follows
                send_head(client, start, fields)
                start, fields = read_head(answered, "502")
            send_head(client, start, fields_to_forward(fields))
            while data := answered.read1(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        finally:
            wake(server)
            client.shutdown(socket.SHUT_RD)  # wakes the upload as well
            upload.join()


def send_body(received, server, left):
    try:
        while left > 0 and (data := received.read1(min(left, 65536))):
            server.sendall(data)
            left -= len(data)
    except OSError:
        pass  # the server may still say why


# --- support: heads and names ---------------------------------------------------

def read_head(peer, status_if_bad):
    lines, size = [], 0
    while (line := peer.readline(65536)) != b"\r\n":
        lines.append(line.decode("latin-1").rstrip("\r\n"))
        size += len(line)
        if size > 65536:
            raise Failure("431 Request Header Fields Too Large")
        if not line.endswith(b"\r\n") or (":" if size > len(line) else " ") not in lines[-1]:
            raise Failure(status_if_bad + " Malformed Or Cut Short")
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


def connect_to(authority, default_port=None):
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdecimal():
        host, port = authority, default_port
    try:
        server = socket.create_connection((host.strip("[]"), port), timeout=10)
    except (OSError, UnicodeError) as error:
        raise Failure(f"502 {error}") from error
    server.settimeout(IDLE)
    return server


if __name__ == "__main__":
    address = ("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 3128)
    print("listening on %s:%d" % address, flush=True)
    try:
        accept_clients(socket.create_server(address))
    except KeyboardInterrupt:
        pass

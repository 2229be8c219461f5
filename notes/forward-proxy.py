#!/usr/bin/env python3
"""The same proxy in Python, to be laid beside the C++: same parts, same names.

    notes/forward-proxy.py [PORT [NAME:PASSWORD]]        on 127.0.0.1

It keeps what matters (200 after connecting, two threads, half-close, what not to
forward) and drops what costs lines: one request for each connection, no bodies
in chunks from the client, one copy loop.
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
    fields = [("Content-Length", "0"), ("Connection", "close"),
              ("Proxy-Authenticate", "Basic realm=\"proxy\"")]


# --- forward_proxy.cpp: accept, a thread for each client, relay or tunnel? ------

def accept_clients(listener):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve_client, args=(client,), daemon=True).start()


def serve_client(client):
    with client:  # closed here and nowhere else
        try:
            serve_request(client)
        except Failure as failure:
            send_head(client, f"HTTP/1.1 {failure}", failure.fields)
            close_gently(client)
        except OSError as error:
            print("closed:", error, flush=True)


def close_gently(client):
    """Closing over unread bytes is an RST, which can destroy the answer."""
    try:
        client.shutdown(socket.SHUT_WR)
        client.settimeout(2)
        while client.recv(65536):
            pass
    except OSError:
        pass


def serve_request(client):
    client.settimeout(IDLE)
    start, fields, behind = read_head(client)
    print(start, flush=True)
    if start.count(" ") != 2:
        raise Failure("400 Malformed Request Line")
    method, target, version = start.split(" ")
    check_credentials(fields)
    if method == "CONNECT":
        serve_connect(client, target, behind)
    else:
        relay(client, method, target, version, fields, behind)


def check_credentials(fields):
    if USER is None:
        return
    scheme, _, credentials = value(fields, "proxy-authorization").partition(" ")
    expected = base64.b64encode(USER.encode()).decode()
    if scheme.lower() != "basic" or not hmac.compare_digest(credentials, expected):
        raise Failure("407 Proxy Authentication Required")


# --- tunnel.cpp: connect, then 200, then bytes both ways ------------------------

def serve_connect(client, target, behind):
    with connect_to(*split_authority(target)) as server:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        server.sendall(behind)  # what arrived behind the head is the tunnel's
        tunnel(client, server)


def tunnel(client, server):
    towards_server = threading.Thread(target=pump, args=(client, server))
    towards_server.start()
    pump(server, client)
    towards_server.join()  # then nobody uses the sockets any more


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)  # a FIN ends one direction only
    except OSError:
        for end in (source, target):  # wakes the other pump; closing would not
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


# --- http_relay.cpp: one request out, one response back -------------------------

def relay(client, method, target, version, fields, behind):
    url = urlsplit(target)
    if url.scheme != "http":
        raise Failure("400 Not A Proxy Request")
    length = value(fields, "content-length") or "0"
    if value(fields, "transfer-encoding") or not length.isdecimal():
        raise Failure("411 Length Required")
    path = (url.path or "/") + ("?" + url.query if url.query else "")
    with connect_to(*split_authority(url.netloc, "80")) as server:
        forwarded = [("Host", url.netloc)] + fields_to_forward(fields, {"host"})
        send_head(server, f"{method} {path} {version}", forwarded)
        upload = threading.Thread(
            target=send_body, args=(client, server, behind, int(length)))
        upload.start()
        try:
            start, fields, behind = read_head(server)
            while start.split(" ")[1].startswith("1"):  # interim: the final one follows
                send_head(client, start, fields)
                start, fields, behind = read_head(server, behind)
            send_head(client, start, fields_to_forward(fields))
            client.sendall(behind)
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        finally:
            client.shutdown(socket.SHUT_RD)  # wakes the upload
            upload.join()


def send_body(client, server, data, left):
    try:
        while left > 0 and (data := data[:left] or client.recv(min(left, 65536))):
            server.sendall(data)
            left, data = left - len(data), b""
    except OSError:
        pass  # the server may still say why


# --- support: heads and names ---------------------------------------------------

def read_head(peer, data=b""):
    while b"\r\n\r\n" not in data:
        piece = peer.recv(65536)
        data += piece
        if not piece:
            raise Failure("502 Head Cut Short")
        if len(data) > 65536:
            raise Failure("431 Request Header Fields Too Large")
    head, behind = data.split(b"\r\n\r\n", 1)
    start, *lines = head.decode("latin-1").split("\r\n")
    if start.count(" ") < 1 or not all(":" in line for line in lines):
        raise Failure("400 Malformed Head")
    pairs = [line.partition(":") for line in lines]
    return start, [(name, text.strip()) for name, _, text in pairs], behind


def send_head(peer, start, fields):
    lines = [start] + [f"{name}: {text}" for name, text in fields]
    peer.sendall("\r\n".join(lines + ["", ""]).encode("latin-1"))


def fields_to_forward(fields, without=frozenset()):
    named = {n.strip().lower() for n in value(fields, "connection").split(",")}
    kept = [(n, v) for n, v in fields if n.lower() not in HOP_BY_HOP | named | without]
    return kept + [("Via", "1.1 forward-proxy-py"), ("Connection", "close")]


def value(fields, name):
    return ", ".join(text for n, text in fields if n.lower() == name)


def split_authority(authority, port=None):
    host, colon, number = authority.rpartition(":")
    return (host, number) if colon and number.isdigit() else (authority, port)


def connect_to(host, port):
    try:
        server = socket.create_connection((host.strip("[]"), int(port)), timeout=10)
    except (OSError, TypeError) as error:
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

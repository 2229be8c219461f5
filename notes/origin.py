#!/usr/bin/env python3
"""An origin server for the lessons and labs: it shows what arrives.

    notes/origin.py [--host ADDRESS] [FOLDER]    needs no network; stop with Ctrl-C

It listens on 127.0.0.1 only; --host 0.0.0.0 lets other machines reach it.

http://127.0.0.1:8080/     answers with the request as it arrived, body included
    /cookies               two Set-Cookie lines
    /stream                five lines, one every half second
    /early                 a refusal, 413, before it has read the body
    /hints                 103 Early Hints before the response
127.0.0.1:8081             TCP: reads up to the FIN, then says how much arrived
https://localhost:8443/    TLS with a self-signed certificate: cert.pem in FOLDER, by
                           default build/origin; made anew when it has expired
https://localhost:8444/    TLS with one that has expired
127.0.0.1:8445             reads a ClientHello, then resets the connection
"""
import argparse
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time


def parse_arguments():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", metavar="ADDRESS", default="127.0.0.1")
    parser.add_argument("folder", metavar="FOLDER", nargs="?",
                        default=os.path.join(root, "build", "origin"))
    return parser.parse_args()


def read_request(peer):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = peer.recv(65536)
        if not piece:
            return None, b""
        data += piece
        if not data[:1].isalpha():  # TLS, say
            peer.sendall(response(b"this is no HTTP\n", "400 Bad Request"))
            return None, b""
    head, body = data.split(b"\r\n\r\n", 1)
    return head, body


def rest_of_body(peer, head, body):
    fields = head.lower()
    if b"expect: 100-continue" in fields and not body:
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = 0
    for line in fields.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += peer.recv(65536) or sys.exit("the body was cut short")
    while b"transfer-encoding: chunked" in fields and not body.endswith(b"0\r\n\r\n"):
        body += peer.recv(65536) or sys.exit("the body was cut short")
    return body


def response(body, status="200 OK", fields=()):
    lines = ["HTTP/1.1 " + status, "Content-Type: text/plain; charset=utf-8",
             "Content-Length: %d" % len(body), "Connection: close", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def serve_http(peer):
    head, body = read_request(peer)
    if head is None:
        return
    path = head.split(b" ")[1].split(b"?")[0].decode()
    if path == "/early":
        peer.sendall(response(b"too large for me\n", "413 Content Too Large"))
        peer.settimeout(10)
        while peer.recv(1):  # as if it had other things to do than to read on
            time.sleep(1)
        return
    body = rest_of_body(peer, head, body)
    if path == "/cookies":
        peer.sendall(response(b"", fields=["Set-Cookie: a=1", "Set-Cookie: b=2"]))
    elif path == "/stream":
        peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for n in range(1, 6):
            peer.sendall(b"line %d of 5\n" % n)
            time.sleep(0.5)  # the stream is what there is to see
    elif path == "/hints":
        peer.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
                     + response(b"the final response\n"))
    else:
        shown = head.replace(b"\r\n", b"\n") + b"\n"
        peer.sendall(response(shown + (b"\n" + body + b"\n" if body else b"")))


def serve_tcp(peer):
    data = b""
    while piece := peer.recv(65536):
        data += piece
    peer.sendall(b"%d bytes arrived before the FIN: %s\n" % (len(data), data[:40]))


def serve_reset(peer):
    peer.recv(65536)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def with_tls(folder, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, certificate),
                            os.path.join(folder, "key.pem"))

    def serve(peer):
        with context.wrap_socket(peer, server_side=True) as secure:
            serve_http(secure)
            secure.unwrap()
    return serve


def make_certificates(folder):
    """Keeps a certificate that is valid for another day: clients may trust it."""
    os.makedirs(folder, exist_ok=True)
    quiet = {"cwd": folder, "capture_output": True}
    is_valid = ["openssl", "x509", "-checkend", "86400", "-noout", "-in", "cert.pem"]
    if (os.path.exists(os.path.join(folder, "expired.pem"))
            and subprocess.run(is_valid, **quiet).returncode == 0):
        return
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-keyout", "key.pem", "-out", "cert.pem"], check=True, **quiet)
    subprocess.run(["openssl", "x509", "-in", "cert.pem", "-signkey", "key.pem",
                    "-days", "0", "-out", "expired.pem"], check=True, **quiet)


def listen(host, port):
    try:
        return socket.create_server((host, port))
    except OSError as error:
        sys.exit("notes/origin.py cannot listen on %s:%d: %s\nIs another one running? "
                 "One is enough for all lessons." % (host, port, os.strerror(error.errno)))


def accept(listener, serve):
    port = listener.getsockname()[1]

    def serve_one(peer):
        with peer:
            try:
                serve(peer)
            except (OSError, SystemExit) as error:
                print("port %d: %s" % (port, error), flush=True)

    while True:
        peer, _ = listener.accept()
        threading.Thread(target=serve_one, args=(peer,), daemon=True).start()


def main():
    options = parse_arguments()
    # All ports first: a second start must not touch the files of the first.
    listeners = [listen(options.host, port) for port in (8080, 8081, 8443, 8444, 8445)]
    make_certificates(options.folder)
    servers = (serve_http, serve_tcp, with_tls(options.folder, "cert.pem"),
               with_tls(options.folder, "expired.pem"), serve_reset)
    for listener, serve in zip(listeners, servers):
        threading.Thread(target=accept, args=(listener, serve), daemon=True).start()
    print("origin server ready: http 8080, tcp 8081, https 8443, 8444, reset 8445",
          flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

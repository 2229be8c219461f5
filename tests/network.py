#!/usr/bin/env python3
"""Names and addresses that misbehave, in a network of our own.

It starts itself again in namespaces of its own (unshare -rnm): there are a
loopback, an interface that swallows every packet, and a name server that says
what a test needs.  Nothing of the real network can be reached from there.
"""

import http.server
import json
import os
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROXY = os.path.join(os.path.dirname(HERE), "build/plain/forward_proxy")

HOLE4, HOLE6 = "192.0.2.7", "2001:db8::7"  # beyond the swallowing interface
NAMES = {  # what the name server says: IPv6 addresses, IPv4 addresses
    "dead-first.test": ([HOLE6], ["127.0.0.1"]),
    "dead.test": ([HOLE6], [HOLE4]),
    "refused-first.test": (["::1"], ["127.0.0.1"]),
    "many.test": ([], ["127.0.%d.%d" % (i // 200, 1 + i % 200) for i in range(400)]),
    "nothing.test": ([], []),
}
SILENT = "silent.test"  # the name server never answers for it


# --- The name server (RFC 1035) -----------------------------------------------

def answer(query):
    """The reply to a query; None for none at all."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    name = ".".join(labels)
    kind = struct.unpack("!H", query[at + 1:at + 3])[0]
    if name == SILENT:
        return None
    six, four = NAMES.get(name, ([], []))
    records = b""
    addresses = four if kind == 1 else six if kind == 28 else []
    for address in addresses:
        data = socket.inet_pton(socket.AF_INET if kind == 1 else socket.AF_INET6, address)
        records += struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(data)) + data
    code = 0 if name in NAMES else 3  # NXDOMAIN
    head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(addresses), 0, 0)
    return head + query[12:at + 5] + records


class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        reply = answer(data)
        if reply is not None and len(reply) > 512:  # come back with TCP
            reply = reply[:2] + bytes([reply[2] | 2]) + reply[3:6] + bytes(6) \
                + data[12:data.index(0, 12) + 5]
        if reply is not None:
            sock.sendto(reply, self.client_address)


class Stream(socketserver.StreamRequestHandler):
    def handle(self):
        while size := self.rfile.read(2):
            reply = answer(self.rfile.read(struct.unpack("!H", size)[0]))
            self.wfile.write(struct.pack("!H", len(reply)) + reply)


# --- The network --------------------------------------------------------------

def build_network(folder):
    def run(*command):
        subprocess.run(command, check=True)

    run("ip", "link", "set", "lo", "up")
    # Packets to a hardware address that nobody has are dropped in silence.
    run("ip", "link", "add", "hole", "type", "veth", "peer", "name", "ground")
    run("ip", "link", "set", "ground", "up")
    run("ip", "link", "set", "hole", "up")
    run("ip", "address", "add", "192.0.2.1/24", "dev", "hole")
    run("ip", "address", "add", "2001:db8::1/64", "dev", "hole", "nodad")
    for address in (HOLE4, HOLE6):
        run("ip", "neighbour", "add", address, "lladdr", "02:00:00:00:00:07", "dev", "hole")
    path = os.path.join(folder, "resolv.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write("nameserver 127.0.0.1\noptions timeout:30 attempts:1\n")
    run("mount", "--bind", path, "/etc/resolv.conf")
    for server in (socketserver.ThreadingUDPServer(("127.0.0.1", 53), Datagram),
                   socketserver.ThreadingTCPServer(("127.0.0.1", 53), Stream)):
        threading.Thread(target=server.serve_forever, daemon=True).start()


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


def origin():
    """A web server on 127.0.0.1 and nowhere else; its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


# --- The experiments ----------------------------------------------------------

class Proxy:
    def __init__(self, *options):
        self.process = subprocess.Popen(
            [PROXY, "--listen", "127.0.0.1:0", "--log", "json", *options],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def send(self, target):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        sock.sendall(("GET http://%s/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
                      % target).encode())
        return sock

    def get(self, target):
        """Status line, all of the body, and the line of the log."""
        with self.send(target) as sock:
            data = b""
            while piece := sock.recv(65536):
                data += piece
        head, body = data.decode().split("\r\n\r\n", 1)
        return head.split("\r\n")[0], body, json.loads(self.process.stdout.readline())

    def stop(self):
        """SIGTERM; the exit status and the seconds that it took."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30), time.monotonic() - start


def dead_first_address(proxy, port):
    """P50: the second address is tried in under a second."""
    status, body, line = proxy.get("dead-first.test:%d" % port)
    assert (status, body) == ("HTTP/1.1 200 OK", "hello"), (status, body)
    assert line["server"] == "127.0.0.1:%d" % port, line
    assert 200 < line["connect_ms"] < 1000, line  # RFC 8305: 250 ms


def all_addresses_dead(proxy, port):
    """P50, P51: the time for all of them together is limited, and told."""
    status, body, line = proxy.get("dead.test:%d" % port)
    assert status == "HTTP/1.1 504 Connection Timed Out", status
    for address in ("[%s]:%d" % (HOLE6, port), "%s:%d" % (HOLE4, port)):
        assert address + ": Connection timed out" in body, body
        assert address + ": Connection timed out" in line["ending"], line
    assert 1900 < line["total_ms"] < 4000, line  # --connect-timeout 2


def first_refused(proxy, port):
    """P50: a refusal does not wait for anything."""
    status, _, line = proxy.get("refused-first.test:%d" % port)
    assert status == "HTTP/1.1 200 OK", status
    assert line["connect_ms"] < 200, line


def no_route(proxy, port):
    """P52: said as it is."""
    status, body, _ = proxy.get("203.0.113.1:%d" % port)
    assert status == "HTTP/1.1 502 Host Unreachable", status
    assert "Network is unreachable" in body, body


def four_hundred_addresses(proxy, port):
    """P58: the resolver needs the most stack for an answer that comes by TCP."""
    status, body, _ = proxy.get("many.test:%d" % port)
    assert (status, body) == ("HTTP/1.1 200 OK", "hello"), (status, body)


def unknown_names(proxy, port):
    for name in ("unheard-of.test", "nothing.test"):
        status, body, _ = proxy.get("%s:%d" % (name, port))
        assert status == "HTTP/1.1 502 Name Not Resolved", status
        assert name + ": " in body, body


def name_server_says_nothing(proxy, port):
    """P50: --connect-timeout is for the resolver, too."""
    status, body, line = proxy.get("%s:%d" % (SILENT, port))
    assert status == "HTTP/1.1 504 Name Resolution Timed Out", status
    assert SILENT in body, body
    assert 1900 < line["total_ms"] < 4000, line
    status, _, _ = proxy.get("many.test:%d" % port)  # others are not held up
    assert status == "HTTP/1.1 200 OK", status


def stop_while_resolving(proxy, port):
    """P60: a thread in the resolver cannot be woken, and is not waited for."""
    with proxy.send("%s:%d" % (SILENT, port)):
        deadline = time.monotonic() + 30
        with open("/proc/%d/net/udp" % proxy.process.pid, encoding="ascii") as file:
            while ":0035 01" not in file.read():  # until a query is under way
                assert time.monotonic() < deadline
                file.seek(0)
        status, seconds = proxy.stop()
    assert status == 0 and seconds < 1, (status, seconds)


EXPERIMENTS = [dead_first_address, all_addresses_dead, first_refused, no_route,
               four_hundred_addresses, unknown_names, name_server_says_nothing,
               stop_while_resolving]


def main():
    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        build_network(folder)
        port = origin()
        proxy = Proxy("--connect-timeout", "2")
        try:
            for experiment in EXPERIMENTS:
                try:
                    experiment(proxy, port)
                    passed += 1
                except AssertionError as error:
                    print("FAILED: %s: %s" % (experiment.__name__, error))
        finally:
            proxy.process.kill()
    print("%d passed, %d failed" % (passed, len(EXPERIMENTS) - passed))
    sys.exit(passed != len(EXPERIMENTS))


if __name__ == "__main__":
    if sys.argv[1:] != ["inside"]:
        os.execvp("unshare", ["unshare", "-rnm", sys.executable, __file__, "inside"])
    main()

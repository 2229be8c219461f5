#!/usr/bin/env python3
"""Names and addresses that misbehave, in a network of our own.

It starts itself again in new namespaces (unshare -rnm): there are a loopback, an interface that swallows every packet, and a name server that says
what a test needs.  Nothing of the real network can be reached from there.
"""

import contextlib
import ctypes
import errno
import os
import platform
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time

import lib
from lib import Server, ask, dial, wait_for

PROXY = os.environ.get("PROXY", lib.PLAIN)

HOLE4, HOLE6 = "192.0.2.7", "2001:db8::7"  # beyond the swallowing interface
UNROUTABLE6 = "2001:db8:1::7"
# The proxy's machine and another one, on an interface between the two:
HERE4, HERE6 = "198.51.100.1", "2001:db8:2::1"
THERE4, THERE6 = "198.51.100.2", "2001:db8:2::2"
METADATA = "169.254.169.254"
NAMES = {  # what the name server says: IPv6 addresses, IPv4 addresses
    "dead-first.test": ([HOLE6], ["127.0.0.1"]),
    "dead.test": ([HOLE6], [HOLE4]),
    "refused-first.test": (["::1"], ["127.0.0.1"]),
    "many.test": ([], ["127.0.%d.%d" % (i // 200, 1 + i % 200) for i in range(400)]),
    "nothing.test": ([], []),
    "proxy.test": (["2001:db8::1"], ["192.0.2.1"]),  # this machine
    "rebound.test": ([], ["127.0.0.1"]),
    "rebound6.test": (["::1"], []),
    "mapped.test": (["::ffff:127.0.0.1"], []),
    "metadata.test": ([], [METADATA]),
    "half-local.test": ([], ["127.0.0.1", THERE4]),
    "unroutable-or-closed.test": ([UNROUTABLE6], ["127.0.0.1"]),
    "dead-or-closed.test": ([HOLE6], ["127.0.0.1"]),
    "unroutable-or-dead.test": ([UNROUTABLE6], [HOLE4]),
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


# --- Another machine ---------------------------------------------------------

another_machine = None  # its network namespace, an open file


def add_another_machine(run):
    """Makes a second network namespace, held open by a process that ends with this one."""
    global another_machine
    holder = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE)
    path = "/proc/%d/ns/net" % holder.pid
    wait_for(lambda: os.readlink(path) != os.readlink("/proc/self/ns/net"), 30, "namespace")
    another_machine = open(path, "rb")  # pylint: disable=consider-using-with
    run("ip", "link", "add", "desk", "type", "veth", "peer", "name", "student")
    run("ip", "link", "set", "student", "netns", str(holder.pid))
    run("ip", "address", "add", HERE4 + "/24", "dev", "desk")
    run("ip", "address", "add", HERE6 + "/64", "dev", "desk", "nodad")
    run("ip", "link", "set", "desk", "up")
    there = ["nsenter", "--net=" + path]
    run(*there, "ip", "link", "set", "lo", "up")
    run(*there, "ip", "address", "add", THERE4 + "/24", "dev", "student")
    run(*there, "ip", "address", "add", THERE6 + "/64", "dev", "student", "nodad")
    run(*there, "ip", "link", "set", "student", "up")
    holder.stdin.close()  # the namespace lives on in another_machine


@contextlib.contextmanager
def on_another_machine():
    """Sockets that are made inside belong to the other machine: setns(2)."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    with open("/proc/thread-self/ns/net", "rb") as here:
        assert setns(another_machine.fileno(), 0) == 0, ctypes.get_errno()
        try:
            yield
        finally:
            assert setns(here.fileno(), 0) == 0, ctypes.get_errno()


# --- The network --------------------------------------------------------------

def build_network(folder):
    def run(*command):
        subprocess.run(command, check=True)

    # Packets to a hardware address that no interface has are dropped in silence.
    run("ip", "link", "add", "hole", "type", "veth", "peer", "name", "ground")
    run("ip", "link", "set", "ground", "up")
    run("ip", "link", "set", "hole", "up")
    run("ip", "address", "add", "192.0.2.1/24", "dev", "hole")
    run("ip", "address", "add", "2001:db8::1/64", "dev", "hole", "nodad")
    for address in (HOLE4, HOLE6):
        run("ip", "neighbour", "add", address, "lladdr", "02:00:00:00:00:07", "dev", "hole")
    run("ip", "address", "add", METADATA + "/32", "dev", "lo")
    add_another_machine(run)
    path = os.path.join(folder, "resolv.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write("nameserver 127.0.0.1\noptions timeout:30 attempts:1\n")
    run("mount", "--bind", path, "/etc/resolv.conf")
    for server in (socketserver.ThreadingUDPServer(("127.0.0.1", 53), Datagram),
                   socketserver.ThreadingTCPServer(("127.0.0.1", 53), Stream)):
        threading.Thread(target=server.serve_forever, daemon=True).start()


def page(sock):
    lib.read_until(sock, b"\r\n\r\n")
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")


# --- The experiments ----------------------------------------------------------

def make_connect_fail(error):
    """From now on connect(2) fails at once in this process: seccomp(2)."""
    number = {"x86_64": 42, "aarch64": 203}[platform.machine()]
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in (
        (0x20, 0, 0, 0),  # load the number of the system call
        (0x15, 0, 1, number),  # unless it is connect, skip one
        (0x06, 0, 0, 0x00050000 | error),  # SECCOMP_RET_ERRNO
        (0x06, 0, 0, 0x7FFF0000)))  # SECCOMP_RET_ALLOW
    code = ctypes.create_string_buffer(program)
    filters = struct.pack("@HP", 4, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filters, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


class Proxy(lib.Proxy):
    def __init__(self, *options, listen="127.0.0.1:0", connect="127.0.0.1", before=None):
        self.host = connect
        super().__init__(PROXY, "--log", "json", *options, listen=listen, before=before)

    def get(self, target, method="GET"):
        """Status line, all of the body, and the line of the log."""
        data = ask(self.port, request(target, method), self.host)
        head, body = data.decode().split("\r\n\r\n", 1)
        return head.split("\r\n")[0], body, self.next_log_line()


def request(target, method="GET"):
    uri = target if method == "CONNECT" else "http://%s/" % target
    return ("%s %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % (method, uri)).encode()


def dead_first_address(proxy, port):
    """The second address is tried in under a second."""
    status, body, line = proxy.get("dead-first.test:%d" % port)
    assert (status, body) == ("HTTP/1.1 200 OK", "hello"), (status, body)
    assert line["server"] == "127.0.0.1:%d" % port, line
    assert 200 < line["connect_ms"] < 1000, line  # RFC 8305: 250 ms


def all_addresses_dead(proxy, port):
    """The time for all of them together is limited, and told."""
    status, body, line = proxy.get("dead.test:%d" % port)
    assert status == "HTTP/1.1 504 Connection Timed Out", status
    for address in ("[%s]:%d" % (HOLE6, port), "%s:%d" % (HOLE4, port)):
        assert address + ": Connection timed out" in body, body
        assert address + ": Connection timed out" in line["ending"], line
    assert 1900 < line["total_ms"] < 4000, line  # --connect-timeout 2


def first_refused(proxy, port):
    """A refusal does not wait for anything."""
    status, _, line = proxy.get("refused-first.test:%d" % port)
    assert status == "HTTP/1.1 200 OK", status
    assert line["connect_ms"] < 200, line


def no_route(proxy, port):
    """Said as it is."""
    status, body, _ = proxy.get("203.0.113.1:%d" % port)
    assert status == "HTTP/1.1 502 Host Unreachable", status
    assert "Network is unreachable" in body, body


def four_hundred_addresses(proxy, port):
    """The resolver needs the most stack for an answer that comes by TCP."""
    status, body, _ = proxy.get("many.test:%d" % port)
    assert (status, body) == ("HTTP/1.1 200 OK", "hello"), (status, body)


def unknown_names(proxy, port):
    for name in ("unheard-of.test", "nothing.test"):
        status, body, _ = proxy.get("%s:%d" % (name, port))
        assert status == "HTTP/1.1 502 Name Not Resolved", status
        assert name + ": " in body, body


def name_server_says_nothing(proxy, port):
    """The resolver gives up after 2 attempts of 2 s, and --connect-timeout 2, which
    begins with the first address, does not end it earlier."""
    status, body, line = proxy.get("%s:%d" % (SILENT, port))
    assert status == "HTTP/1.1 504 Name Server Gave No Usable Answer", status
    assert SILENT in body, body
    assert 3900 < line["dns_ms"] < 10000 and line["connect_ms"] is None, line
    status, _, _ = proxy.get("many.test:%d" % port)  # others are not held up
    assert status == "HTTP/1.1 200 OK", status


def stop_while_resolving(proxy, port):
    """A thread in the resolver cannot be woken, and is not waited for."""
    with dial(proxy.port, data=request("%s:%d" % (SILENT, port))):
        with open("/proc/%d/net/udp" % proxy.pid, encoding="ascii") as file:
            wait_for(lambda: file.seek(0) or ":0035 01" in file.read(), 30, "query under way")
        start = time.monotonic()
        status = proxy.stop()
        seconds = time.monotonic() - start
    assert status == 0 and seconds < 1, (status, seconds)


def every_errno_of_connect(_, port):
    """Each has its answer."""
    refused = "502 Connection Refused"
    reset = "502 Server Reset The Connection"
    unreachable = "502 Host Unreachable"
    limit = "503 Proxy Out Of Resources"
    expected = {
        errno.ECONNREFUSED: refused, errno.ECONNRESET: reset,
        errno.ECONNABORTED: reset, errno.EPIPE: reset, errno.EINVAL: reset,
        errno.ETIMEDOUT: "504 Connection Timed Out",
        errno.ENETUNREACH: unreachable, errno.EHOSTUNREACH: unreachable,
        errno.EACCES: unreachable, errno.EPERM: unreachable,
        errno.EAFNOSUPPORT: unreachable, errno.ENOPROTOOPT: unreachable,
        errno.EADDRNOTAVAIL: (limit, unreachable), errno.EADDRINUSE: limit,
        errno.EAGAIN: limit, errno.ENOMEM: limit, errno.ENOBUFS: limit,
        errno.EFAULT: "500 Proxy Failure", errno.EBADF: "500 Proxy Failure",
    }
    for error, statuses in expected.items():
        if isinstance(statuses, str):
            statuses = (statuses, statuses)
        with Proxy(before=lambda: make_connect_fail(error)) as proxy:
            for host, want in zip(("127.0.0.1", "[::1]"), statuses):
                status, body, line = proxy.get("%s:%d" % (host, port))
                assert status == "HTTP/1.1 " + want, (errno.errorcode[error], status)
                text = "%s:%d: %s" % (host, port, os.strerror(error))
                assert text in body and text in line["ending"], (body, line)


def most_telling_address(proxy, _):
    """A refusal outranks a time-out, which outranks a missing route."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        for name, want in (("unroutable-or-closed.test", "502 Connection Refused"),
                           ("dead-or-closed.test", "502 Connection Refused"),
                           ("unroutable-or-dead.test", "504 Connection Timed Out")):
            status, body, _ = proxy.get("%s:%d" % (name, port))
            assert status == "HTTP/1.1 " + want, (name, status)
            assert body.count(":%d: " % port) == 2, body  # both are told


def no_local_port_left(proxy, port):
    """EADDRNOTAVAIL is a limit of ours, and is named."""
    path = "/proc/sys/net/ipv4/ip_local_port_range"
    with open(path, encoding="ascii") as file:
        usual = file.read()
    tunnels = []
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write("61000 61009")
        for n in range(11):  # each from another address, since ports are counted per address
            sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=30,
                                            source_address=("127.0.1.%d" % (n + 1), 0))
            tunnels.append(sock)
            sock.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: h\r\n\r\n" % port)
            answer = sock.recv(65536)
            if not answer.startswith(b"HTTP/1.1 200 "):
                break
        assert answer.startswith(b"HTTP/1.1 503 Proxy Out Of Resources\r\n"), answer
        assert "ip_local_port_range" in proxy.next_log_line()["ending"]
    finally:
        with open(path, "w", encoding="ascii") as file:
            file.write(usual)
        for sock in tunnels:
            sock.close()
        for _ in tunnels[:-1]:
            proxy.next_log_line()


def own_listener(_, port):
    """A listener on all addresses is at each address of this machine."""
    for listen, hosts in (
            ("0.0.0.0:0", ("192.0.2.1", "proxy.test", "localhost", "127.0.0.3")),
            ("[::]:0", ("192.0.2.1", "proxy.test", "[2001:db8::1]", "[::1]"))):
        with Proxy("--allow", "127.0.0.0/8", listen=listen) as proxy:
            for number, host in enumerate(hosts):
                own = "%s:%d" % (host, proxy.port)
                status, body, line = proxy.get(own, "CONNECT")
                assert status == "HTTP/1.1 508 Loop Detected", (listen, host, status)
                assert "this proxy listens there" in body, body
                # Every connection so far was a client's.
                assert line["id"] == "#%d.1" % (2 * number + 1), line
                status, body, _ = proxy.get(own)
                assert "200 OK" in status and "This is forward_proxy" in body, body
    with Proxy("--allow", "192.0.2.1", "--allow-local-destinations",
               listen="192.0.2.1:0", connect="192.0.2.1") as proxy:
        status, _, _ = proxy.get("proxy.test:%d" % proxy.port, "CONNECT")
        assert status == "HTTP/1.1 508 Loop Detected", status
        status, _, _ = proxy.get("127.0.0.1:%d" % port)
        assert status == "HTTP/1.1 200 OK", status


def local_destinations(_, port):
    """Decided by the address that is dialled, for clients of other machines."""
    Server(page, "::1", port)
    Server(page, METADATA, port)
    with on_another_machine():
        Server(page, THERE4, port)
    local = ["127.0.0.1", "127.0.0.9", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]",
             "[::ffff:0.0.0.0]", METADATA, "[::ffff:%s]" % METADATA, "[fe80::1]",
             "localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "rebound.test",
             "rebound6.test", "mapped.test", "metadata.test"]
    served = {"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", METADATA,
              "localhost", "127.1", "rebound.test", "rebound6.test", "metadata.test"}
    refused = "HTTP/1.1 403 Local Destination Not Allowed"
    for listen, host in (("0.0.0.0:0", HERE4), ("[::]:0", HERE4), ("[::]:0", HERE6)):
        options = ("--allow", "0.0.0.0/0", "--allow", "::/0")
        with Proxy(*options, listen=listen, connect=host) as proxy:
            with on_another_machine():
                for name in local:
                    target = "%s:%d" % (name, port)
                    for method in ("GET", "CONNECT"):
                        status, body, line = proxy.get(target, method)
                        assert status == refused, (host, name, method, status)
                        assert "address" in body and line["server"] is None, (body, line)
                for name in (THERE4, "half-local.test"):
                    status, body, line = proxy.get("%s:%d" % (name, port))
                    assert (status, body) == ("HTTP/1.1 200 OK", "hello"), (name, status)
                    assert line["server"] == "%s:%d" % (THERE4, port), line
                status, _, _ = proxy.get("%s:%d" % (THERE4, port + 1))
                assert status == "HTTP/1.1 502 Connection Refused", status
            proxy.host = "127.0.0.1"  # a client of this machine
            for name in served:
                status, body, _ = proxy.get("%s:%d" % (name, port))
                assert (status, body) == ("HTTP/1.1 200 OK", "hello"), (name, status)
        with Proxy(*options, "--allow-local-destinations", listen=listen,
                   connect=host) as proxy, on_another_machine():
            for name in served:
                status, body, _ = proxy.get("%s:%d" % (name, port))
                assert (status, body) == ("HTTP/1.1 200 OK", "hello"), (name, status)


EXPERIMENTS = [dead_first_address, all_addresses_dead, first_refused, no_route,
               four_hundred_addresses, unknown_names, name_server_says_nothing,
               every_errno_of_connect, most_telling_address, no_local_port_left,
               own_listener, local_destinations, stop_while_resolving]


def main():
    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        build_network(folder)
        port = Server(page).port
        proxy = Proxy("--connect-timeout", "2")
        try:
            for experiment in EXPERIMENTS:
                try:
                    experiment(proxy, port)
                    passed += 1
                except AssertionError as error:
                    print("FAILED: %s: %s" % (experiment.__name__, error))
        finally:
            proxy.close()
    print("%d passed, %d failed" % (passed, len(EXPERIMENTS) - passed))
    sys.exit(passed != len(EXPERIMENTS))


if __name__ == "__main__":
    lib.in_own_network(mounts=True)
    main()

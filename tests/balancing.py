#!/usr/bin/env python3
"""Several proxies behind HAProxy, with the configuration that the notes show.

One of them is killed while tunnels and requests go through both: its own
tunnels are lost, nothing else is, and when it is back it is used again.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from strictness import ROOT, free_port

DEADLINE = 30


def await_true(condition, what):
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            sys.exit("FAILED: waited in vain until " + what)
        time.sleep(0.02)


class Echo:
    """An origin server: an echo, or a page for a GET."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.authority = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            sock, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    @staticmethod
    def serve(sock):
        with sock:
            while data := sock.recv(65536):
                if data.startswith(b"GET "):
                    data = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"
                sock.sendall(data)


class Proxies:
    """The two instances, by the port that each listens on."""

    def __init__(self, ports):
        self.running = {port: self.start(port) for port in ports}

    @staticmethod
    def start(port):
        process = subprocess.Popen(
            [os.path.join(ROOT, "build/plain/forward_proxy"),
             "--listen", "127.0.0.1:%d" % port],
            stdout=subprocess.PIPE, text=True)
        process.stdout.readline()  # listening
        threading.Thread(target=process.stdout.read, daemon=True).start()
        return process

    def kill(self, port):
        self.running[port].kill()
        self.running[port].wait()

    def tunnels(self, port):
        """How many it holds: two threads each, beside those of main and accept."""
        with open("/proc/%d/status" % self.running[port].pid, encoding="ascii") as file:
            threads = next(line for line in file if line.startswith("Threads"))
        return (int(threads.split()[1]) - 2) / 2


def configuration(folder, ports):
    """The notes' file, with its three ports replaced by free ones."""
    with open(os.path.join(ROOT, "notes/haproxy.cfg"), encoding="ascii") as file:
        text = file.read()
    for ours, free in zip((3128, 3129, 3130), ports):
        assert "127.0.0.1:%d\n" % ours in text
        text = text.replace("127.0.0.1:%d\n" % ours, "127.0.0.1:%d\n" % free)
    path = os.path.join(folder, "haproxy.cfg")
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def open_tunnel(port, origin):
    sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
    sock.sendall(("CONNECT %s HTTP/1.1\r\nHost: h\r\n\r\n" % origin.authority).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            return None
        head += byte
    return sock if head.startswith(b"HTTP/1.1 200 ") else None


def is_alive(sock):
    try:
        sock.sendall(b"echo")
        data = b""
        while len(data) < 4:
            piece = sock.recv(4 - len(data))
            if not piece:
                return False
            data += piece
        return data == b"echo"
    except ConnectionError:
        return False


def page(port, origin):
    """Whether a GET over a fresh connection gets its page."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as sock:
            sock.sendall(("GET http://%s/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
                          % origin.authority).encode())
            data = b""
            while piece := sock.recv(65536):
                data += piece
            return data.startswith(b"HTTP/1.1 200 OK") and data.endswith(b"page")
    except ConnectionError:
        return False


def experiment(entrance, proxies, first, second):
    origin = Echo()
    await_true(lambda: page(entrance, origin), "haproxy serves")
    tunnels = [open_tunnel(entrance, origin) for _ in range(40)]
    assert all(tunnels) and all(is_alive(sock) for sock in tunnels)
    held = {}

    def all_are_held():  # and no health check comes in between
        held.update({port: proxies.tunnels(port) for port in (first, second)})
        return sum(held.values()) == 40
    await_true(all_are_held, "both hold forty tunnels")
    assert min(held.values()) >= 15, held  # leastconn

    proxies.kill(first)
    alive = [is_alive(sock) for sock in tunnels]
    assert alive.count(True) == held[second], (alive.count(True), held)
    # Whoever comes now is served, whether haproxy has noticed or not.
    assert all(page(entrance, origin) for _ in range(100))
    late = [open_tunnel(entrance, origin) for _ in range(10)]
    assert all(late) and all(is_alive(sock) for sock in late)

    proxies.running[first] = proxies.start(first)
    def is_used_again():
        sock = open_tunnel(entrance, origin)
        assert sock and is_alive(sock)
        late.append(sock)
        return proxies.tunnels(first) >= 1
    await_true(is_used_again, "the instance is used again")
    assert all(is_alive(sock) for sock, was in zip(tunnels, alive) if was)


def main():
    entrance, first, second = ports = [free_port() for _ in range(3)]
    proxies = Proxies((first, second))
    with tempfile.TemporaryDirectory() as folder:
        haproxy = subprocess.Popen(
            [shutil.which("haproxy", path="/usr/sbin:" + os.environ["PATH"]),
             "-db", "-f", configuration(folder, ports)], stderr=subprocess.DEVNULL)
        try:
            experiment(entrance, proxies, first, second)
        finally:
            haproxy.terminate()
            for process in proxies.running.values():
                process.kill()
    print("1 passed, 0 failed")


main()

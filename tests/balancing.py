#!/usr/bin/env python3
"""Several proxies behind HAProxy, with the configuration that the notes show.

One of them is killed while tunnels and requests go through both: its own
tunnels are lost, nothing else is, and when it is back it is used again.
"""

import os
import shutil
import subprocess
import tempfile

from lib import (DEADLINE, PLAIN, ROOT, Proxy, Server, ask, free_port, open_tunnel, read_until,
                 wait_for)


def serve(sock):
    """An echo, or a page for a GET."""
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
        return Proxy(PLAIN, listen="127.0.0.1:%d" % port)

    def kill(self, port):
        self.running[port].close()

    def tunnels(self, port):
        """How many it holds: two threads each, beside main, accept and two writers."""
        return (self.running[port].in_use()[0] - 4) / 2


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


def is_alive(sock):
    try:
        sock.sendall(b"echo")
        return read_until(sock, b"echo") == b"echo"
    except ConnectionError:
        return False


def page(port, origin):
    """Whether a GET over a fresh connection gets its page."""
    try:
        data = ask(port, ("GET http://%s/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
                          % origin.authority).encode())
        return data.startswith(b"HTTP/1.1 200 OK") and data.endswith(b"page")
    except ConnectionError:
        return False


def experiment(entrance, proxies, first, second):
    origin = Server(serve)
    wait_for(lambda: page(entrance, origin), DEADLINE, "page by way of haproxy")
    tunnels = [open_tunnel(entrance, origin.authority) for _ in range(40)]
    assert all(is_alive(sock) for sock in tunnels)
    held = {}

    def all_are_held():  # and no health check comes in between
        held.update({port: proxies.tunnels(port) for port in (first, second)})
        return sum(held.values()) == 40
    wait_for(all_are_held, DEADLINE, "forty tunnels in both")
    assert min(held.values()) >= 15, held  # leastconn

    proxies.kill(first)
    alive = [is_alive(sock) for sock in tunnels]
    assert alive.count(True) == held[second], (alive.count(True), held)
    # New clients are served, whether haproxy has noticed or not.
    assert all(page(entrance, origin) for _ in range(100))
    late = [open_tunnel(entrance, origin.authority) for _ in range(10)]
    assert all(is_alive(sock) for sock in late)

    proxies.running[first] = proxies.start(first)
    def is_used_again():
        sock = open_tunnel(entrance, origin.authority)
        assert is_alive(sock)
        late.append(sock)
        return proxies.tunnels(first) >= 1
    wait_for(is_used_again, DEADLINE, "tunnel in the instance that is back")
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
            for proxy in proxies.running.values():
                proxy.close()
    print("1 passed, 0 failed")


main()

#!/usr/bin/env python3
"""Makes notes/recordings anew: what the live page is told of six real exchanges.

    tests/recordings.py     needs build/plain/forward_proxy, curl, openssl and unshare

Each is the file that the page's own "save" would make.  Starts itself again in
new namespaces, where ports are free, and where a name that is not in
/etc/hosts does not exist.
"""
import json
import os
import socket
import subprocess
import sys
import tempfile

import lib

ROOT = os.path.dirname(lib.HERE)
PROXY = ("127.0.0.1", 3128)


def curl(*arguments):
    subprocess.run(["curl", "-s", "-o", "/dev/null", "-x", "127.0.0.1:3128", *arguments],
                   timeout=30, check=False)


def half_close():
    """A client that finishes first, and a server that answers then."""
    with socket.create_connection(PROXY, timeout=10) as client:
        client.sendall(b"CONNECT 127.0.0.1:8081 HTTP/1.1\r\nHost: 127.0.0.1:8081\r\n\r\n")
        client.recv(1000)
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        while client.recv(1000):
            pass


EXCHANGES = {
    "relay": lambda: curl("http://127.0.0.1:8080/a?x=1"),
    "tunnel": lambda: curl("--cacert", "build/origin/cert.pem", "https://localhost:8443/"),
    "unknown-certificate": lambda: curl("https://localhost:8443/"),
    "name-not-resolved": lambda: curl("https://no-such-host.invalid/"),
    "reset-after-the-hello": lambda: curl("https://localhost:8445/"),
    "half-close": half_close,
}


class Watcher:
    """Reads the stream of events up to the end of a connection."""

    def __init__(self):
        self.socket = socket.create_connection(PROXY, timeout=10)
        self.socket.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        self.lines = self.socket.makefile("rb")
        while next(self.lines) != b"event: open\n":
            pass
        next(self.lines)

    def connection(self):
        events = []
        for line in self.lines:
            if line.startswith(b'data: {"connection"'):
                event = json.loads(line[6:])
                if event["kind"] == "bytes":
                    continue
                events.append(event)
                if event["kind"] == "closed":
                    return events
        raise EOFError


def record():
    origin = subprocess.Popen([sys.executable, "notes/origin.py"], stdout=subprocess.PIPE)
    origin.stdout.readline()
    proxy = subprocess.Popen([lib.PLAIN, "--live", "--log", "off"], stdout=subprocess.PIPE)
    try:
        proxy.stdout.readline()
        watcher = Watcher()
        for name, run in EXCHANGES.items():
            run()
            events = watcher.connection()
            with open("notes/recordings/%s.json" % name, "w", encoding="utf-8") as file:
                file.write('{"forward_proxy": "events", "events": [\n%s\n]}\n' % ",\n".join(
                    json.dumps(event, ensure_ascii=False) for event in events))
            print("%-22s %2d events" % (name, len(events)))
    finally:
        for program in (proxy, origin):
            program.terminate()
            program.wait()
            program.stdout.close()


def main():
    if os.environ.get("OWN_NETWORK") != "1":
        os.environ["OWN_NETWORK"] = "1"
        os.execvp("unshare", ["unshare", "-rnm", sys.executable, *sys.argv])
    os.chdir(ROOT)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("hosts: files\n")
        file.flush()
        subprocess.run(["mount", "--bind", file.name, "/etc/nsswitch.conf"], check=True)
        record()


if __name__ == "__main__":
    main()

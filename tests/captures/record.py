#!/usr/bin/env python3
"""Records what a TLS client and a TLS server say to each other on loopback.

    tests/captures/record.py NAME SERVER... -- CLIENT...

Starts the server command, relays one connection to it, runs the client command,
and writes NAME.client and NAME.server here: each direction's bytes as they were.
In both commands {port} is replaced by the port to use.  How each capture of this
directory was made stands in its README.md.
"""
import os
import socket
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from lib import dial, free_port, is_listening, wait_for  # noqa: E402  (its folder had to be named)


def relay(source, target, path):
    with open(path, "wb") as record:
        try:
            while data := source.recv(65536):
                record.write(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def main():
    name, *rest = sys.argv[1:]
    split = rest.index("--")
    server_port = free_port()
    server = subprocess.Popen(
        [word.replace("{port}", str(server_port)) for word in rest[:split]],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: is_listening(server_port), 10, "server")
    listener = socket.create_server(("127.0.0.1", 0))
    client = subprocess.Popen(
        [word.replace("{port}", str(listener.getsockname()[1]))
         for word in rest[split + 1:]],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    near, _ = listener.accept()
    listener.close()
    far = dial(server_port)
    base = os.path.join(HERE, name)
    threads = [threading.Thread(target=relay, args=(near, far, base + ".client")),
               threading.Thread(target=relay, args=(far, near, base + ".server"))]
    for thread in threads:
        thread.start()
    try:
        client.wait(timeout=20)
    except subprocess.TimeoutExpired:
        client.terminate()
        client.wait()
    for end in (near, far):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
    for thread in threads:
        thread.join()
    server.terminate()
    server.wait()
    for side in ("client", "server"):
        print(name, side, os.path.getsize(f"{base}.{side}"), "bytes")


if __name__ == "__main__":
    main()

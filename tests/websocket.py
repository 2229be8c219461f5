#!/usr/bin/env python3
"""A real WebSocket client and server, over plain HTTP through the proxy.

Clients that know WebSocket ask a proxy for a tunnel.  This one sends what RFC
9110 §7.8 allows as well: the upgrade as an ordinary request in absolute-form.
Only that one line differs from what the library sends by itself.
"""

import asyncio
import os
import sys

import websockets
from websockets.uri import parse_uri

from lib import PLAIN, Proxy, dial

try:
    from websockets.client import ClientProtocol
except ImportError:  # before version 11
    from websockets.client import ClientConnection as ClientProtocol


class Client:
    def __init__(self, proxy_port, authority, path):
        self.sock = dial(proxy_port)
        self.protocol = ClientProtocol(parse_uri("ws://" + authority + path))
        request = self.protocol.connect()
        request.path = "http://" + authority + path
        self.protocol.send_request(request)
        self.response = self.next_event()

    def flush(self):
        self.sock.sendall(b"".join(self.protocol.data_to_send()))

    def next_event(self):
        """What the library makes of the next bytes: a response or a frame."""
        while True:
            self.flush()
            for event in self.protocol.events_received():
                return event
            data = self.sock.recv(65536)
            if not data:
                sys.exit("FAILED: the connection ended early")
            self.protocol.receive_data(data)

    def message(self):
        """The data of the frames up to the last one of a message."""
        data = b""
        while True:
            frame = self.next_event()
            data += frame.data
            if frame.fin:
                return data


def talk(proxy_port, authority):
    client = Client(proxy_port, authority, "/chat?room=1")
    assert client.response.status_code == 101, client.response
    text = "你好。。。".encode()
    client.protocol.send_text(text)
    assert client.message() == text
    blob = os.urandom(1 << 20)
    client.protocol.send_binary(blob)
    assert client.message() == blob
    client.protocol.send_ping(b"p")
    assert client.message() == b"p"  # the pong
    client.protocol.send_close(1000, "done")
    client.flush()
    while client.sock.recv(65536):
        pass


async def main():
    paths = []

    async def echo(connection):
        old = getattr(connection, "path", None)  # before version 13
        paths.append(old or connection.request.path)
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
        authority = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        with Proxy(PLAIN) as proxy:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, talk, proxy.port, authority)
    assert paths == ["/chat?room=1"], paths
    print("1 passed, 0 failed")


asyncio.run(main())

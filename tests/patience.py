#!/usr/bin/env python3
"""Peers that are slow, silent or gone, where the order or the number of what they do
decides: tests/silence.py has every phase and every kind of peer, one at a time.

    patience.py [PROXY [WORD...]]    runs the cases whose name has one of the words

Each case starts its own proxy and is both its client and its origin server.
Nothing is awaited for longer than DEADLINE.
"""

import concurrent.futures
import contextlib
import functools
import signal
import socket
import struct
import sys
import threading
import time

import lib

BINARY = sys.argv[1] if len(sys.argv) > 1 else lib.PLAIN
DEADLINE = 20
CASES = []  # (name, function)


def case(*rows):
    """Makes a function a case, or one case of each row of arguments."""
    def add(function):
        name = function.__name__.replace("_", " ")
        for row in rows or [()]:
            words = [getattr(a, "__name__", a) for a in row]
            CASES.append((": ".join([name, *map(str, words[:1])]),
                          functools.partial(function, *row)))
        return function
    return add


class Proxy(lib.Proxy):
    """The program under test, with sockets that block."""

    def __init__(self, *options):
        super().__init__(BINARY, *options)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def wait_for_log(self, text):
        try:
            lib.wait_for(lambda: text.encode() in self.output(), DEADLINE, repr(text))
        except AssertionError as error:
            raise AssertionError("%s in %r" % (error, self.output())) from error

    def base_line(self):
        """Threads and descriptors, after a first client has been served."""
        with self.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            read_to_end(client)
        return self.settled()

    def wait_for_in_use(self, threads, descriptors):
        lib.wait_for(lambda: self.in_use() == (threads, descriptors), DEADLINE,
                     "%d threads and %d descriptors" % (threads, descriptors))

    def is_runnable(self):
        """Whether a thread has, or waits for, a processor: one that spins always
        does, also on a machine too busy to give it much time."""
        return "R" in self.thread_states()

    def check_rests(self):
        """That a second of waiting costs no CPU."""
        runnable = 0
        for _ in range(50):
            time.sleep(0.02)
            runnable += self.is_runnable()
        assert runnable < 10, "runnable at %d of 50 looks" % runnable

    def end(self, number):
        """Sends the signal; gives the exit status, negative for a signal."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


class Origin(lib.Origin):
    """A listening socket, whose connections block."""

    def accept(self):
        accepted, _ = self.sock.accept()
        accepted.settimeout(DEADLINE)
        return accepted

    def answer_again(self):
        """Ends swallow_connections(): the backlog is emptied, and grows."""
        self.sock.listen(100)
        for _ in self.others:
            self.accept().close()

    def request(self, fields="", method="GET", version="1.1"):
        authority = self.authority.decode()
        target = authority if method == "CONNECT" else "http://%s/" % authority
        return ("%s %s HTTP/%s\r\nHost: h\r\n%s\r\n"
                % (method, target, version, fields)).encode()


def expect(seen, wanted):
    assert seen == wanted, "%r, where %r was expected" % (seen, wanted)


def reset(sock):
    """Closes with an RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_until(sock, end):
    data = b""
    while not data.endswith(end):
        byte = sock.recv(1)
        assert byte, "the stream ended after %r" % data
        data += byte
    return data.decode()


def read_head(sock):
    return read_until(sock, b"\r\n\r\n")


def status_of(sock):
    """The status line of the next response, without the version."""
    return read_head(sock).split("\r\n")[0].split(" ", 1)[1]


def read_to_end(sock):
    """All that still comes, and whether a "FIN" or an "RST" ended it."""
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        return data, "RST"
    return data, "FIN"


class Exchange:
    """A request that has reached the origin server, and both ends of it."""

    def __init__(self, proxy, **request):
        self.proxy = proxy
        self.origin = Origin()
        self.client = proxy.connect()
        self.client.sendall(self.origin.request(**request))
        self.server = self.origin.accept()
        read_head(self.server)


class Flood(threading.Thread):
    """Sends without end, until the connection breaks."""

    def __init__(self, sock, data=bytes(65536)):
        super().__init__(daemon=True)
        self.sock = sock
        self.data = data
        self.sent = 0
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                self.sent += self.sock.send(self.data)

    def wait_until_blocked(self):
        """Sends until no more is taken: the windows and buffers on the way are full."""
        end = time.monotonic() + DEADLINE
        before = -1
        while self.sent != before:
            assert time.monotonic() < end, "the receiver reads"
            before = self.sent
            time.sleep(0.2)

@contextlib.contextmanager
def running(*options):
    proxy = Proxy(*options)
    try:
        yield proxy
        if proxy.process.returncode is None:  # else the case has ended it
            expect((proxy.process.poll(), proxy.end(signal.SIGTERM)), (None, 0))
        complaints = [line for line in proxy.errors().splitlines()
                      if not line.startswith(b"forward_proxy: stopped, clients")]
        expect(complaints, [])
    finally:
        proxy.close()


@contextlib.contextmanager
def exchange(*options, **request):
    with running(*options) as proxy:
        yield Exchange(proxy, **request)


# --- The head of a response -----------------------------------------------------

PART = b"HTTP/1.1 200 OK\r\nContent-Le"


@case()
def the_limit_for_a_response_head_begins_with_its_first_byte():
    with exchange("--head-timeout", "1") as e:
        time.sleep(1.5)  # the server thinks for longer than that
        e.server.sendall(PART)
        lib.wait_for(lambda: not lib.unread(e.server), DEADLINE, "look at the part")
        e.server.sendall(b"ngth: 2\r\n\r\nok")
        expect(status_of(e.client), "200 OK")
        expect(e.client.recv(2), b"ok")


# --- Interim responses ----------------------------------------------------------

HINT = b"HTTP/1.1 103 Early Hints\r\n\r\n"


def final_status(client):
    """The status line of the final response, and how many came before it."""
    interim = 0
    end = time.monotonic() + DEADLINE
    while (status := status_of(client)).startswith("1"):
        interim += 1
        assert time.monotonic() < end, "%d of them, and no end" % interim
    return status, interim


@case(("1.0", 0), ("1.1", 100))
def a_hundred_interim_responses_pass_and_one_more_does_not(version, forwarded):
    with exchange(version=version) as e:
        e.server.sendall(100 * HINT + b"HTTP/1.1 204 Fine\r\n\r\n")
        expect(final_status(e.client), ("204 Fine", forwarded))
    with exchange(version=version) as e:
        e.server.sendall(101 * HINT)
        expect(final_status(e.client), ("502 Too Many Interim Responses", forwarded))


# --- A request body that does not come ------------------------------------------

WAITS = "Expect: 100-continue\r\nContent-Length: 5\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_ANSWER, NO_BODY = "504 Server Sent No Answer", "408 Request Body Timeout"


@case(("the client waits for a 100", WAITS, "1.1", b"", b"", NO_ANSWER),
      ("in chunks", WAITS.replace("Content-Length: 5", "Transfer-Encoding: chunked"),
       "1.1", b"", b"", NO_ANSWER),
      ("the server sends something else", WAITS, "1.1", HINT, b"", NO_ANSWER),
      ("the server has sent a 100", WAITS, "1.1", CONTINUE, b"", NO_BODY),
      ("the client has not waited", WAITS, "1.1", b"", b"hel", NO_BODY),
      ("an old client does not wait", WAITS, "1.0", CONTINUE, b"", NO_BODY),
      ("neither side waits", "Content-Length: 5\r\n", "1.1", b"", b"", NO_BODY))
def silence_before_the_request_body_is_told_of_whose_turn_it_is(
        _, fields, version, from_server, from_client, status):
    with exchange("--idle-timeout", "2", method="POST", fields=fields,
                  version=version) as e:
        e.server.sendall(from_server)
        e.client.sendall(from_client)
        expect(final_status(e.client)[0], status)
        e.proxy.wait_for_log(" %s:" % status[4:])


# --- A client that closes before its response begins ----------------------------

CLOSE = "Connection: close\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def check_left(e):
    """That the client counts as one that has left: it is sent nothing, and the
    connection to the origin server is closed at once."""
    read_to_end(e.server)
    e.proxy.wait_for_log(" - up=")
    e.proxy.wait_for_log("client left")
    expect(read_to_end(e.client)[0], b"")


def answer_next(origin):
    with origin.accept() as server:
        read_head(server)
        server.sendall(OK)


@case()
def a_client_that_closes_after_a_bare_crlf_has_left():
    with exchange() as e:
        e.client.sendall(b"\r\n")
        e.client.shutdown(socket.SHUT_WR)
        check_left(e)


@case(("a length", "Content-Length: 5\r\n", b"he", b"llo"),
      ("chunks", "Transfer-Encoding: chunked\r\n", b"5\r\nhe", b"llo\r\n0\r\n\r\n"))
def a_client_that_closes_after_its_body_has_left(_, fields, begin, end):
    with exchange(method="POST", fields=fields) as e:
        e.client.sendall(begin)
        read_until(e.server, b"he" if begin == b"he" else b"2\r\nhe\r\n")
        e.client.sendall(end)
        read_until(e.server, b"llo" if begin == b"he" else b"0\r\n\r\n")
        e.client.shutdown(socket.SHUT_WR)
        check_left(e)


@case()
def a_client_that_closes_in_a_later_request_has_left():
    with exchange() as e:
        e.server.sendall(OK)
        expect(status_of(e.client), "200 OK")
        expect(read_until(e.client, b"ok"), "ok")
        e.proxy.wait_for_log("complete")  # so that nothing is pipelined
        e.client.sendall(e.origin.request())
        e.server = e.origin.accept()
        read_head(e.server)
        e.client.shutdown(socket.SHUT_WR)
        check_left(e)


@case(("that says so", "1.1", CLOSE, b""), ("of HTTP/1.0", "1.0", "", b""),
      ("that has begun its next request", "1.1", "", b"GET"),
      ("that sent what is no request", "1.1", "", b"\r\n\r\n"))
def a_client_that_closes_and_still_reads_gets_its_response(_, version, fields, more):
    with exchange(version=version, fields=fields) as e:
        e.client.sendall(more)
        e.client.shutdown(socket.SHUT_WR)
        e.proxy.check_rests()  # the FIN is noticed once
        e.server.sendall(OK)
        expect(status_of(e.client), "200 OK")
        expect(read_until(e.client, b"ok"), "ok")


@case(("at once", True), ("after the first response", False))
def pipelined_requests_before_a_fin_are_all_answered(_, at_once):
    with running() as proxy:
        origin = Origin()
        client = proxy.connect()
        client.sendall(3 * origin.request())
        if at_once:
            client.shutdown(socket.SHUT_WR)
        for n in range(3):
            answer_next(origin)
            expect(status_of(client), "200 OK")
            expect(read_until(client, b"ok"), "ok")
            if n == 0 and not at_once:
                client.shutdown(socket.SHUT_WR)
        expect(read_to_end(client), (b"", "FIN"))


@case()
def a_body_and_the_next_request_before_a_fin_are_both_answered():
    with running() as proxy:
        origin = Origin()
        client = proxy.connect()
        client.sendall(origin.request(method="POST", fields="Content-Length: 5\r\n")
                       + b"hello" + origin.request())
        client.shutdown(socket.SHUT_WR)
        for _ in range(2):
            answer_next(origin)
            expect(status_of(client), "200 OK")
            expect(read_until(client, b"ok"), "ok")


@case()
def a_fin_behind_connect_is_a_half_close():
    with running() as proxy:
        origin = Origin()
        client = proxy.connect()
        client.sendall(origin.request(method="CONNECT") + b"question")
        client.shutdown(socket.SHUT_WR)
        server = origin.accept()
        expect(read_to_end(server), (b"question", "FIN"))
        server.sendall(b"answer")
        server.close()
        expect(status_of(client), "200 Connection established")
        expect(read_to_end(client), (b"answer", "FIN"))


@case(("GET",), ("CONNECT",))
def a_reset_is_noticed_while_connecting_even_after_a_fin(method):
    with running("--connect-timeout", "60") as proxy:
        threads, descriptors = proxy.base_line()
        origin = Origin()
        origin.swallow_connections()
        client = proxy.connect()
        client.sendall(origin.request(method=method) + b"more")
        client.shutdown(socket.SHUT_WR)
        proxy.wait_for_in_use(threads + 1, descriptors + 2)
        proxy.check_rests()
        reset(client)
        proxy.wait_for_log("the client: Connection reset")
        proxy.wait_for_in_use(threads, descriptors)
        origin.close()


@case()
def a_body_that_waits_while_connecting_is_not_the_next_request():
    with running("--connect-timeout", "60") as proxy:
        threads, descriptors = proxy.base_line()
        origin = Origin()
        origin.swallow_connections()
        client = proxy.connect()
        client.sendall(origin.request(method="POST", fields="Content-Length: 5\r\n")
                       + b"hello")
        client.shutdown(socket.SHUT_WR)
        proxy.wait_for_in_use(threads + 1, descriptors + 2)
        proxy.check_rests()
        origin.answer_again()
        proxy.wait_for_log("client left")
        expect(read_to_end(client), (b"", "FIN"))
        origin.close()


# --- A body that only a close ends ----------------------------------------------

def sigterm(e):
    expect(e.proxy.end(signal.SIGTERM), 0)


def sigkill(e):
    expect(e.proxy.end(signal.SIGKILL), -signal.SIGKILL)


def reset_by_the_server(e):
    reset(e.server)


def silence(e):
    e.proxy.wait_for_log("timed out")


def limit(end):
    """Short only where it is what ends the response."""
    return ("--idle-timeout", "2" if end is silence else "60")


UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDS = [(sigterm,), (sigkill,), (reset_by_the_server,), (silence,)]


@case(*ENDS)
def a_body_cut_short_ends_in_a_reset(end):
    with exchange(*limit(end)) as e:
        e.server.sendall(UNTIL_CLOSE + b"the first half")
        expect(status_of(e.client), "200 OK")
        expect(read_until(e.client, b"the first half"), "the first half")
        end(e)
        expect(read_to_end(e.client), (b"", "RST"))


@case(*ENDS)
def a_body_that_has_not_begun_ends_in_a_reset(end):
    with exchange(*limit(end)) as e:
        e.server.sendall(UNTIL_CLOSE)
        expect(status_of(e.client), "200 OK")
        end(e)
        expect(read_to_end(e.client), (b"", "RST"))


@case(*ENDS)
def chunks_cut_short_for_an_old_client_end_in_a_reset(end):
    with exchange(*limit(end), version="1.0") as e:
        e.server.sendall(CHUNKED + b"5\r\nhello\r\n")
        expect(status_of(e.client), "200 OK")
        expect(read_until(e.client, b"hello"), "hello")
        end(e)
        expect(read_to_end(e.client), (b"", "RST"))


@case((sigterm,), (sigkill,), (silence,))
def a_body_that_the_client_does_not_read_ends_in_a_reset(end):
    with exchange(*limit(end)) as e:
        e.server.sendall(UNTIL_CLOSE)
        Flood(e.server).wait_until_blocked()
        end(e)
        expect(read_to_end(e.client)[1], "RST")


@case()
def a_broken_request_body_does_not_complete_the_response():
    with exchange(method="PUT", fields="Transfer-Encoding: chunked\r\n") as e:
        e.server.sendall(UNTIL_CLOSE + b"the first half")
        expect(status_of(e.client), "200 OK")
        expect(read_until(e.client, b"the first half"), "the first half")
        e.client.sendall(b"no chunk size\r\n")
        expect(read_to_end(e.client), (b"", "RST"))
        e.proxy.wait_for_log("chunk size")


@case(("until the close", "1.1", UNTIL_CLOSE + bytes(3000000)),
      ("chunks for an old client", "1.0", CHUNKED + b"2dc6c0\r\n" + bytes(3000000)
       + b"\r\n0\r\n\r\n"))
def a_body_that_is_complete_ends_in_a_fin(_, version, response):
    with exchange(version=version) as e:
        threading.Thread(target=lambda: (e.server.sendall(response), e.server.close()),
                         daemon=True).start()
        expect(status_of(e.client), "200 OK")
        data, end = read_to_end(e.client)
        expect((len(data), end), (3000000, "FIN"))


# --- All of them ----------------------------------------------------------------

def failure_of(run):
    try:
        run()
    except Exception as error:  # pylint: disable=broad-except
        return "%s: %s" % (type(error).__name__, error)
    return None


def main():
    chosen = [(name, run) for name, run in CASES
              if len(sys.argv) < 3 or any(word in name for word in sys.argv[2:])]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        failures = list(pool.map(failure_of, (run for _, run in chosen)))
    for (name, _), failure in zip(chosen, failures):
        if failure:
            print("FAILED: %s: %s" % (name, failure))
    failed = sum(map(bool, failures))
    print("%d passed, %d failed" % (len(chosen) - failed, failed))
    sys.exit(bool(failed))


main()

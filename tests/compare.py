#!/usr/bin/env python3
"""make compare: the same experiments against our proxy and one in Python.

    tests/compare.py                            against notes/forward-proxy.py
    tests/compare.py path/to/forward-proxy.py   against that file, as it is
    tests/compare.py --markdown [FILE]          a Markdown table instead

A file of the user's own is started as it is, and used on the port that it
listens on.  If it asks for credentials it has to take sam:12345678, which every
request here carries.  Each row is one experiment, most of them one curl command, and says
what each proxy did.  Where they differ, a sentence says why that matters.  The
numbers (R10) are those of a study of one such program.

Ends with status 1 if ours did not do what a row calls right, or the other one
did better.
"""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

from strictness import ROOT, free_port

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 4  # seconds, for what should come
USER = "sam:12345678"
BASIC = "Basic c2FtOjEyMzQ1Njc4"
CHINESE = '{"text": "你好。。。", "stream": true}'


# --- The proxies ----------------------------------------------------------------


class Proxy:
    """One process for all experiments, as its user would have it: not every
    proxy can be started again at once on the same port."""

    def __init__(self, name, command, port):
        self.name = name
        self.command = command
        self.port = port
        self.output = tempfile.TemporaryFile()
        self.process = self.start()
        if not self.wait_until_listening(self.process):
            sys.exit("cannot start %s:\n%s" % (" ".join(command), self.said()))

    def start(self):
        return subprocess.Popen(
            self.command, stdout=self.output, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"})

    def wait_until_listening(self, process):
        until = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < until:
            try:
                self.port = self.port or listening_port(process.pid)
                socket.create_connection(("127.0.0.1", self.port)).close()
                return True
            except (OSError, TypeError):
                time.sleep(0.05)
        return False

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.output.close()

    def said(self):
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def connect(self):
        client = socket.create_connection(("127.0.0.1", self.port))
        client.settimeout(PATIENCE)
        return client

    def curl(self, *arguments, user=USER):
        """What curl printed, standard error behind it, and its exit status."""
        done = subprocess.run(
            ["curl", "-sS", "--max-time", str(PATIENCE), "-x", "127.0.0.1:%d" % self.port,
             "--noproxy", "", *(["-U", user] if user else []), *arguments],
            capture_output=True, check=False)
        return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace"), \
            done.returncode

    def processor_ticks(self):
        with open("/proc/%d/stat" % self.process.pid, encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])


def listening_port(pid):
    """Of the first TCP socket on which the process listens; None so far."""
    inodes = set()
    for number in os.listdir("/proc/%d/fd" % pid):
        link = os.readlink("/proc/%d/fd/%s" % (pid, number))
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    listening = "0A"
    for table in ("tcp", "tcp6"):
        with open("/proc/net/" + table, encoding="ascii") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == listening and fields[9] in inodes:
                    return int(fields[1].rsplit(":", 1)[1], 16)
    return None


# --- The origin server ----------------------------------------------------------


class Origin:
    """Runs serve(connection) for each connection, and keeps what it gives."""

    def __init__(self, serve, host="127.0.0.1"):
        self.listener = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port = self.listener.getsockname()[1]
        self.authority = ("[%s]:%d" if ":" in host else "%s:%d") % (host, self.port)
        self.url = "http://%s" % self.authority
        self.serve = serve
        self.results = []
        self.open = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            self.open.append(connection)
            try:
                self.results.append(self.serve(connection))
            except OSError:
                self.results.append(None)

    def result(self):
        until = time.monotonic() + PATIENCE
        while not self.results and time.monotonic() < until:
            time.sleep(0.01)
        return self.results[0] if self.results else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        for connection in self.open:
            connection.close()


def read_head(connection, data=b""):
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    head, _, behind = data.partition(b"\r\n\r\n")
    return head.decode("latin-1"), behind


def read_to_end(connection, data=b""):
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except OSError:
        pass
    return data


def read_request(connection):
    """The head, and the body, whatever its framing; None if it stops short."""
    head, body = read_head(connection)
    length = re.search(r"(?im)^content-length: *(\d+)", head)
    if length:
        while len(body) < int(length[1]):
            piece = connection.recv(65536)
            if not piece:
                return head, None
            body += piece
    elif re.search(r"(?im)^transfer-encoding: *chunked", head):
        while not body.endswith(b"0\r\n\r\n"):
            piece = connection.recv(65536)
            if not piece:
                return head, None
            body += piece
    return head, body


def answering(response=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"):
    def serve(connection):
        request = read_request(connection)
        connection.sendall(response)
        connection.shutdown(socket.SHUT_WR)
        return request
    return serve


# --- The experiments ------------------------------------------------------------

ROWS = []


def row(number, title, right, why):
    """An experiment: what it gives for a proxy is compared with `right`."""
    def add(run):
        ROWS.append((number, title, right, why, run))
        return run
    return add


def outcome(text, status):
    if status == 0:
        return text
    if status == 52:
        return "empty reply"
    if status == 28:
        return "hangs"
    failed = re.search(r"response (\d+)", text)
    return "curl: (%d)%s" % (status, " " + failed[1] if failed else "")


@row("R10", "GET /a?x=1", "GET /a?x=1", "A query that is dropped asks for another page.")
def query(proxy):
    with Origin(answering()) as origin:
        proxy.curl(origin.url + "/a?x=1")
        request = origin.result()
        return request[0].split(" HTTP")[0] if request else "nothing arrives"


@row("R16", "POST, what the server is asked for", "POST /a",
     "An origin server is asked for a path; the whole URL is for proxies (RFC 9112 §3.2).")
def post_target(proxy):
    with Origin(answering()) as origin:
        proxy.curl("-d", "x=1", origin.url + "/a")
        request = origin.result()
        return request[0].split(" HTTP")[0].replace(origin.url, "http://h") \
            if request else "nothing arrives"


@row("R17", "POST of Chinese text", "arrives whole",
     "A body is bytes: read as text and written in another code, it is lost.")
def chinese(proxy):
    with Origin(answering()) as origin:
        result = proxy.curl("-d", CHINESE, origin.url)
        request = origin.result()
        whole = request and request[1] == CHINESE.encode()
        return "arrives whole" if whole else outcome(*result)


@row("R15", "POST of bytes that are no text", "arrives whole",
     "Printing a body must not decide whether it is sent on.")
def binary(proxy):
    with tempfile.NamedTemporaryFile() as file, Origin(answering()) as origin:
        data = bytes(range(256)) * 100
        file.write(data)
        file.flush()
        result = proxy.curl("--data-binary", "@" + file.name, origin.url)
        request = origin.result()
        return "arrives whole" if request and request[1] == data else outcome(*result)


@row("R14", "upload in chunks", "arrives whole",
     "Whoever does not know the length beforehand sends chunks (RFC 9112 §7.1).")
def chunks(proxy):
    with Origin(answering()) as origin:
        result = proxy.curl("-H", "Transfer-Encoding: chunked", "-d", "hello", origin.url)
        request = origin.result()
        if request and request[1] and b"hello" in request[1]:
            return "arrives whole"
        return "411, says why not" if "411" in proxy.curl(
            "-o", "/dev/null", "-w", "%{http_code}", "-H", "Transfer-Encoding: chunked",
            "-d", "hello", origin.url)[0] else outcome(*result)


@row("R14", "Expect: 100-continue", "the server decides",
     "The client holds its body back until the server has agreed (RFC 9110 §10.1.1).")
def expect(proxy):
    def serve(connection):
        head, body = read_head(connection)
        if body:
            return "the body comes unasked"
        if "100-continue" not in head:
            return "the server is not asked"
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        started = time.monotonic()
        connection.recv(65536)
        waited = time.monotonic() - started
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return "the server decides" if waited < 3 else "the client gives up waiting"
    with Origin(serve) as origin:
        result = proxy.curl("-H", "Expect: 100-continue", "--expect100-timeout", "3.5",
                            "-d", "hello", origin.url)
        return origin.result() or outcome(*result)


@row("R9", "the password for the proxy", "stays here",
     "Every site would learn the password (RFC 9110 §11.7.2).")
def password(proxy):
    with Origin(answering()) as origin:
        proxy.curl(origin.url)
        request = origin.result()
        if not request:
            return "nothing arrives"
        return "sent to the site" if "proxy-authorization" in request[0].lower() \
            else "stays here"


@row("R12", "two Set-Cookie lines", "a=1, b=2", "Each line is a cookie; the second is lost.")
def cookies(proxy):
    with Origin(answering(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
                          b"Content-Length: 0\r\nConnection: close\r\n\r\n")) as origin:
        text, status = proxy.curl("-i", origin.url)
        found = re.findall(r"(?im)^set-cookie: *(\S+)", text)
        return ", ".join(found) if found else outcome(text, status)


@row("R12", "reason phrase, and Server lines", "Fine, 1",
     "A proxy that writes its own response head changes the server's.")
def head(proxy):
    with Origin(answering(b"HTTP/1.1 200 Fine\r\nServer: origin\r\nContent-Length: 0\r\n"
                          b"Connection: close\r\n\r\n")) as origin:
        text, status = proxy.curl("-i", origin.url)
        reason = re.match(r"HTTP/1\.. 200 (.*?)\r?\n", text)
        return "%s, %d" % (reason[1], len(re.findall(r"(?im)^server:", text))) \
            if reason else outcome(text, status)


@row("R12", "a response in chunks", "hello",
     "Taking the chunks off, and leaving the line that announces them, breaks the body.")
def chunked_response(proxy):
    with Origin(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                          b"Connection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n")) as origin:
        return outcome(*proxy.curl(origin.url))


@row("R13", "a stream of events", "each at once",
     "Who reads the whole response first turns a stream into one lump at the end.")
def stream(proxy):
    first_arrived = threading.Event()

    def serve(connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
                           b"data: 1\n\n")
        return "each at once" if first_arrived.wait(2) else "all at the end"
    with Origin(serve) as origin, proxy.connect() as client:
        client.sendall(b"GET %s/ HTTP/1.1\r\nHost: h\r\nProxy-Authorization: %s\r\n\r\n"
                       % (origin.url.encode(), BASIC.encode()))
        data = b""
        try:
            while b"data: 1" not in data:
                piece = client.recv(65536)
                if not piece:
                    break
                data += piece
        except OSError:
            pass
        if b"data: 1" in data:
            first_arrived.set()
        return origin.result() or "nothing arrives"


@row("R13", "103 before the 200", "200", "The final response is the one that counts.")
def interim(proxy):
    with Origin(answering(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
                          b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
                          b"Connection: close\r\n\r\n")) as origin:
        text, status = proxy.curl("-o", "/dev/null", "-w", "%{http_code}", origin.url)
        return text[-3:] if status == 0 else outcome(text, status)


@row("R19, R4", "PUT, DELETE, HEAD, OPTIONS, PATCH", "200 200 200 200 200",
     "A proxy forwards any method, also one that it does not know.")
def methods(proxy):
    codes = []
    for method in ("PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"):
        with Origin(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
                              b"Connection: close\r\n\r\n")) as origin:
            text, status = proxy.curl(
                *(["-I"] if method == "HEAD" else ["-X", method]), "-o", "/dev/null",
                "-w", "%{http_code}", origin.url)
            codes.append("empty" if status == 52 else text[-3:] if status == 0 else "hangs")
    return " ".join(codes)


@row("R8", "PUT without the password", "refused",
     "Access has to be checked for every method, or it is not checked at all.")
def put_without(proxy):
    with Origin(answering()) as origin:
        text, status = proxy.curl("-X", "PUT", "-o", "/dev/null", "-w", "%{http_code}",
                                  origin.url, user=None)
        return "refused" if "407" in text else "let through" if status == 0 \
            else outcome(text, status)


@row("R7", "a wrong password", "407, asks again",
     "407 with a challenge makes a browser ask again; 403 ends it (RFC 9110 §15.5.8).")
def wrong_password(proxy):
    text, status = proxy.curl("-i", "http://127.0.0.1:1/", user="sam:wrong")
    code = re.match(r"HTTP/1\.. (\d+)", text)
    if not code:
        return outcome(text, status)
    asks = re.search(r"(?im)^proxy-authenticate:", text)
    return code[1] + (", asks again" if asks else "")


@row("R6", "the scheme in small letters", "let through",
     "The name of a scheme has no case (RFC 9110 §11.1).")
def scheme_case(proxy):
    with Origin(answering()) as origin:
        text, status = proxy.curl("-H", "Proxy-Authorization: " + BASIC.replace("B", "b", 1),
                                  "-o", "/dev/null", "-w", "%{http_code}", origin.url, user=None)
        return "let through" if text.startswith("200") else outcome(text, status)


@row("R11", "GET from a server that is not there", "502",
     "A status tells the client what happened; silence does not.")
def refused(proxy):
    text, status = proxy.curl("-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:1/")
    return text[:3] if status == 0 else outcome(text, status)


@row("R11", "GET / to the proxy itself", "a page that explains",
     "Somebody typed its address into a browser.")
def itself(proxy):
    with proxy.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nProxy-Authorization: "
                       + BASIC.encode() + b"\r\n\r\n")
        text = read_to_end(client).decode(errors="replace")
        if " 200 " in text.split("\n")[0]:
            return "a page that explains"
        return text.split("\r\n")[0].partition(" ")[2] if text else "empty reply"


@row("R20", "CONNECT to a server that is not there", "502",
     "Who says 200 before connecting cannot say 502 any more.")
def connect_refused(proxy):
    text, status = proxy.curl("-p", "http://127.0.0.1:1/")
    code = re.search(r"response (\d+)", text)
    return code[1] if code else "200, then " + outcome(text, status)


@row("R20", "how the 200 ends", "CR LF CR LF",
     "A head ends with CR LF CR LF; strict clients wait for it (RFC 9112 §2.2).")
def line_ends(proxy):
    with Origin(read_to_end) as origin, proxy.connect() as client:
        client.sendall(connect_head(origin.authority))
        data = b""
        try:
            while not data.endswith(b"\n\n") and b"\r\n\r\n" not in data:
                piece = client.recv(1)
                if not piece:
                    break
                data += piece
        except OSError:
            pass
        return "CR LF CR LF" if data.endswith(b"\r\n\r\n") else "LF LF" \
            if data.endswith(b"\n\n") else "none"


def connect_head(authority):
    return ("CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: %s\r\n\r\n"
            % (authority, authority, BASIC)).encode()


def open_tunnel(proxy, authority):
    """The client's end, behind the 200."""
    client = proxy.connect()
    client.sendall(connect_head(authority))
    data = b""
    while not data.endswith((b"\n\n", b"\r\n\r\n")):
        piece = client.recv(1)
        if not piece:
            raise ConnectionError("no tunnel")
        data += piece
    return client


@row("R22", "bytes sent together with CONNECT", "arrive",
     "They have been read already, and are the beginning of the tunnel.")
def early_bytes(proxy):
    with Origin(lambda connection: connection.recv(100)) as origin, proxy.connect() as client:
        client.sendall(connect_head(origin.authority) + b"early")
        return "arrive" if origin.result() == b"early" else "lost"


@row("R21", "CONNECT [::1]:port", "200", "The target may be an IPv6 address (RFC 9112 §3.2.3).")
def ipv6(proxy):
    with Origin(lambda connection: connection.sendall(b"!"), "::1") as origin:
        try:
            with open_tunnel(proxy, origin.authority) as client:
                return "200" if client.recv(1) == b"!" else "200, then nothing"
        except OSError:
            return "closes"


@row("R24", "32 MiB to a client that reads later", "the same bytes",
     "A send that does not fit must be finished, not forgotten.")
def slow_reader(proxy):
    data = os.urandom(1 << 20) * 32

    def serve(connection):
        connection.settimeout(30)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return True
    with Origin(serve) as origin:
        try:
            with open_tunnel(proxy, origin.authority) as client:
                time.sleep(3)  # all buffers on the way fill up
                digest, size = hashlib.sha256(), 0
                while piece := client.recv(1 << 16):
                    digest.update(piece)
                    size += len(piece)
        except OSError:
            return "breaks off"
        if digest.digest() == hashlib.sha256(data).digest():
            return "the same bytes"
        return "%d %% of them" % (100 * size // len(data)) if size < len(data) \
            else "other bytes"


@row("R25", "an answer after the client's FIN", "arrives",
     "A FIN ends one direction; the answer comes in the other.")
def half_close(proxy):
    def serve(connection):
        question = read_to_end(connection)
        time.sleep(0.3)  # the proxy has time to do the wrong thing
        connection.sendall(b"answer to " + question)
        connection.shutdown(socket.SHUT_WR)
    with Origin(serve) as origin:
        try:
            with open_tunnel(proxy, origin.authority) as client:
                client.sendall(b"question")
                client.shutdown(socket.SHUT_WR)
                return "arrives" if read_to_end(client) == b"answer to question" else "lost"
        except OSError:
            return "lost"


@row("R23", "processor, one idle tunnel, 1 s", "none",
     "Waiting is the kernel's work; a loop that asks all the time keeps a processor busy.")
def idle(proxy):
    with Origin(lambda connection: connection.recv(1)) as origin:
        with open_tunnel(proxy, origin.authority):
            before = proxy.processor_ticks()
            time.sleep(1)
            used = proxy.processor_ticks() - before
            return "none" if used <= 5 else "%d %%" % used


@row("R26", "what is shown of a browser's hello", "the server's name",
     "It has 1.9 KB, so it has to be put together from several reads first.")
def hello(proxy):
    with open(HERE + "/captures/tls13_chromium.client", "rb") as file:
        data = file.read(1500)
        rest = file.read(481)  # of the record that has the hello
    with Origin(read_to_end) as origin, open_tunnel(proxy, origin.authority) as client:
        client.sendall(data)
        time.sleep(0.2)  # so that they arrive as two
        client.sendall(rest)
        client.shutdown(socket.SHUT_WR)
        origin.result()
    return "the server's name" if re.search(
        r"SNI\): localhost|servername *= *(b?')?localhost", proxy.said()) else "nothing"


@row("R4", "a head of 100 KiB", "431", "A limit is an answer, and not a crash.")
def large_head(proxy):
    with proxy.connect() as client:
        try:
            client.sendall(b"GET http://127.0.0.1:1/ HTTP/1.1\r\nProxy-Authorization: "
                           + BASIC.encode() + b"\r\nX: " + b"x" * 100000 + b"\r\n\r\n")
        except OSError:
            pass
        line = read_to_end(client).split(b"\r\n")[0].decode("latin-1")
        return line.split(" ")[1] if " " in line else "closes"


@row("R2", "SIGINT while a tunnel is open", "ends at once",
     "It waits for every thread, and so for every tunnel.")
def stop(proxy):
    with Origin(lambda connection: connection.recv(1)) as origin:
        with open_tunnel(proxy, origin.authority):
            proxy.process.send_signal(signal.SIGINT)
            try:
                proxy.process.wait(timeout=2)
                return "ends at once"
            except subprocess.TimeoutExpired:
                return "hangs"


@row("R2", "start again right after that", "starts",
     "The tunnel's connection is in TIME-WAIT, which SO_REUSEADDR allows to ignore.")
def restart(proxy):
    if proxy.process.poll() is None:
        proxy.process.kill()
    proxy.process.wait()
    proxy.process = proxy.start()
    return "starts" if proxy.wait_until_listening(proxy.process) else "address in use"


# --- The table ------------------------------------------------------------------


def attempt(proxy, run):
    try:
        return run(proxy)
    except OSError as error:
        return "breaks off (%s)" % type(error).__name__


def python_for(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        needs_scapy = re.search(r"(?m)^(from|import) scapy", file.read())
    if not needs_scapy:
        return sys.executable
    subprocess.run([ROOT + "/.ci/need", "python3-scapy"], cwd=ROOT, check=True)
    found = subprocess.run([ROOT + "/.ci/python-with", "scapy"], cwd=ROOT, check=True,
                           capture_output=True, text=True)
    return found.stdout.strip()


def print_markdown(results, other):
    print("| what | ours | %s | |\n| --- | --- | --- | --- |" % other)
    for number, title, why, ours, theirs in results:
        marked = "" if ours == theirs else why
        print("| %s (%s) | %s | %s | %s |" % (
            title, number, ours, theirs if ours == theirs else "**%s**" % theirs, marked))


def print_text(results, other):
    print("%-40s %-20s %s" % ("", "ours", other))
    for number, title, why, ours, theirs in results:
        different = ours != theirs
        print("%s %-38s %-20s %s" % ("*" if different else " ", title, ours, theirs))
        if different:
            print(textwrap.fill("%s: %s" % (number, why), 96,
                                initial_indent="      ", subsequent_indent="      "))


def main():
    arguments = [word for word in sys.argv[1:] if word != "--markdown"]
    ours = free_port()
    proxies = [Proxy("ours", [
        ROOT + "/build/plain/forward_proxy", "--listen", "127.0.0.1:%d" % ours,
        "--user", USER, "--trace", "--connect-timeout", "3"], ours)]
    if arguments:
        path = os.path.abspath(arguments[0])
        proxies.append(Proxy(os.path.basename(path), [python_for(path), path], None))
    else:
        port = free_port()
        proxies.append(Proxy("Python", [
            sys.executable, ROOT + "/notes/forward-proxy.py", str(port), USER], port))
    results, bad = [], 0
    for number, title, right, why, run in ROWS:
        did = [attempt(proxy, run) for proxy in proxies]
        results.append((number, title, why, *did))
        if did[0] != right:
            bad += 1
            print("ours should do %r in %r, and does %r" % (right, title, did[0]),
                  file=sys.stderr)
    for proxy in proxies:
        proxy.close()
    show = print_markdown if "--markdown" in sys.argv else print_text
    show(results, proxies[1].name)
    same = sum(ours == theirs for *_, ours, theirs in results)
    print("\n%d experiments: %d alike, %d different; in none does ours do worse"
          % (len(results), same, len(results) - same) if not bad else
          "\nours did not do what is right in %d rows" % bad)
    print("%d passed, %d failed" % (len(results) - bad, bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

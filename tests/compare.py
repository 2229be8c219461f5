#!/usr/bin/env python3
"""make compare: the same experiments against our proxy and one in Python.

    tests/compare.py                            against notes/forward-proxy.py
    tests/compare.py path/to/forward-proxy.py   against that file, as it is
    tests/compare.py --markdown [FILE]          a Markdown table instead

A file of the user's own is started as it is, and used on the port that it
listens on.  If it asks for credentials it has to take sam:12345678, which every
request here carries.  Each row is one experiment, and says what each proxy did.  Where they
differ, the row has a star and a sentence that says why that matters; where the
experiment is one curl, its command follows, to be tried by hand.

Ends with status 1 if ours did not do what a row calls right, or the other one
did better.
"""

import contextlib
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

from lib import (HERE, PLAIN, ROOT, Server, becomes_true, cpu_seconds, dial, free_port,
                 is_listening, read_until, wait_for)

PATIENCE = 4  # seconds, for what should come
USER = "sam:12345678"
AUTHORIZATION = "Proxy-Authorization: Basic c2FtOjEyMzQ1Njc4"
CHINESE = '{"text": "你好。。。", "stream": true}'
BYTES = bytes(range(256)) * 100
BULK = os.urandom(1 << 20) * 32


# --- The proxies ----------------------------------------------------------------


class Proxy:
    """One process for all experiments, as its user would have it: not every
    proxy can be started again at once on the same port."""

    def __init__(self, name, command, port):
        self.name = name
        self.command = command
        self.port = port
        self.output = tempfile.TemporaryFile()
        self.start()
        if not self.is_ready():
            sys.exit("cannot start %s:\n%s" % (" ".join(command), self.said()))

    def start(self):
        self.process = subprocess.Popen(
            self.command, stdout=self.output, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"})

    def is_ready(self):
        """Whether it listens, once it does or has ended."""
        def is_decided():
            if self.process.poll() is not None:
                return True
            self.port = self.port or listening_port(self.process.pid)
            return self.port and is_listening(self.port)
        wait_for(is_decided, 30, "listening " + self.name)
        return self.process.poll() is None

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.output.close()

    def said(self):
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def connect(self, data):
        client = dial(self.port)
        client.settimeout(PATIENCE)
        try:
            client.sendall(data)
        except OSError:
            pass  # the answer says why
        return client


def listening_port(pid):
    """Of the first TCP socket on which the process listens; None so far."""
    links = [os.readlink("/proc/%d/fd/%s" % (pid, number))
             for number in os.listdir("/proc/%d/fd" % pid)]
    listening = "0A"
    for table in ("tcp", "tcp6"):
        with open("/proc/net/" + table, encoding="ascii") as file:
            for fields in map(str.split, file.readlines()[1:]):
                if fields[3] == listening and "socket:[%s]" % fields[9] in links:
                    return int(fields[1].rsplit(":", 1)[1], 16)
    return None


# --- What curl and the origin server see ------------------------------------------


def read_to_end(sock):
    """All up to an end of any kind."""
    data = b""
    try:
        while piece := sock.recv(1 << 16):
            data += piece
    except OSError:
        pass
    return data


def read_request(sock):
    """The head, and the body, whatever its framing; None if it stops short."""
    head = read_until(sock, b"\r\n\r\n").decode("latin-1")
    length = re.search(r"(?im)^content-length: *(\d+)", head)
    chunked = re.search(r"(?im)^transfer-encoding: *chunked", head)
    body = b""
    while (length and len(body) < int(length[1])
           or chunked and not body.endswith(b"0\r\n\r\n")):
        piece = sock.recv(65536)
        if not piece:
            return head, None
        body += piece
    return head, body


def answer(*lines, status="200 OK", body=""):
    return "\r\n".join(("HTTP/1.1 " + status, *lines, "Connection: close", "", body)).encode()


EMPTY = answer("Content-Length: 0")
OK = answer("Content-Length: 2", body="ok")


def answering(response):
    """In pieces: sendall() has one limit of time for all of it, and curl may read slowly."""
    def serve(sock):
        request = read_request(sock)
        for at in range(0, len(response), 1 << 16):
            sock.sendall(response[at:at + (1 << 16)])
        return request
    return serve


def serve_events(sock):
    request = read_request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    select.select([sock], [], [], 3)  # the stream goes on until curl leaves
    return request


def serve_after_100(sock):
    """What the client does that has sent Expect: 100-continue."""
    if b"100-continue" not in read_until(sock, b"\r\n\r\n"):
        return "the server is not asked"
    if select.select([sock], [], [], 0)[0]:
        return "the body comes unasked"
    sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    started = time.monotonic()
    sock.recv(65536)
    waited = time.monotonic() - started
    sock.sendall(EMPTY)
    return "the server decides" if waited < 3 else "the client gives up waiting"


class Seen:
    """What curl printed, standard error last, its exit status and the status code
    that it got; and what the origin server saw."""

    def __init__(self, proxy, server, arguments, user=USER, stdin=None):
        places = {"URL": server.url, "PROXY": "http://127.0.0.1:%d" % proxy.port}
        done = subprocess.run(
            ["curl", "-sS", "--max-time", str(PATIENCE), "-x", places["PROXY"], "--noproxy", "",
             "-w", "\n%{http_code}", *(["-U", user] if user else []),
             *[re.sub("^(URL|PROXY)", lambda found: places[found[1]], word)
               for word in arguments]], input=stdin, capture_output=True, check=False)
        self.server = server
        self.printed, _, code = done.stdout.rpartition(b"\n")
        self.text = (self.printed + done.stderr).decode(errors="replace")
        self.status, self.code = done.returncode, code.decode()

    def outcome(self):
        if self.status in (0, 28, 52):
            return {0: self.text, 28: "hangs", 52: "empty reply"}[self.status]
        failed = re.search(r"response (\d+)", self.text)
        return "curl: (%d)%s" % (self.status, " " + failed[1] if failed else "")

    def code_or_outcome(self):
        return self.code if self.status == 0 else self.outcome()

    def head(self):
        return (self.server.result() or ("", None))[0]

    def target(self):
        return self.head().split(" HTTP")[0].replace(self.server.url, "http://h") \
            or "nothing arrives"

    def arrived(self, body):
        request = self.server.result()
        return "arrives whole" if request and request[1] == body else self.outcome()

    def chunks_arrived(self):
        return "411, says why not" if self.code == "411" else \
            "arrives whole" if b"hello" in (self.server.result()[1] or b"") else self.outcome()

    def password(self):
        return "nothing arrives" if not self.head() else \
            "sent to the site" if "proxy-authorization" in self.head().lower() else "stays here"

    def cookies(self):
        return ", ".join(re.findall(r"(?im)^set-cookie: *(\S+)", self.text)) or self.outcome()

    def reason_and_servers(self):
        reason = re.match(r"HTTP/1\.. 200 (.*?)\r?\n", self.text)
        return "%s, %d" % (reason[1], len(re.findall(r"(?im)^server:", self.text))) \
            if reason else self.outcome()

    def event(self):
        return "each at once" if "data: 1" in self.text else \
            "all at the end" if self.head() else "nothing arrives"

    def refused(self):
        return "refused" if self.code == "407" else \
            "let through" if self.status == 0 else self.outcome()

    def challenge(self):
        asks = re.search(r"(?im)^proxy-authenticate:", self.text)
        return self.code + (", asks again" if asks else "") if self.status == 0 \
            else self.outcome()

    def own_page(self):
        line = self.text.split("\r\n")[0]
        return "a page that explains" if self.code == "200" else \
            line.partition(" ")[2] if line.startswith("HTTP/") else self.outcome()

    def connect_code(self):
        code = re.search(r"response (\d+)", self.text)
        return code[1] if code else "200, then " + self.outcome()

    def head_end(self):
        end = re.search(rb"\r\n\r\n|\n\n", self.printed)
        return {b"\r\n\r\n": "CR LF CR LF", b"\n\n": "LF LF"}[end[0]] if end else "none"

    def bulk(self):
        if self.printed == BULK:
            return "the same bytes"
        return "other bytes" if len(self.printed) == len(BULK) else \
            "%d %% of them" % (100 * len(self.printed) // len(BULK))


# --- Experiments with curl --------------------------------------------------------

ROWS = []  # title, what is right, why it matters, the curl command, run(proxy)


def row(title, right, why, command=""):
    def add(run):
        ROWS.append((title, right, why, command, run))
        return run
    return add


def command_line(arguments, user):
    """For people: URL and PROXY are written as a server and a proxy of theirs."""
    words = [re.sub("^URL", "http://127.0.0.1:8080", word).replace("PROXY", "http://127.0.0.1:3128")
             for word in arguments]
    words = [word if len(word) < 200 else word[:3] + "..." for word in words]
    to_proxy = ["-x", "127.0.0.1:3128", *(["-U", user] if user else [])]
    return shlex.join(["curl", *([] if "-x" in arguments else to_proxy), *words])


def curl(title, right, why, arguments, says, response=OK, serve=None,
         host="127.0.0.1", **how):
    """A row that is one curl: what `says` of Seen gives is compared with `right`."""
    @row(title, right, why, command_line(arguments, how.get("user", USER)))
    def _(proxy):
        with Server(serve or answering(response), host, seconds=PATIENCE) as server:
            return says(Seen(proxy, server, arguments, **how))


curl("GET /a?x=1", "GET /a?x=1", "A query that is dropped asks for another page.",
     ["URL/a?x=1"], Seen.target)
curl("POST, what the server is asked for", "POST /a",
     "An origin server is asked for a path; the whole URL is for proxies (RFC 9112 §3.2).",
     ["-d", "x=1", "URL/a"], Seen.target)
curl("POST of Chinese text", "arrives whole",
     "A body is bytes: read as text and written in another code, it is lost.",
     ["-d", CHINESE, "URL"], lambda seen: seen.arrived(CHINESE.encode()))
curl("POST of bytes that are no text", "arrives whole",
     "Printing a body must not decide whether it is sent on.",
     ["--data-binary", "@-", "URL"], lambda seen: seen.arrived(BYTES), stdin=BYTES)
curl("upload in chunks", "arrives whole",
     "A client that does not know the length beforehand sends chunks (RFC 9112 §7.1).",
     ["-H", "Transfer-Encoding: chunked", "-d", "hello", "URL"], Seen.chunks_arrived)
curl("Expect: 100-continue", "the server decides",
     "The client holds its body back until the server has agreed (RFC 9110 §10.1.1).",
     ["-H", "Expect: 100-continue", "--expect100-timeout", "3.5", "-d", "hello", "URL"],
     lambda seen: seen.server.result() or seen.outcome(), serve=serve_after_100)
curl("the password for the proxy", "stays here",
     "Every site would learn the password (RFC 9110 §11.7.2).", ["URL"], Seen.password)
curl("two Set-Cookie lines", "a=1, b=2", "Each line is a cookie; the second is lost.",
     ["-i", "URL"], Seen.cookies, answer("Set-Cookie: a=1", "Set-Cookie: b=2", "Content-Length: 0"))
curl("reason phrase, and Server lines", "Fine, 1",
     "A proxy that writes its own response head changes the server's.", ["-i", "URL"],
     Seen.reason_and_servers, answer("Server: origin", "Content-Length: 0", status="200 Fine"))
curl("a response in chunks", "hello",
     "Taking the chunks off, and leaving the line that announces them, breaks the body.",
     ["URL"], Seen.outcome, answer("Transfer-Encoding: chunked", body="5\r\nhello\r\n0\r\n\r\n"))
curl("a stream of events", "each at once",
     "Who reads the whole response first turns a stream into one lump at the end.",
     ["--max-time", "2", "-N", "URL"], Seen.event, serve=serve_events)
curl("103 before the 200", "200", "The final response is the one that counts.", ["URL"],
     Seen.code_or_outcome, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + EMPTY)


@row("PUT, DELETE, HEAD, OPTIONS, PATCH", "200 200 200 200 200",
     "A proxy forwards any method, also one that it does not know.")
def methods(proxy):
    codes = []
    for option in ("-XPUT", "-XDELETE", "-I", "-XOPTIONS", "-XPATCH"):
        with Server(answering(EMPTY), seconds=PATIENCE) as server:
            seen = Seen(proxy, server, [option, "URL"])
            codes.append({0: seen.code, 52: "empty"}.get(seen.status, "hangs"))
    return " ".join(codes)


curl("PUT without the password", "refused",
     "Access has to be checked for every method, or it is not checked at all.",
     ["-X", "PUT", "URL"], Seen.refused, user=None)
curl("a wrong password", "407, asks again",
     "407 with a challenge makes a browser ask again; 403 ends it (RFC 9110 §15.5.8).",
     ["-i", "http://127.0.0.1:1/"], Seen.challenge, user="sam:wrong")
curl("the scheme in small letters", "let through",
     "The name of a scheme has no case (RFC 9110 §11.1).",
     ["-H", AUTHORIZATION.replace("Basic", "basic"), "URL"],
     lambda seen: "let through" if seen.code == "200" else seen.outcome(), user=None)
curl("GET from a server that is not there", "502",
     "A status tells the client what happened; silence does not.",
     ["http://127.0.0.1:1/"], Seen.code_or_outcome)
curl("GET / to the proxy itself", "a page that explains",
     "A user typed its address into a browser.",
     ["-i", "-H", AUTHORIZATION, "-x", "", "PROXY/"], Seen.own_page)
curl("CONNECT to a server that is not there", "502",
     "A proxy that says 200 before it connects cannot say 502 any more.",
     ["-p", "http://127.0.0.1:1/"], Seen.connect_code)
curl("how the 200 ends", "CR LF CR LF",
     "A head ends with CR LF CR LF; strict clients wait for it (RFC 9112 §2.2).",
     ["-i", "-p", "URL"], Seen.head_end)


# --- Others -----------------------------------------------------------------------


def connect_head(authority):
    return ("CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n"
            % (authority, authority, AUTHORIZATION)).encode()


@contextlib.contextmanager
def tunnel(proxy, serve):
    """The client's end, after the 200, however that ends; and the server."""
    with Server(serve, seconds=PATIENCE) as server:
        with proxy.connect(connect_head(server.authority)) as client:
            head = b""
            while not head.endswith((b"\n\n", b"\r\n\r\n")):
                byte = client.recv(1)
                if not byte:
                    raise ConnectionError("no tunnel")
                head += byte
            yield client, server


@row("bytes sent together with CONNECT", "arrive",
     "They have been read already, and are the beginning of the tunnel.")
def early_bytes(proxy):
    with Server(lambda sock: sock.recv(100), seconds=PATIENCE) as server, \
            proxy.connect(connect_head(server.authority) + b"early"):
        return "arrive" if server.result() == b"early" else "lost"


curl("CONNECT [::1]:port", "200", "The target may be an IPv6 address (RFC 9112 §3.2.3).",
     ["-p", "URL"], Seen.code_or_outcome, host="::1")
curl("32 MiB to a client that reads later", "the same bytes",
     "A send that does not fit must be finished, not forgotten.",
     ["--max-time", "30", "--limit-rate", "12M", "-p", "URL"], Seen.bulk,
     b"HTTP/1.0 200 OK\r\n\r\n" + BULK)


@row("an answer after the client's FIN", "arrives",
     "A FIN ends one direction; the answer comes in the other.")
def half_close(proxy):
    def serve(sock):
        question = read_to_end(sock)
        time.sleep(0.3)  # the proxy has time to do the wrong thing
        sock.sendall(b"answer to " + question)
    try:
        with tunnel(proxy, serve) as (client, _):
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            return "arrives" if read_to_end(client) == b"answer to question" else "lost"
    except OSError:
        return "lost"


@row("processor, one idle tunnel, 1 s", "none",
     "Waiting is the kernel's work; a loop that asks all the time keeps a processor busy.")
def idle(proxy):
    with tunnel(proxy, read_to_end):
        before = cpu_seconds(proxy.process.pid)
        time.sleep(1)
        used = cpu_seconds(proxy.process.pid) - before
        return "none" if used <= 0.05 else "%.0f %%" % (100 * used)


@row("what is shown of a browser's hello", "the server's name",
     "It has 1.9 KB, so it has to be put together from several reads first.")
def hello(proxy):
    with open(HERE + "/captures/tls13_chromium.client", "rb") as file:
        data = file.read(1500)
        rest = file.read(481)  # of the record that has the hello
    with tunnel(proxy, read_to_end) as (client, server):
        client.sendall(data)
        time.sleep(0.2)  # so that they arrive as two
        client.sendall(rest)
        client.shutdown(socket.SHUT_WR)
        server.result()
    name = r"SNI\): localhost|servername *= *(b?')?localhost"
    return "the server's name" if becomes_true(lambda: re.search(name, proxy.said()), 1) \
        else "nothing"


curl("a head of 100 KiB", "431", "A limit is an answer, and not a crash.",
     ["-H", "X: " + "x" * 100000, "http://127.0.0.1:1/"],
     lambda seen: "closes" if seen.code == "000" else seen.code)


@row("SIGINT while a tunnel is open", "ends at once",
     "It waits for every thread, and so for every tunnel.")
def stop(proxy):
    with tunnel(proxy, read_to_end):
        proxy.process.send_signal(signal.SIGINT)
        return "ends at once" if becomes_true(
            lambda: proxy.process.poll() is not None, 2) else "hangs"


@row("start again right after that", "starts",
     "The tunnel's connection is in TIME-WAIT, which SO_REUSEADDR allows to ignore.")
def restart(proxy):
    proxy.process.kill()
    proxy.process.wait()
    proxy.start()
    return "starts" if proxy.is_ready() else "address in use"


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
    subprocess.run([ROOT + "/.ci/need", "scapy"], cwd=ROOT, check=True)
    found = subprocess.run([ROOT + "/.ci/python-with", "scapy"], cwd=ROOT, check=True,
                           capture_output=True, text=True)
    return found.stdout.strip()


def print_markdown(results, other):
    print("| what | ours | %s | |\n| --- | --- | --- | --- |" % other)
    for title, why, _, ours, theirs in results:
        marked = "" if ours == theirs else why
        print("| %s | %s | %s | %s |" % (
            title, ours, theirs if ours == theirs else "**%s**" % theirs, marked))


def print_text(results, other):
    print("%-40s %-20s %s" % ("", "ours", other))
    for title, why, command, ours, theirs in results:
        different = ours != theirs
        print("%s %-38s %-20s %s" % ("*" if different else " ", title, ours, theirs))
        if different:
            print(textwrap.fill(why, 96, initial_indent="      ", subsequent_indent="      "))
        if different and command:
            print("      $ " + command)
    print("\n* they differ: why it matters, and a command that shows it with the proxy on port\n"
          "  3128 (--user %s) and an origin server on 8080" % USER)


def main():
    arguments = [word for word in sys.argv[1:] if word != "--markdown"]
    ours = free_port()
    proxies = [Proxy("ours", [
        PLAIN, "--listen", "127.0.0.1:%d" % ours,
        "--user", USER, "--trace", "--connect-timeout", "3"], ours)]
    if arguments:
        path = os.path.abspath(arguments[0])
        proxies.append(Proxy(os.path.basename(path), [python_for(path), path], None))
    else:
        port = free_port()
        proxies.append(Proxy("Python", [
            sys.executable, ROOT + "/notes/forward-proxy.py", str(port), USER], port))
    results, bad = [], 0
    for title, right, why, command, run in ROWS:
        did = [attempt(proxy, run) for proxy in proxies]
        results.append((title, why, command, *did))
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

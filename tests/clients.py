#!/usr/bin/env python3
"""Real clients through the proxy, each told to use it in its own way.

    tests/clients.py [NAME...]      all of CLIENTS, or these

For each: what it got has to be right, and the proxy has to have seen what the
lesson on real clients says.
"""
import base64
import hashlib
import http.server
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading

from lib import PLAIN, ROOT, Proxy, make_certificate, wait_for

DEADLINE = 60  # seconds, for whatever is waited for

PAGE = """<!doctype html><title>clients</title><script>
const seen = {};
const say = (what, result) => {
  seen[what] = result;
  if (Object.keys(seen).length == 3)
    fetch("/report", {method: "POST", body: JSON.stringify(seen)});
};
fetch("HTTPS/hello").then(r => r.text()).then(t => say("https", t), e => say("https", "" + e));
let lines = [];
const events = new EventSource("/events");
events.onmessage = e => {
  lines.push(e.data);
  if (lines.length == 3) { events.close(); say("events", lines.join()); }
};
const ws = new WebSocket("WS");
ws.onmessage = e => { ws.close(); say("websocket", e.data); };
ws.onerror = e => say("websocket", "error");
</script>"""


# --- What they talk to ----------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/hello":
            self.answer(b"hello, over " + (b"https" if self.server.secure else b"http"))
        elif self.path == "/page":
            self.answer(self.server.page.encode(), "text/html")
        elif self.path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for n in (1, 2, 3):
                self.wfile.write(b"data: %d\n\n" % n)
            self.close_connection = True
        elif self.path == "/websocket":
            self.websocket()
        else:
            super().do_GET()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.report = json.loads(body)
        self.answer(b"thank you")
        self.server.reported.set()

    def answer(self, body, kind="text/plain"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def websocket(self):
        """RFC 6455, as far as one text frame from the server."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.wfile.write(b"\x81\x0chello, frame")
        self.rfile.read(1)  # the client's close
        self.close_connection = True

    def log_message(self, *_):
        pass


def serve(folder, certificate=None):
    def handler(*arguments):
        return Handler(*arguments, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.secure = certificate is not None
    server.handle_error = lambda *_: None  # clients may break off
    server.reported = threading.Event()
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, os.path.join(folder, "key.pem"))
        server.socket = context.wrap_socket(server.socket, server_side=True,
                                            do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class World:
    """The servers, a folder, and the proxy of one client."""

    def __init__(self, folder):
        self.folder = folder
        self.certificate = make_certificate(folder)
        self.plain = serve(folder)
        self.secure = serve(folder, self.certificate)
        self.http = "http://localhost:%d" % self.plain.server_port
        self.https = "https://localhost:%d" % self.secure.server_port
        self.plain.page = (PAGE.replace("HTTPS", self.https)
                           .replace("WS", self.http.replace("http", "ws") + "/websocket"))

    def start_proxy(self):
        self.proxy = Proxy(PLAIN)
        self.proxy_url = "http://127.0.0.1:%d" % self.proxy.port

    def stop_proxy(self):
        """Everything that it has logged."""
        self.proxy.stop()
        log = self.proxy.output().decode()
        self.proxy.close()
        return log

    def run(self, *command, **environment):
        done = subprocess.run(
            command, cwd=self.folder, timeout=DEADLINE, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "no_proxy": "", "NO_PROXY": "", **environment})
        return done.stdout


def want(condition, words):
    if not condition:
        raise AssertionError(words)


# --- The clients ----------------------------------------------------------------


def wget(world):
    for url in (world.http, world.https):
        got = world.run("wget", "-qO-", "--ca-certificate", world.certificate, url + "/hello",
                        http_proxy=world.proxy_url, https_proxy=world.proxy_url)
        want(got.startswith("hello"), got)
    return ['"GET http://localhost', '"CONNECT localhost']


def git(world):
    source = os.path.join(world.folder, "source")
    world.run("git", "init", "-q", source)
    for command in (["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q",
                     "--allow-empty", "-m", "hello from git"], ["update-server-info"]):
        world.run("git", "-C", source, *command)
    for n, url in enumerate((world.http, world.https)):
        clone = os.path.join(world.folder, "clone%d" % n)
        said = world.run("git", "-c", "http.proxy=" + world.proxy_url, "clone", "-q",
                         url + "/source/.git", clone, GIT_SSL_CAINFO=world.certificate)
        want("hello from git" in world.run("git", "-C", clone, "log", "-1", "--format=%s"),
             said)
    return ['"GET http://localhost', '"CONNECT localhost']


def apt(world):
    """Serves apt an unsigned repository with one package list."""
    with open(os.path.join(world.folder, "Packages"), "w", encoding="ascii") as file:
        file.write("Package: hello-from-apt\nVersion: 1\nArchitecture: all\n"
                   "Filename: hello.deb\nSize: 1\nMD5sum: %s\n\n" % ("0" * 32))
    state = os.path.join(world.folder, "apt")
    os.makedirs(state + "/lists/partial")
    os.makedirs(state + "/archives/partial")
    with open(state + "/sources", "w", encoding="ascii") as file:
        file.write("deb [trusted=yes] %s/ ./\n" % world.http)
    options = ["-o", "Dir::Etc::sourcelist=" + state + "/sources", "-o",
               "Dir::Etc::sourceparts=-", "-o", "Dir::State::lists=" + state + "/lists",
               "-o", "Dir::Cache=" + state, "-o", "APT::Sandbox::User=root",
               "-o", "Debug::NoLocking=true"]
    said = world.run("apt-get", *options, "-o", "Acquire::http::Proxy=" + world.proxy_url,
                     "update")
    found = world.run("apt-cache", *options, "show", "hello-from-apt")
    want("Version: 1" in found, said + found)
    return ['"GET http://localhost']


def requests(world):
    program = ("import requests, sys\n"
               "for url in sys.argv[1:]:\n"
               "    print(requests.get(url + '/hello', verify='cert.pem').text)\n")
    python = subprocess.run([ROOT + "/.ci/python-with", "requests"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.strip()
    got = world.run(python, "-c", program, world.http, world.https,
                    HTTP_PROXY=world.proxy_url, HTTPS_PROXY=world.proxy_url,
                    http_proxy=world.proxy_url, https_proxy=world.proxy_url)
    want(got.split("\n")[:2] == ["hello, over http", "hello, over https"], got)
    return ['"GET http://localhost', '"CONNECT localhost']


NODE = """
const http = require("http"), https = require("https"), fs = require("fs");
const [proxy, plain, secure] = process.argv.slice(1).map(u => new URL(u));
const print = response => response.on("data", data => process.stdout.write(data + "\\n"));
http.get({host: proxy.hostname, port: proxy.port, path: plain + "hello"}, print);
http.request({host: proxy.hostname, port: proxy.port, method: "CONNECT", path: secure.host})
  .on("connect", (response, socket) => https.get(
    {socket, agent: false, servername: "localhost", path: "/hello",
     ca: fs.readFileSync("cert.pem")}, print))
  .end();
"""


def node(world):
    got = world.run("node", "-e", NODE, "--", world.proxy_url, world.http, world.https)
    want(set(got.split("\n")) >= {"hello, over http", "hello, over https"}, got)
    return ['"GET http://localhost', '"CONNECT localhost']


def start_chromium(world, url, *options):
    return subprocess.Popen(
        [shutil.which("chromium") or shutil.which("chromium-browser") or "google-chrome",
         "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--user-data-dir=" + os.path.join(world.folder, "profile%d" % len(options)),
         "--proxy-server=" + world.proxy_url, "--proxy-bypass-list=<-loopback>",
         "--remote-debugging-port=0", *options, url],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end(process):
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def chromium(world):
    """A page, https from it, an event stream and a WebSocket."""
    world.plain.reported.clear()
    browser = start_chromium(world, world.http + "/page", "--ignore-certificate-errors")
    try:
        want(world.plain.reported.wait(DEADLINE), "the page did not report")
    finally:
        end(browser)
    want(world.plain.report == {"https": "hello, over https", "events": "1,2,3",
                                "websocket": "hello, frame"}, str(world.plain.report))
    return ['"GET http://localhost:%d/page"' % world.plain.server_port,
            '"GET http://localhost:%d/events"' % world.plain.server_port,
            '"CONNECT localhost:%d"' % world.secure.server_port,
            '"CONNECT localhost:%d"' % world.plain.server_port]


def chromium_refuses(world):
    """A certificate that it does not know: the proxy says so in its log."""
    browser = start_chromium(world, world.https + "/hello")
    try:
        wait_for(lambda: "the client refused the server's certificate"
                 in world.proxy.output().decode(), DEADLINE, "verdict in the log")
    finally:
        end(browser)
    world.proxy.stop()
    log = world.proxy.output().decode()
    want(re.search(r"-> (inferred|seen): the client refused", log), log)
    return []


CLIENTS = [wget, git, apt, requests, node, chromium, chromium_refuses]


def main():
    names = sys.argv[1:] or [client.__name__ for client in CLIENTS]
    passed = failed = 0
    for client in CLIENTS:
        if client.__name__ not in names:
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            world = World(folder)
            world.start_proxy()
            problem = None
            try:
                expected = client(world)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                problem, expected = str(error), []
            log = world.stop_proxy()
            missing = [words for words in expected if words not in log]
            if missing:
                problem = "the proxy did not see %s, but\n%s" % (missing, log)
            print("%-18s %s" % (client.__name__, problem or "works, and was seen"), flush=True)
            passed, failed = passed + (not problem), failed + bool(problem)
            for server in (world.plain, world.secure):
                server.shutdown()
                server.server_close()
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

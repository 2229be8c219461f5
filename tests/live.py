#!/usr/bin/env python3
"""The live page (--live) in a real browser, with real clients.

    tests/live.py [NAME...]     all tests, or these
    tests/live.py --picture     makes notes/live.png, the README's picture, anew

Needs build/plain/forward_proxy, chromium, chromedriver, curl and openssl.  Each
drawing is looked for in the page by its role and its text.  Screenshots go to
build/live/.  Starts itself again in a new network namespace, where the ports of
notes/origin.py are free.
"""
import contextlib
import glob

import json
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import xml.dom.minidom

import lib
from lib import Server
from webdriver import Browser

ROOT = os.path.dirname(lib.HERE)
SHOTS = os.path.join(ROOT, "build", "live")
PAGE_FILE = "file://" + os.path.join(ROOT, "support/log/live.html")
WAIT = 30  # seconds, for whatever the page has to show


# --- What runs ------------------------------------------------------------------

def response(body, status="200 OK", fields=""):
    return ("HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), fields)).encode() + body


def read_head(peer):
    return lib.read_until(peer, b"\r\n\r\n")


def answer(peer):
    if read_head(peer):
        peer.sendall(response(b"hello"))


class World:
    """The proxy, the lessons' origin server, and a browser that watches."""

    def __init__(self):
        self.origin = subprocess.Popen([sys.executable, ROOT + "/notes/origin.py"],
                                       stdout=subprocess.PIPE, text=True)
        self.origin.stdout.readline()
        self.browser = Browser()
        self.proxy = None

    def start(self, *options):
        """A new proxy, and its page in the browser."""
        self.stop()
        self.proxy = lib.Proxy(lib.PLAIN, "--live", *options)
        self.url = "http://127.0.0.1:%d/" % self.proxy.port
        self.browser.open(self.url)
        self.until("return document.getElementById('state').textContent.startsWith('live')",
                   what="page that is live")

    def stop(self):
        if self.proxy:
            self.proxy.close()
            self.proxy = None

    def close(self):
        self.stop()
        self.browser.close()
        self.origin.terminate()
        self.origin.wait()
        self.origin.stdout.close()

    def curl(self, *arguments):
        return subprocess.run(
            ["curl", "-s", "-x", "127.0.0.1:%d" % self.proxy.port, *arguments],
            stdout=subprocess.PIPE, timeout=60, check=False).stdout

    def connect(self, target, more=b""):
        """A tunnel of our own."""
        client = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=WAIT)
        client.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target)).encode() + more)
        return client

    def watch(self):
        """A watcher that is no browser."""
        client = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=WAIT)
        client.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return client

    def until(self, script, *arguments, what=None):
        return lib.wait_for(lambda: self.browser.run(script, *arguments), WAIT, what or script)

    def drawn(self, role, text, selector="*"):
        """Waits for a part of the drawing by role and label; what `selector` finds in
        it, as [tag, class, text]."""
        return self.until("""
            for (const n of document.querySelectorAll('#stage [role]'))
              if (n.getAttribute('role') === arguments[0] && (n.getAttribute('aria-label') || n.textContent).includes(arguments[1]))
                return [...n.querySelectorAll(arguments[2])].map(
                  m => [m.tagName, m.getAttribute('class') || '', m.textContent]);
            return null;""", role, text, selector, what="%s %r in the drawing" % (role, text))

    def listed(self, text, as_class=None):
        """Waits for an entry of the list, with that class if one is named."""
        self.until("""
            for (const n of document.querySelectorAll('#list [role=option]'))
              if (n.textContent.includes(arguments[0]))
                return arguments[1] === null || n.className === arguments[1];
            return false;""", text, as_class, what="%r in the list, of class %r" % (text, as_class))

    def labels(self):
        return self.browser.run("return [...document.querySelectorAll('#stage [aria-label]')]"
                                ".map(n => n.getAttribute('aria-label'))")

    def click(self, selector):
        self.browser.run("document.querySelector(arguments[0])"
                         ".dispatchEvent(new MouseEvent('click', {bubbles: true}))", selector)

    def shot(self, name):
        """Once nothing moves any more."""
        self.until("return document.getAnimations().every(a => a.playState === 'finished')")
        self.browser.screenshot(os.path.join(SHOTS, name + ".png"))

    def load(self, path):
        """Drops a file on the page."""
        with open(path, encoding="utf-8") as file:
            self.browser.run("""
                const data = new DataTransfer();
                data.items.add(new File([arguments[0]], arguments[1], {type: 'application/json'}));
                document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
                """, file.read(), os.path.basename(path))


def want(condition, words):
    if not condition:
        raise AssertionError(words)


def classes(parts):
    return " ".join(part[1] for part in parts)


# --- What is drawn ----------------------------------------------------------------

def relay(world):
    """Two hops each way, and what the proxy changed, with the reasons."""
    world.start()
    world.curl("http://127.0.0.1:8080/a?x=1")
    for label in ("client → proxy: GET http://127.0.0.1:8080/a?x=1", "proxy → server: GET /a?x=1",
                  "server → proxy: 200 OK", "proxy → client: 200 OK"):
        parts = world.drawn("button", label)
        want(any(part[0] == "polygon" for part in parts), "no arrow head for " + label)
    changes = world.drawn("img", "removed Proxy-Connection: Keep-Alive", "text")
    want(["text", "bad gone", "Proxy-Connection: Keep-Alive"] in changes, changes)
    want(any(part[1] == "proxy" and part[2].startswith("Via: 1.1") for part in changes), changes)
    want(any("RFC 9110 §7.6.1" in part[2] for part in changes), "no reason in %r" % changes)
    want(any("RFC 9110 §7.6.3" in part[2] for part in changes), "no reason in %r" % changes)
    world.listed("GET http://127.0.0.1:8080/a?x=1", "")  # it did not fail
    world.listed("200 · relayed")
    world.until("""return document.querySelectorAll('#list li').length === 1
                   && document.getElementById('state').textContent.endsWith('1 connection')""",
                what="as many connections in the last line as in the list")
    world.shot("relay")
    world.browser.run("document.getElementById('main').scrollTop = 0")
    world.shot("relay-top")


def second_hop(world):
    """Dashed while connecting, solid when connected: a server whose queue is full."""
    world.start("--connect-timeout", "60")  # Linux tries again after 1, 3, 7 and 15 s
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    waiting = []
    for _ in range(10):  # until its queue is full
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(server.getsockname())
        waiting.append(client)
    tunnel = world.connect("127.0.0.1:%d" % server.getsockname()[1])
    parts = world.drawn("img", "proxy → server: connecting to 127.0.0.1:%d" % server.getsockname()[1])
    want("dashed" in classes(parts), parts)
    world.listed("under way")
    world.shot("connecting")
    accepted = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                accepted.append(server.accept())
    threading.Thread(target=accept, daemon=True).start()
    parts = world.drawn("img", "proxy → server: connected")
    want("dashed" not in classes(parts), parts)
    for each in [tunnel, *waiting]:
        each.close()
    server.close()


def tunnel(world):
    """A pipe with SNI and ALPN; records in clear and sealed; what the hello says."""
    world.start()
    world.curl("--cacert", "build/origin/cert.pem", "https://localhost:8443/")
    parts = world.drawn("img", "tunnel · SNI localhost · ALPN h2, http/1.1")
    want("pipe" in classes(parts) and "wall" in classes(parts), parts)
    clear = world.drawn("button", "ClientHello · ")
    want("clear" in classes(clear) and "in clear" in clear[-1][2] + str(clear), clear)
    world.drawn("button", "ServerHello TLS 1.3")
    sealed = world.drawn("img", "sealed 17 03 03 ")
    want("sealed" in classes(sealed), sealed)
    want(any(re.fullmatch(r"17 03 03( [0-9a-f]{2}){6} …", part[2]) for part in sealed), sealed)
    world.drawn("img", "FIN: the")
    for lane in ("client → server", "server → client"):
        lib.wait_for(lambda lane=lane: any(re.fullmatch(lane + r": [\d,]+ B · closed by FIN", label)
                                           for label in world.labels()), WAIT, "closed lane " + lane)
    world.shot("tunnel")
    world.browser.run("document.getElementById('main').scrollTop = 0")
    world.shot("tunnel-top")
    world.click("#stage g[aria-label^=ClientHello]")
    lines = [part[2].strip() for part in world.drawn("note", "ClientHello:", "text")]
    want("sni: localhost" in lines and any(line.startswith("versions: TLS 1.3") for line in lines),
         lines)
    world.shot("hello")
    world.listed("tunnel · ")


def hello_bytes(name="localhost"):
    """A ClientHello of this machine's OpenSSL, with any bytes as its server name."""
    placeholder = "a" * len(name)
    out = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    connection = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=placeholder)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return out.read().replace(placeholder.encode(), name.encode("latin-1"))


def tls_server(serve):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    folder = os.path.join(ROOT, "build/origin/")
    context.load_cert_chain(folder + "cert.pem", folder + "key.pem")

    def wrap(peer):
        with context.wrap_socket(peer, server_side=True) as secure:
            serve(secure)
    return Server(wrap)


def bulk(world):
    """One bar, and counters that run while the tunnel is open."""
    world.start()
    go_on, leave = threading.Event(), threading.Event()

    def serve(secure):
        read_head(secure)
        secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n")
        secure.sendall(bytes(1000000))
        go_on.wait(WAIT)
        secure.sendall(bytes(7000000))
        leave.wait(WAIT)
    server = tls_server(serve)
    client = subprocess.Popen(
        ["curl", "-s", "-x", "127.0.0.1:%d" % world.proxy.port, "-k", "-o", "/dev/null",
         "https://localhost:%d/" % server.port])
    world.drawn("img", "bulk · server to client · 1,0")
    world.drawn("img", "server → client: 1,0")
    world.listed("tunnel open · ", "open")  # it has its own edge
    go_on.set()
    world.drawn("img", "bulk · server to client · 8,0")
    parts = world.drawn("img", "bulk · server to client", "rect")
    want("sealed" in classes(parts), parts)
    sealed = [label for label in world.labels() if " sealed 17 03 03" in label]
    want(len(sealed) < 40, "%d records are drawn beside the bar" % len(sealed))
    world.shot("bulk")
    leave.set()
    client.wait(WAIT)
    server.close()


def half_close(world):
    """A FIN closes one lane, and the other stays open."""
    world.start()
    may_answer = threading.Event()

    def serve(peer):
        while peer.recv(65536):
            pass
        may_answer.wait(WAIT)
        peer.sendall(b"last words")
    server = Server(serve)
    client = world.connect(server.authority, b"hello")
    read_head(client)
    client.shutdown(socket.SHUT_WR)
    parts = world.drawn("img", "FIN: the client has finished sending")
    want("client" in classes(parts), parts)
    half = world.drawn("img", "half-closed: only server to client is open")
    want("half" in classes(half), half)
    up = world.drawn("img", "client → server: 5 B · closed by FIN", "line")
    want("dashed" in classes(up) and len(up) == 2, "the lane ends in a bar: %r" % up)
    down = world.drawn("img", "server → client: 0 B · open", "polygon")
    want(len(down) == 1, "the other lane is an arrow: %r" % down)
    world.drawn("img", "bytes that are not TLS")
    world.shot("half-close")
    may_answer.set()
    want(client.recv(100) == b"last words", "the answer")
    world.drawn("img", "server → client: 10 B · closed by FIN")
    hexes = [label for label in world.labels() if "68 65 6c" in label]
    want(not hexes, "bytes of a tunnel that is not TLS are shown: %r" % hexes)
    client.close()
    server.close()


def reset(world):
    """A zigzag where the RST came from, and a guess that says that it is one."""
    world.start()
    world.curl("https://localhost:8445/")
    parts = world.drawn("img", "RST from the server")
    want(any(part[0] == "polyline" and part[1] == "bad" for part in parts), parts)
    panel = world.drawn("alert", "Reset right after the ClientHello", "text")
    want(any("curl -v" in part[2] for part in panel), panel)
    badge = world.drawn("img", "INFERRED", "rect")
    want(classes(badge) == "inferred", badge)
    dash = world.browser.run("return getComputedStyle(document.querySelector('rect.inferred')).strokeDasharray")
    want(dash not in ("none", ""), "the badge is not dashed: " + dash)
    cross = world.drawn("img", "failed: proxy – server", "path")
    want("cross" in classes(cross), cross)
    world.listed("INFERRED: reset right after", "failed")  # which is red
    world.shot("reset")
    # One in the middle of a relayed body:
    def cut(peer):
        read_head(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server = Server(cut)
    world.curl("http://%s/cut" % server.authority)
    world.drawn("button", "GET http://%s/cut" % server.authority)
    parts = world.drawn("img", "RST from the server")
    want(any(part[0] == "polyline" for part in parts), parts)
    world.listed("/cut", "failed")
    world.shot("cut")
    server.close()
    # One by the client, in a tunnel without TLS:
    server = Server(lambda peer: peer.recv(100))
    client = world.connect(server.authority, b"hello")
    read_head(client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    world.drawn("img", "RST from the client")
    server.close()


def certificate(world):
    """What was seen has a solid badge."""
    world.start()
    world.curl("https://localhost:8443/")
    world.drawn("alert", "The client refused the server's certificate")
    badge = world.drawn("img", "SEEN", "rect")
    want(classes(badge) == "seen", badge)
    world.drawn("button", "alert unknown_ca (48)")
    world.drawn("img", "failed: proxy – client", "path")
    world.listed("SEEN: the client refused", "failed")
    world.shot("certificate")


def failure(world):
    """Reason, advice, a command; whatever the target holds, a shell reads it as one word."""
    world.start()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    world.curl("http://127.0.0.1:%d/it's$(touch%%20x)`y`;z" % port)
    parts = world.drawn("alert", "502 Connection Refused", "text")
    texts = [part[2] for part in parts]
    want(parts[0][1].startswith("large"), "the reason is not large: %r" % parts[0])
    want(any("nothing listens on that port" in text for text in texts), texts)
    command = "".join(texts[texts.index("look further:") + 1:])
    words = subprocess.run(["bash", "-c", "printf '%s\\n' " + command[5:]], check=True,
                           capture_output=True, text=True).stdout.split("\n")[:-1]
    want(words[-1] == "http://127.0.0.1:%d/it's$(touch%%20x)`y`;z" % port, words)
    want(len(words) == 4 and words[2] == "*", "words of the command: %r" % words)
    cross = world.drawn("img", "failed: proxy – server", "path")
    want("cross" in classes(cross), cross)
    world.listed("502 Connection Refused", "failed")
    world.shot("failure")
    client = socket.create_connection(("127.0.0.1", world.proxy.port), timeout=WAIT)
    client.sendall(b"nonsense\r\n\r\n")
    client.recv(1000)
    world.drawn("alert", "400 Malformed Request")
    world.drawn("img", "failed: proxy – client")
    world.shot("rejected")
    client.close()


def hostile(world):
    """Markup in a server name, a target, a field and a reason phrase stays text."""
    world.start()
    evil = "<img src=x onerror=document.title=1>"

    def serve(peer):
        read_head(peer)
        peer.sendall(response(b"", "200 " + evil, "X: <script>document.title=1</script>\r\n"))
    server = Server(serve)
    world.curl("http://%s/%s" % (server.authority, evil.replace(" ", "%20")), "-H", "Y: </text>" + evil)
    world.drawn("button", "proxy → client: 200 " + evil)
    world.click("#stage g[aria-label^='client → proxy: GET']")
    world.drawn("note", "Y: </text><img src=x")
    world.shot("hostile")
    silent = Server(lambda peer: peer.recv(100000))
    client = world.connect(silent.authority, hello_bytes("<b>bold</b>&lt;\"'"))
    world.drawn("img", "SNI <b>bold</b>&lt;\"'")
    client.close()
    want(world.browser.run("return document.title") == "forward_proxy live", "a script ran")
    want(world.browser.run("return document.querySelectorAll('img, b, #stage script').length") == 0,
         "text became markup")
    for each in (server, silent):
        each.close()
    with open(PAGE_FILE[7:], encoding="utf-8") as file:
        found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function",
                           file.read())
    want(not found, "the page makes markup or code of text: %r" % found)


# --- Hands ------------------------------------------------------------------------

def shown(world):
    return world.browser.run("return document.querySelectorAll('#stage svg > g[role]').length")


def slow_motion(world):
    """One step each 0.7 s, a pause, steps with the arrow keys, and a replay."""
    world.start()
    world.click("#slow")
    world.curl("http://127.0.0.1:8080/a")
    world.drawn("button", "client → proxy: GET")
    want("proxy → client: 200 OK" not in world.labels(), "all is shown at once")
    numbers = set()
    lib.wait_for(lambda: numbers.add(shown(world)) or "proxy → client: 200 OK" in world.labels(),
                 WAIT, "end of the slow motion")
    want(len(numbers) > 4, "it came in %d pieces" % len(numbers))
    world.click("#slow")
    world.drawn("img", "ended: complete")
    before = shown(world)
    world.browser.press("ArrowLeft")
    lib.wait_for(lambda: shown(world) < before, WAIT, "step back")
    want(world.browser.run("return document.getElementById('pause').getAttribute('aria-pressed')")
         == "true", "a step back pauses")
    world.browser.press("ArrowRight")
    lib.wait_for(lambda: shown(world) == before, WAIT, "step forward")
    world.curl("http://127.0.0.1:8080/while-paused")
    world.until("return /paused, [1-9]\\d* new events/.test(document.getElementById('state').textContent)")
    want(not world.browser.run("return document.getElementById('list').textContent.includes('while-paused')"),
         "the list moves in a pause")
    world.browser.press(" ")
    world.listed("while-paused")
    world.drawn("button", "GET http://127.0.0.1:8080/while-paused")
    world.click("#replay")
    lib.wait_for(lambda: shown(world) <= 2, WAIT, "beginning of the replay")
    lib.wait_for(lambda: "proxy → client: 200 OK" in world.labels(), WAIT, "end of the replay")


def keyboard(world):
    """Everything without a mouse."""
    world.start()
    world.curl("--cacert", "build/origin/cert.pem", "https://localhost:8443/")
    world.drawn("button", "ClientHello")
    world.curl("http://127.0.0.1:8080/second")
    world.drawn("button", "GET http://127.0.0.1:8080/second")
    world.browser.press("ArrowDown")
    world.drawn("button", "ClientHello")
    want(world.browser.run("return document.getElementById('follow').getAttribute('aria-pressed')")
         == "false", "choosing ends following")
    names = set()
    for _ in range(60):
        world.browser.press("Tab")
        name = world.browser.run("return document.activeElement.getAttribute('aria-label') "
                                 "|| document.activeElement.textContent")
        if name in names:
            continue
        names.add(name)
        if name.startswith("ClientHello"):
            world.browser.press("Enter")
            world.drawn("note", "sni: localhost")
            want(world.browser.run("return (document.activeElement.getAttribute('aria-label') || '')"
                                   ".startsWith('ClientHello')"), "the focus is lost")
            break
    want({"follow", "pause", "slow", "replay", "clear", "save", "open"} <= names,
         "not reached with Tab: %r" % names)
    world.browser.press("/", "s", "e", "c", "o", "n", "d")
    world.until("return document.querySelectorAll('#list [data-number]').length === 1")
    world.shot("keyboard")


def list_of_many(world):
    """Many tunnels to one host are one entry that opens; filter, clear, follow."""
    world.start()
    server = Server(lambda peer: peer.recv(100))
    for _ in range(15):
        client = world.connect(server.authority)
        read_head(client)
        client.close()
    world.listed("+14 more to this host")
    want(len(world.browser.run("return [...document.querySelectorAll('#list [data-number]')].map(n => 1)"))
         == 1, "the group is open")
    world.shot("group")
    world.click("#list [data-group]")
    world.listed("show fewer")
    want(world.browser.run("return document.querySelectorAll('#list [data-number]').length") == 15,
         "the group has 15")
    world.curl("http://127.0.0.1:8080/other")
    world.listed("/other")
    world.browser.run("const f = document.getElementById('filter'); f.value = arguments[0];"
                      "f.dispatchEvent(new Event('input'))", "8080")
    world.until("return document.querySelectorAll('#list [data-number]').length === 1")
    world.browser.run("const f = document.getElementById('filter'); f.value = '127.0.0.1';"
                      "f.dispatchEvent(new Event('input'))")  # a client's address
    world.until("return document.querySelectorAll('#list [data-number]').length > 1")
    world.click("#clear")
    world.until("return document.querySelectorAll('#list [data-number]').length === 0")
    server.close()


PAIRS = """text back, text panel, text button, text badback, text warnback, text pipe, dim back,
dim panel, dim badback, dim pipe, client back, client panel, client pipe, server back, server panel,
server pipe, proxy back, proxy panel, proxy pipe, bad back, bad panel, bad pipe, bad badback,
cleartext clear, sealedtext sealed, ontext on, back bad"""


def readable(world):
    """18 px and more, contrast AA, light and dark, English and Chinese, no motion."""
    world.start()
    world.curl("https://localhost:8443/")
    world.drawn("alert", "The client refused")
    for theme in ("dark", "light"):
        world.browser.run("setTheme(arguments[0])", theme)
        for language in ("zh", "en"):
            world.browser.run("setLanguage(arguments[0])", language)
            world.until("return document.getElementById('pause').textContent === arguments[0]",
                        "暂停" if language == "zh" else "pause")
            world.drawn("alert", "The client refused")
            small = world.browser.run("""
                const scale = parseFloat(getComputedStyle(document.documentElement).fontSize) / 18;
                return [...document.querySelectorAll('body *')].filter(n =>
                  [...n.childNodes].some(c => c.nodeType === 3 && c.textContent.trim()) && n.tagName !== 'SCRIPT' &&
                  parseFloat(getComputedStyle(n).fontSize) * (n.ownerSVGElement ? scale : 1) < 18)
                  .map(n => n.tagName + ' ' + n.textContent.slice(0, 40));""")
            want(not small, "smaller than 18 px: %r" % small)
            wide = world.browser.run("return [document.documentElement.scrollWidth, document.getElementById('main').scrollWidth"
                                     " - document.getElementById('main').clientWidth]")
            want(wide == [1280, 0], "wider than the window: %r" % wide)
            world.shot("readable-%s-%s" % (theme, language))
        for pair in PAIRS.split(","):
            ratio = world.browser.run("""
                const style = getComputedStyle(document.documentElement);
                const light = name => {
                  const hex = style.getPropertyValue('--' + name).trim().replace(/^#(.)(.)(.)$/, '#$1$1$2$2$3$3');
                  const [r, g, b] = [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16) / 255)
                    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
                };
                const [a, b] = arguments.map ? [] : [light(arguments[0]), light(arguments[1])];
                return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);""", *pair.split())
            want(ratio >= 4.5, "%s: contrast of %s is %.1f" % (theme, pair.strip(), ratio))
    world.browser.prefer(prefers_reduced_motion="reduce")
    names = world.browser.run("const n = document.createElement('div'); n.className = 'new';"
                              "document.body.append(n); const name = getComputedStyle(n).animationName;"
                              "n.remove(); return name")
    world.browser.prefer(prefers_reduced_motion="no-preference")
    want(names == "none", "moves in spite of prefers-reduced-motion: " + names)
    world.browser.resize(1920, 1080)
    world.until("return document.querySelector('#stage svg').getAttribute('width') > 1300")
    world.shot("large")
    world.browser.resize(1400, 500)
    overflow = world.browser.run("""
        document.getElementById('stage').replaceChildren();  // so that nothing scrolls yet
        drawnKey = '';
        show();
        const main = document.getElementById('main');
        return [main.scrollHeight > main.clientHeight, main.scrollWidth - main.clientWidth];""")
    want(overflow == [True, 0], "a drawing that scrolls down scrolls sideways: %r" % overflow)
    world.browser.resize(1280, 720)


# --- Keeping ----------------------------------------------------------------------

def saved(world, name):
    path = os.path.join(world.browser.profile.name, name)
    lib.wait_for(lambda: os.path.exists(path) and os.path.getsize(path), WAIT, name)
    with open(path, encoding="utf-8") as file:
        return path, file.read()


def keep_and_replay(world):
    """What is saved can be dropped on a page that has no proxy."""
    world.start()
    world.browser.devtools("Browser.setDownloadBehavior", behavior="allow",
                           downloadPath=world.browser.profile.name)
    world.curl("http://127.0.0.1:8080/a?x=1")
    world.curl("https://localhost:8443/")
    world.drawn("alert", "The client refused")
    world.until("return connections.get(chosen).info.closed")
    number = world.browser.run("return chosen")
    for button in ("#save-one", "#save-all", "#save-svg"):
        world.click(button)
    path, text = saved(world, "connection-%d.json" % number)
    events = json.loads(text)["events"]
    want({e["connection"] for e in events} == {number} and events[-1]["kind"] == "closed",
         "the events of one connection")
    want(len({e["connection"] for e in json.loads(saved(world, "connections.json")[1])["events"]})
         >= 2, "all connections")
    drawing = xml.dom.minidom.parseString(saved(world, "connection-%d.svg" % number)[1])
    want(not drawing.getElementsByTagName("script"), "no script")
    said = "".join(n.firstChild.data for n in drawing.getElementsByTagName("text") if n.firstChild)
    want("The client refused" in said and "var(" not in drawing.toxml(), "a drawing that stands alone")
    world.stop()
    world.until("return document.getElementById('state').textContent.includes('no connection')")
    world.browser.open(PAGE_FILE)
    world.load(path)
    world.drawn("button", "CONNECT localhost:8443")
    want("alert" not in world.browser.run("return [...document.querySelectorAll('#stage [role]')]"
                                          ".map(n => n.getAttribute('role'))"), "not yet at the end")
    for _ in range(40):
        world.browser.press("ArrowRight")
    world.drawn("alert", "The client refused")
    with open(os.path.join(world.browser.profile.name, "no.json"), "w", encoding="utf-8") as file:
        file.write("{}")
    world.load(file.name)
    world.until("return document.getElementById('skipped').textContent.includes('no recording')")


RECORDINGS = {"relay": ("button", "proxy → client: 200 OK"), "tunnel": ("img", "tunnel · SNI localhost"),
              "unknown-certificate": ("alert", "The client refused the server's certificate"),
              "name-not-resolved": ("alert", "502 Name Not Resolved"),
              "reset-after-the-hello": ("alert", "Reset right after the ClientHello"),
              "half-close": ("img", "half-closed: only server to client is open")}


def recordings(world):
    """Those of the notes are drawn without a proxy."""
    found = {os.path.basename(path)[:-5] for path in glob.glob(ROOT + "/notes/recordings/*.json")}
    want(found == set(RECORDINGS), "recordings: %r" % found)
    world.browser.open(PAGE_FILE)
    for name, (role, text) in RECORDINGS.items():
        world.load("%s/notes/recordings/%s.json" % (ROOT, name))
        world.until("return document.getElementById('state').textContent.includes(arguments[0])", name)
        for _ in range(40):
            world.browser.press("ArrowRight")
        world.drawn(role, text)
        world.shot("recording-" + name)


# --- Late, slow, many -------------------------------------------------------------

def get_many(world, server, n, threads=10):
    """Sends n GETs, each on a new connection; returns how many were answered."""
    good = []

    def client():
        for _ in range(n // threads):
            with socket.create_connection(("127.0.0.1", world.proxy.port), timeout=WAIT) as sock:
                sock.sendall(("GET http://%s/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                              % server.authority).encode())
                data = b""
                while piece := sock.recv(65536):
                    data += piece
                good.append(data.startswith(b"HTTP/1.1 200") and data.endswith(b"hello"))
    workers = [threading.Thread(target=client) for _ in range(threads)]
    for worker in workers:
        worker.start()
    return workers, good


def many(world):
    """A watcher that never reads, a page that goes on, and nothing left drawn as open."""
    world.start("--log", "off")
    server = Server(answer)
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.settimeout(WAIT)
    deaf.connect(("127.0.0.1", world.proxy.port))
    deaf.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    lib.wait_for(lambda: world.proxy.in_use()[0] >= 4, WAIT, "second watcher")
    workers, good = get_many(world, server, 3000)
    answers = 0
    while any(worker.is_alive() for worker in workers):
        want(world.browser.run("return 1") == 1, "the page answers")
        answers += 1
        time.sleep(0.1)
    want(len(good) == 3000 and all(good), "%d of 3000 were answered" % sum(good))
    world.curl("http://127.0.0.1:8080/the-last")
    world.listed("/the-last")
    number = world.browser.run("return connections.size")
    want(number <= 200, "%d connections are kept" % number)
    world.until("return [...connections.values()].every(c => c.info.closed)",
                what="end of all connections in the page")
    world.shot("many")
    # Now the deaf one reads: a gap, how large it is, and the state.
    data = b""
    while not (gap := re.search(rb'event: skipped\n[^}]*"skipped":(\d+),"untold":(\d+)\D', data)):
        piece = deaf.recv(65536)
        want(piece, "the stream ended without a gap")
        data = data[-100000:] + piece
    want(int(gap[1]) > 1000, "only %d were skipped" % int(gap[1]))
    deaf.close()
    server.close()


def late_and_skipped(world):
    """A late page draws what is open; the notice of a gap; what the proxy does not
    name as open is closed."""
    world.start()
    server = Server(lambda peer: peer.recv(100))
    client = world.connect(server.authority)
    read_head(client)
    for worker in get_many(world, Server(answer), 100)[0]:
        worker.join(WAIT)
    world.browser.open(world.url)
    world.listed("CONNECT " + server.authority)
    world.until("return connections.size > 20", what="history")
    number = world.browser.run("return Math.min(...connections.keys())")
    want(world.browser.run("return connections.get(arguments[0]).info.target", number)
         == server.authority, "the oldest is the tunnel that is open")
    world.browser.run("stream.dispatchEvent(new MessageEvent('skipped', {data: '{\"skipped\":123}'}))")
    world.until("return document.getElementById('skipped').textContent.includes('123 events were skipped')")
    world.shot("skipped")
    world.browser.run("stream.dispatchEvent(new MessageEvent('open', {data: '{\"open\":[]}'}))")
    world.until("return [...connections.values()].every(c => c.info.closed)")
    client.close()
    server.close()


def gone(world):
    """A comment line finds a watcher that has gone while nothing happens."""
    world.start()
    before = world.proxy.in_use()[0]
    watcher = world.watch()
    data = b""
    while b"\n:\n\n" not in data:
        data += watcher.recv(65536)
    lib.wait_for(lambda: world.proxy.in_use()[0] > before, WAIT, "thread of the watcher")
    watcher.close()
    lib.wait_for(lambda: world.proxy.in_use()[0] <= before, WAIT, "end of that thread")


# --- Who may watch ----------------------------------------------------------------

def guarded(world):
    """By a name that leads here, and from another site's page: refused."""
    world.start()
    port = world.proxy.port
    other = Browser("--host-resolver-rules=MAP evil.example 127.0.0.1")
    site = Server(lambda peer: read_head(peer) and peer.sendall(response(
        b"<!doctype html><title>other</title>", fields="Content-Type: text/html\r\n")))
    try:
        other.open("http://evil.example:%d/" % port)
        text = other.run("return document.body.textContent")
        want("403 Live Page Not By That Name" in text, text)
        other.open("http://%s/" % site.authority)
        other.run("window.got = []; const s = new EventSource(arguments[0]);"
                  "s.onmessage = s.onopen = () => got.push('open'); s.onerror = () => got.push('error');",
                  "http://127.0.0.1:%d/events" % port)
        got = lib.wait_for(lambda: other.run("return got"), WAIT, "answer of the stream")
        want(got == ["error"], got)
        other.run("window.page = null; fetch(arguments[0]).then(r => r.text()).then(t => page = t, e => page = 'refused')",
                  "http://127.0.0.1:%d/" % port)
        want(lib.wait_for(lambda: other.run("return page"), WAIT, "answer") == "refused",
             "another site reads the page")
    finally:
        other.close()
        site.close()


def password(world):
    """With --user the page and its stream need the password, by any name."""
    world.stop()
    world.proxy = lib.Proxy(lib.PLAIN, "--live", "--user", "sam:secret")
    port = world.proxy.port
    other = Browser("--host-resolver-rules=MAP teacher.example 127.0.0.1")
    try:
        other.open("http://sam:wrong@127.0.0.1:%d/" % port)
        want("live" not in other.run("return document.title"), "a wrong password opens the page")
        other.open("http://sam:secret@teacher.example:%d/" % port)
        lib.wait_for(lambda: other.run("return document.getElementById('state').textContent.startsWith('live')"),
                     WAIT, "page for the right password")
        world.curl("-U", "sam:secret", "http://127.0.0.1:8080/for-sam")
        lib.wait_for(lambda: other.run("return document.getElementById('list').textContent.includes('for-sam')"),
                     WAIT, "event")
    finally:
        other.close()


def through_itself(world):
    """A browser that uses the proxy for everything sees the page too, and not itself."""
    world.start()
    other = Browser("--proxy-server=127.0.0.1:%d" % world.proxy.port, "--proxy-bypass-list=<-loopback>")
    try:
        other.open(world.url)
        lib.wait_for(lambda: other.run("return document.getElementById('state').textContent.startsWith('live')"),
                     WAIT, "page through the proxy")
        world.curl("http://127.0.0.1:8080/through")
        lib.wait_for(lambda: other.run("return document.getElementById('list').textContent.includes('/through')"),
                     WAIT, "event")
        for browser in (other, world.browser):
            want(str(world.proxy.port) not in browser.run("return document.getElementById('list').textContent"),
                 "a watcher is drawn")
    finally:
        other.close()


def stop_with_watchers(world):
    """1.5 s, whatever 20 watchers do; the best of three, as the machine may be busy."""
    times = []
    for _ in range(3):
        world.start()
        watchers = [world.watch() for _ in range(19)]
        for watcher in watchers[:10]:
            read_head(watcher)
        began = time.monotonic()
        want(world.proxy.stop() == 0, "the exit status")
        times.append(time.monotonic() - began)
        for watcher in watchers:
            watcher.close()
        if times[-1] < 1.5:
            return
    want(False, "it took %r" % times)


TESTS = [relay, second_hop, tunnel, bulk, half_close, reset, certificate, failure, hostile,
         slow_motion, keyboard, list_of_many, readable, keep_and_replay, recordings, many,
         late_and_skipped, gone, guarded, password, through_itself, stop_with_watchers]


def picture(world):
    """The README's: a tunnel whose client does not know the certificate."""
    world.browser.prefer(prefers_color_scheme="dark")
    world.start("--listen", "127.0.0.1:3128")
    world.browser.open("http://127.0.0.1:3128/")
    world.curl("http://127.0.0.1:8080/a?x=1")
    world.curl("--cacert", "build/origin/cert.pem", "https://localhost:8443/")
    world.curl("https://localhost:8445/")
    world.curl("https://localhost:8443/")
    world.drawn("alert", "The client refused")
    world.shot("picture")
    shutil.copy(os.path.join(SHOTS, "picture.png"), os.path.join(ROOT, "notes", "live.png"))


def main():
    lib.in_own_network()
    os.chdir(ROOT)
    os.makedirs(SHOTS, exist_ok=True)
    names = sys.argv[1:] or [test.__name__ for test in TESTS]
    chosen = [picture] if names == ["--picture"] else [t for t in TESTS if t.__name__ in names]
    passed = failed = 0
    world = World()
    try:
        for test in chosen:
            began, problem = time.monotonic(), None
            try:
                test(world)
                noise = [line for line in world.browser.console() if "Content Security" in line
                         or "Uncaught" in line]
                want(not noise, "the page complains: %r" % noise)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                problem = str(error) or repr(error)
                with contextlib.suppress(AssertionError, OSError):
                    world.browser.screenshot(os.path.join(SHOTS, "failed-%s.png" % test.__name__))
            print("%-20s %4.1f s  %s" % (test.__name__, time.monotonic() - began,
                                         problem or "as it should be"), flush=True)
            passed, failed = passed + (not problem), failed + bool(problem)
    finally:
        world.close()
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

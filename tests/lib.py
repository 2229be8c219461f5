"""Shared by the Python tests: a proxy under test, raw TCP peers, deadlines.

Nothing here waits without a deadline.  There are two kinds of peers: those whose
calls block, dial() and Server, and for many at once those that move() reads and
writes for, connect() and Origin, which belong to the thread that calls it.
"""

import atexit
import collections
import contextlib
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PLAIN = os.path.join(ROOT, "build/plain/forward_proxy")
DEADLINE = 30  # seconds, for what has to happen
FASTER_CLOCK = threading.Lock()  # so that it is built once
TICKS = os.sysconf("SC_CLK_TCK")


def wait_for(condition, seconds, what):
    """Calls `condition` until it returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() > deadline
        result = condition()
        if result:
            return result
        assert not late, "after %g s there is still no %s" % (seconds, what)
        time.sleep(0.01)


def becomes_true(condition, seconds):
    """What the condition gives, or something false after that time."""
    with contextlib.suppress(AssertionError):
        return wait_for(condition, seconds, "truth")
    return None


def free_port():
    """A port that nothing listens on; another program may take it meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def faster_clock(times):
    """The environment of a program for which time passes that many times as fast."""
    source = os.path.join(HERE, "faster_clock.c")
    built = os.path.join(tempfile.gettempdir(), "faster_clock-%d.so" % os.getpid())
    with FASTER_CLOCK:
        if not os.path.exists(built):
            subprocess.run(["cc", "-shared", "-fPIC", source, "-o", built, "-ldl"], check=True)
            atexit.register(os.unlink, built)
    return {"LD_PRELOAD": built, "FASTER": "%d" % times}


def unread(sock):
    """How many bytes the program of this machine at the other end has not read yet, those
    on their way included; None if the kernel does not tell.  It tells also of a connection
    that is not accepted yet."""
    ports = [sock.getpeername()[1], sock.getsockname()[1]]
    sent = received = None
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open("/proc/net/" + name, encoding="ascii") as file:
            for fields in list(map(str.split, file))[1:]:
                ends = [int(field.rpartition(":")[2], 16) for field in fields[1:3]]
                if ends == ports:
                    received = int(fields[4].partition(":")[2], 16)
                elif ends == ports[::-1]:
                    sent = int(fields[4].partition(":")[0], 16)  # not acknowledged
    return None if received is None else received + (sent or 0)


def make_certificate(folder):
    """Writes a key, key.pem, and a certificate of localhost, cert.pem, whose path
    is returned."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True)
    return os.path.join(folder, "cert.pem")


def cpu_seconds(pid):
    """User and system time of all threads, those that have ended included."""
    with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Proxy:
    """The program under test.  Its outputs go to files, which never block it."""

    def __init__(self, binary, *options, listen="127.0.0.1:0", environment=None, before=None):
        self.stdout = tempfile.TemporaryFile()
        self.stderr = tempfile.TemporaryFile()
        self.lines_seen = 0
        self.process = subprocess.Popen(
            [binary, "--listen", listen, *options], stdin=subprocess.DEVNULL,
            stdout=self.stdout, stderr=self.stderr, env=dict(os.environ, **environment or {}),
            preexec_fn=before)
        self.pid = self.process.pid
        found = wait_for(lambda: re.search(rb"listening on .*:(\d+)\n", self.output()),
                         DEADLINE, "line that names the port")
        self.port = int(found[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @staticmethod
    def _read(file):
        return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)

    def output(self):
        return self._read(self.stdout)

    def errors(self):
        return self._read(self.stderr)

    def log(self):
        """The lines of --log json so far, each parsed strictly."""
        lines = self.output().split(b"\n")[:-1]
        return [parse_log_line(line) for line in lines if line.startswith(b"{")]

    def next_log_line(self):
        """The next line of --log json."""
        line = wait_for(lambda: self.log()[self.lines_seen:], DEADLINE, "line in the log")[0]
        self.lines_seen += 1
        return line

    def in_use(self):
        """The numbers of threads and of descriptors."""
        return tuple(len(os.listdir("/proc/%d/%s" % (self.pid, what))) for what in ("task", "fd"))

    def sockets(self):
        """The number of sockets that are open."""
        folder = "/proc/%d/fd" % self.pid
        count = 0
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                count += os.readlink(os.path.join(folder, name)).startswith("socket:")
        return count

    def thread_states(self):
        """A letter for each thread: "R" if it has, or waits for, a processor."""
        states = ""
        for thread in os.listdir("/proc/%d/task" % self.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open("/proc/%d/task/%s/stat" % (self.pid, thread), encoding="ascii") as file:
                    states += file.read().rsplit(")", 1)[1].split()[0]
        return states

    def settled(self):
        """in_use(), once there is no connection, nothing has changed for 0.1 s, and no
        thread is about to end and waits for a processor."""
        seen = []

        def same():
            seen.append(self.sockets() == 1 and self.in_use())
            return len(seen) > 10 and len(set(seen[-10:])) == 1 \
                and not set(self.thread_states()) & set("RD") and seen[-1]
        return wait_for(same, 30, "constant number of threads and descriptors")

    def cpu_seconds(self):
        return cpu_seconds(self.pid)

    def stop(self, seconds=10):
        """Sends SIGTERM; the exit status, or None if SIGKILL was needed."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.stdout.close()
        self.stderr.close()


def in_own_network(tcp_buffers=None, mounts=False):
    """Starts the program again in a new network namespace, which has nothing but a
    loopback interface, so that all ports are free; with `mounts`, it may mount
    as well.  There, sets the largest size of TCP's buffers."""
    if os.environ.get("OWN_NETWORK") != str(os.getpid()):
        os.environ["OWN_NETWORK"] = str(os.getpid())  # which exec does not change
        os.execvp("unshare", ["unshare", "-rnm" if mounts else "-rn",
                              sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name in ("tcp_rmem", "tcp_wmem") if tcp_buffers else ():
        with open("/proc/sys/net/ipv4/" + name, "w", encoding="ascii") as file:
            file.write("4096 %d %d" % (tcp_buffers, tcp_buffers))


# --- What the proxy writes ------------------------------------------------------

def is_control_or_bidi(character):
    """C0, DEL, C1, line separators, and marks that turn the direction of text."""
    return (unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
            or character in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
                            "\u2066\u2067\u2068\u2069")


def check_text(line):
    """The text of one line of output, which must be UTF-8 that is safe to print."""
    text = line.decode("utf-8")
    bad = [character for character in text if is_control_or_bidi(character)]
    assert not bad, "unprintable %r in %r" % (bad[:3], line[:300])
    return text


def parse_log_line(line):
    """One line of --log json; fails unless it is strict JSON and printable."""
    def refuse(constant):
        raise ValueError("%s is not JSON" % constant)

    def once(pairs):
        assert len({name for name, _ in pairs}) == len(pairs), "a name twice: %r" % line
        return dict(pairs)
    try:
        return json.loads(check_text(line), parse_constant=refuse, object_pairs_hook=once)
    except ValueError as error:
        raise AssertionError("%s: %r" % (error, line[:500])) from error


TIME = r"\d{4}-\d\d-\d\dT[\d:.]{12}Z "
MS = r"(?:-|\d+\.\d)"
QUOTED = r"\"(?:[^\"\\]|\\.)*\""
# The kinds of lines that the proxy writes.
JSON = re.compile(r"\{.*\}")
TEXT = re.compile(TIME + r"#\d+\.\d+ \S+ (?:-|" + QUOTED + r") \S+ (?:-|\d{3}) up=\d+ down=\d+ "
                  r"dns=" + MS + " connect=" + MS + " first=" + MS + r" total=\d+\.\dms .*")
STEP = re.compile(r"(#\d+)(?:\.\d+)? {1,7}(\d+) {1,6}\d+\.\dms  [C ].{8}  .*")
ON = re.compile(r"(#\d+)(?:\.\d+)? {20,}(.*)")  # a step goes on in this line
OTHER = re.compile(r"forward_proxy(?: listening on|:) .*|C is the client, P this proxy.*")


def check_lines(output, kinds, say):
    """Says of each line that is none of those kinds, or not fit to be read; the
    steps of a connection are numbered 1, 2, 3..., so that a forged one shows.  Lines
    of a peer's are shown as lines only where the proxy quotes a rejected head, and
    each of them has a mark."""
    steps = collections.Counter()
    quotes = collections.defaultdict(bool)  # whether the last step of a connection does
    if output and not output.endswith(b"\n"):
        say("the last line is cut: %r" % output[-200:])
    for line in output.split(b"\n")[:-1]:
        try:
            text = check_text(line)
            kind = next((kind for kind in kinds if kind.fullmatch(text)), None)
            if kind is JSON:
                parse_log_line(line)
        except (AssertionError, UnicodeDecodeError) as error:
            say("%s: %r" % (error, line[:300]))
            continue
        if not kind:
            say("no line of the proxy's: %r" % text[:300])
        elif kind is STEP:
            connection, number = STEP.fullmatch(text).groups()
            if int(number) != steps[connection] + 1:
                say("not step %d: %r" % (steps[connection] + 1, text))
            steps[connection] = int(number)
            quotes[connection] = "as far as it was read:" in text
        elif kind is ON:
            connection, rest = ON.fullmatch(text).groups()
            if quotes[connection] and not rest.startswith("| "):
                say("a line of a head that was rejected, without a mark: %r" % text[:300])
            if rest.startswith("#TLS"):
                say("a line of a peer's: %r" % text[:300])


# --- Peers whose calls block ----------------------------------------------------

def dial(port, host="127.0.0.1", data=b""):
    """A connection on which that has been sent."""
    sock = socket.create_connection((host, port), timeout=DEADLINE)
    sock.sendall(data)
    return sock


def is_listening(port):
    try:
        dial(port).close()
        return True
    except OSError:
        return False


def read_until(sock, mark):
    """All up to the mark and with it, or up to the end; not a byte more is read."""
    data = b""
    while not data.endswith(mark):
        byte = sock.recv(1)
        if not byte:
            break
        data += byte
    return data


def read_to_end(sock):
    """All up to the FIN."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def ask(port, data, host="127.0.0.1"):
    """Sends the data and returns the answer, up to the close of the proxy or server."""
    with dial(port, host, data) as sock:
        return read_to_end(sock)


def open_tunnel(port, authority, fields=""):
    """The client's end of a tunnel, after the 200; ConnectionError if there is none."""
    sock = dial(port, data=("CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n"
                            % (authority, authority, fields)).encode())
    head = read_until(sock, b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        sock.close()
        raise ConnectionError("no tunnel: %r" % head)
    return sock


class Server:
    """An origin server: calls serve(socket) in a thread for each connection.  What
    that returned is in `results`, None where the connection broke."""

    def __init__(self, serve, host="127.0.0.1", port=0, seconds=DEADLINE):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, port), family=family, backlog=512)
        self.port = self.listener.getsockname()[1]
        self.authority = ("[%s]:%d" if ":" in host else "%s:%d") % (host, self.port)
        self.url = "http://" + self.authority
        self.serve = serve
        self.seconds = seconds  # the timeout of each call
        self.results = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):  # close()
            while True:
                sock, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        sock.settimeout(self.seconds)
        result = None
        with sock, contextlib.suppress(OSError):
            result = self.serve(sock)
        self.results.append(result)

    def result(self):
        """The first of the results; None if there is none in time."""
        results = becomes_true(lambda: self.results, self.seconds)
        return results[0] if results else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self.listener.close()


# --- Peers for move() -----------------------------------------------------------

class Peer:
    """One end of a TCP connection.  It reads, unless it is `deaf`, and writes
    `flood` again and again while the socket takes it."""

    KEPT = 1 << 20

    def __init__(self, sock):
        sock.setblocking(False)
        self.sock = sock
        self.data = b""  # what has been read, the first KEPT bytes
        self.size = 0  # how much has been read
        self.end = None  # then "FIN" or "RST"
        self.deaf = False
        self.flood = b""
        self.flood_at = 0  # where the next byte of it is
        self.sent = 0
        self.moved = time.monotonic()  # when bytes last moved
        self.began = self.moved  # when it last began to send()

    def send(self, data):
        """Sends `data`, which must fit into the socket's buffer."""
        self.began = time.monotonic()
        try:
            n = self.sock.send(data)
        except OSError:
            self.end = self.end or "RST"
            return
        assert n == len(data), "only %d of %d bytes fit" % (n, len(data))
        self.sent += n
        self.moved = time.monotonic()

    def finish(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the connection is gone already

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.sock.close()
        self.end = self.end or "closed here"

    def read_some(self):
        try:
            piece = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            self.end = "RST"
            return
        if not piece:
            self.end = "FIN"
            return
        self.size += len(piece)
        self.moved = time.monotonic()
        if len(self.data) < self.KEPT:
            self.data += piece

    def write_some(self):
        try:
            n = self.sock.send(self.flood[self.flood_at:])
            self.flood_at = (self.flood_at + n) % len(self.flood)
            self.sent += n
            self.moved = time.monotonic()
        except BlockingIOError:
            pass
        except OSError:
            self.flood = b""  # what the proxy still says can be read


def connect(port):
    return Peer(socket.create_connection(("127.0.0.1", port), timeout=20))


def move(peers, until, seconds):
    """Reads and writes for the peers until that is true; whether it became so."""
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() > deadline:
            return False
        poller = select.poll()
        live = {}
        for peer in peers:
            if peer and (not peer.end or peer.end == "FIN" and peer.flood):
                live[peer.sock.fileno()] = peer
                reads = 0 if peer.end else select.POLLRDHUP if peer.deaf else select.POLLIN
                poller.register(peer.sock, reads | (select.POLLOUT if peer.flood else 0))
        for number, events in poller.poll(20):
            peer = live[number]
            if events & select.POLLOUT and not events & (select.POLLERR | select.POLLHUP):
                peer.write_some()
            if peer.end == "FIN":
                if events & (select.POLLERR | select.POLLHUP):
                    peer.flood = b""
            elif not peer.deaf:
                peer.read_some()
            elif events & (select.POLLERR | select.POLLHUP):
                peer.end = "RST"
            elif events & select.POLLRDHUP:
                peer.end = "FIN"
    return True


class Origin:
    """A listening socket; the test plays the server itself."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.sock.settimeout(20)
        self.port = self.sock.getsockname()[1]
        self.authority = b"127.0.0.1:%d" % self.port
        self.others = []

    def refuse_connections(self):
        """Takes a port, on which nothing listens."""
        self.close()
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.authority = b"127.0.0.1:%d" % self.port

    def accept(self):
        return Peer(self.sock.accept()[0])

    def swallow_connections(self):
        """From now on a SYN gets no answer: Linux drops it when the backlog is full, which
        is one connection here."""
        self.sock.listen(0)
        self.others.append(socket.create_connection(("127.0.0.1", self.port), timeout=20))
        wait_for(lambda: select.select([self.sock], [], [], 0)[0], 20, "connection in the backlog")

    def close(self):
        for sock in [self.sock, *self.others]:
            sock.close()

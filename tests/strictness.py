#!/usr/bin/env python3
"""The same bytes through several proxies: who is strict, and who is faithful?

    tests/strictness.py                          checks ours, and fails if it errs
    tests/strictness.py ours tinyproxy squid     a Markdown table, side by side
    tests/strictness.py --start squid PORT       one of them, for tests/grade.py

tinyproxy and squid have to be installed (`.ci/need tinyproxy squid`).  Each
case is a conversation between a client and an origin server, with the proxy in
between: a `strict` one of tests/conversations, from which tests/grade.py takes its
behaviours too.  Where RFC 9112 lets a proxy refuse or repair (a folded line, a length
beside chunks), refusing is what counts as right here: a repair is a guess.
"""

import os
import shutil
import subprocess
import sys
import tempfile

from conversations import CASES, Stage, Wrong
from lib import PLAIN, ROOT, free_port, is_listening, wait_for

# --- The proxies ----------------------------------------------------------------


class Program:
    """A proxy that runs until close()."""

    def __init__(self, name, folder):
        self.port = free_port()
        command = getattr(self, name)(folder)
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: self.process.poll() is not None or is_listening(self.port),
                 20, "answer from " + name)
        if self.process.poll() is not None:
            sys.exit("cannot start %s: %s" % (name, " ".join(command)))

    @classmethod
    def start(cls, name, port):
        """Becomes that proxy."""
        program = cls.__new__(cls)
        program.port = port
        folder = os.path.join(ROOT, "build", "peers", "%s-%d" % (name, port))
        os.makedirs(folder, exist_ok=True)
        command = getattr(program, name)(folder)
        os.execv(command[0], command)

    def ours(self, folder):
        return [PLAIN, "--listen", "127.0.0.1:%d" % self.port, "--log", "off"]

    def traced(self, folder):
        return self.ours(folder) + ["--trace"]

    def tinyproxy(self, folder):
        path = self.write(folder, "tinyproxy.conf",
                          "Port %d\nListen 127.0.0.1\nTimeout 60\nMaxClients 10000\n"
                          "Allow 127.0.0.1\nLogLevel Critical\n" % self.port)
        return [shutil.which("tinyproxy"), "-d", "-c", path]

    def squid(self, folder):
        os.chmod(folder, 0o777)
        path = self.write(folder, "squid.conf",
                          "http_port 127.0.0.1:%d\nhttp_access allow all\n"
                          "cache deny all\naccess_log none\ncache_log %s/log\n"
                          "pid_filename none\ncoredump_dir %s\nshutdown_lifetime 0\n"
                          "netdb_filename none\ncache_store_log none\n"
                          % (self.port, folder, folder))
        return [shutil.which("squid", path="/usr/sbin:" + os.environ["PATH"]), "-N", "-f", path]

    def apache(self, folder):
        modules = "/usr/lib/apache2/modules/mod_%s.so"
        loads = "".join(
            "LoadModule %s_module %s\n" % (name, modules % name)
            for name in ("mpm_event", "authz_core", "proxy", "proxy_http", "proxy_connect"))
        path = self.write(folder, "apache.conf", loads
                          + "ServerName localhost\nListen 127.0.0.1:%d\nPidFile %s/pid\n"
                          "ErrorLog %s/log\nDefaultRuntimeDir %s\nMutex file:%s\n"
                          "ProxyRequests On\nProxyVia On\nAllowCONNECT 1-65535\n"
                          "KeepAliveTimeout 60\nMaxKeepAliveRequests 0\n"
                          "<Proxy *>\nRequire all granted\n</Proxy>\n"
                          % (self.port, folder, folder, folder, folder))
        os.chmod(folder, 0o777)
        return [shutil.which("apache2", path="/usr/sbin:" + os.environ["PATH"]),
                "-D", "FOREGROUND", "-f", path]

    @staticmethod
    def write(folder, name, text):
        path = os.path.join(folder, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def close(self):
        self.process.terminate()
        self.process.wait()


def all_cases():
    """The messages to refuse first, because that is what one looks for here."""
    cases = [case for case in CASES if case.strict]
    cases.sort(key=lambda case: not case.run.__module__.endswith("refused"))
    return [(case.name, case.run) for case in cases]


def outcome(run, port):
    """Empty if the proxy did right, otherwise what it did instead."""
    stage = Stage(port)
    try:
        run(stage)
        return ""
    except Wrong as wrong:
        return str(wrong)
    except OSError as error:
        return "breaks: " + str(error)
    finally:
        stage.close()


def run_all(name):
    with tempfile.TemporaryDirectory() as folder:
        program = Program(name, folder)
        try:
            return {case: outcome(run, program.port) for case, run in all_cases()}
        finally:
            program.close()


def main():
    if sys.argv[1:2] == ["--start"]:
        Program.start(sys.argv[2], int(sys.argv[3]))
    names = sys.argv[1:] or ["ours"]
    results = {name: run_all(name) for name in names}
    if names != ["ours"]:
        print("| case | " + " | ".join(names) + " |")
        print("| --- |" + " --- |" * len(names))
        for case, _ in all_cases():
            print("| " + case + " | "
                  + " | ".join(results[name][case] or "ok" for name in names) + " |")
        print("| **right, of %d** | " % len(results[names[0]])
              + " | ".join(str(list(results[name].values()).count("")) for name in names) + " |")
        return
    wrong = {case: words for case, words in results["ours"].items() if words}
    for case, words in wrong.items():
        print("FAILED: %s: %s" % (case, words))
    print("%d passed, %d failed" % (len(results["ours"]) - len(wrong), len(wrong)))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

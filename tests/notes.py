#!/usr/bin/env python3
"""Whether the README and the notes are true.

    tests/notes.py            all of it
    tests/notes.py FILE...    only the commands of these

- Every block marked `console` is run, command by command, and what it prints is
  compared.  The proxy runs with the options of the first `make run` in the text,
  and notes/origin.py beside it.  "..." stands for anything, as a line for any
  lines.  Ports, times, versions and the proxy's pseudonym are not compared.
- Every line of a block marked `trace` must be found in the proxy's output, in that
  order.
- Reading times are those of 25 lines a minute.
- Every `file: function` exists, every link leads somewhere, every RFC section is
  cited in the code too, every `make` target and LAB exists.
- The man page has the options of --help, with their defaults.
- `make install` copies two files, and `make uninstall` removes them; a second
  notes/origin.py says that one is running, and changes no certificate.
- Each text is there in English and in Chinese, with the same blocks and links
  to each other.

It starts itself again in new namespaces, where ports are free, and where a name that is not in /etc/hosts does not exist: without a name server the resolver
could not tell.
"""
import os
import re
import subprocess
import sys
import tempfile

from lib import PLAIN, ROOT, in_own_network, is_listening, wait_for

problems = []
checked = 0


def check(condition, words):
    global checked
    checked += 1
    if not condition:
        problems.append(words)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def blocks(text, kind):
    return re.findall(r"^```%s\n(.*?)^```$" % kind, text, re.MULTILINE | re.DOTALL)


# --- Commands -------------------------------------------------------------------

MASKS = [
    (r"forward_proxy-[0-9a-f]{8}", "forward_proxy-ID"),
    (r"curl/[\d.]+", "curl/VERSION"),
    (r"(127\.0\.0\.1|\[::1\]):\d{5}", r"\1:PORT"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"\b(dns|connect|first|total)=[\d.-]+(ms)?", r"\1=T"),
    (r"[\d.]+ ms", "T ms"),
    (r"\bup=\d+ down=\d+", "up=N down=N"),
    (r"^#\d+(\.\d+)? +(\d+ +[\d.]+ms)?", ""),
    (r"Content-Length: \d+", "Content-Length: N"),
    (r"[ \t]+", " "),
]


def masked(text):
    lines = []
    for line in text.split("\n"):
        for pattern, replacement in MASKS:
            line = re.sub(pattern, replacement, line)
        lines.append(line.strip())
    return "\n".join(lines)


def pattern_of(expected):
    pattern = ""
    for line in masked(expected).strip("\n").split("\n"):
        if line == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("...")) + r"\n"
    return pattern


def split_commands(block):
    """[(command, what it prints)], from lines that begin with "$ "."""
    commands = []
    for line in block.split("\n")[:-1]:
        if line.startswith("$ "):
            commands.append([line[2:], ""])
        else:
            commands[-1][1] += line + "\n"
    return commands


class Programs:
    """The proxy as the text starts it, the origin server, and a place to be."""

    def __init__(self, text):
        started = re.search(r"`make run(?: ARGS=(?:\"([^\"]*)\"|(\S+)))?`", text)
        arguments = ((started[1] or started[2] or "") if started else "").split()
        self.said = tempfile.TemporaryFile()
        self.folder = os.path.join(ROOT, "build", "origin")
        self.running = []
        self.start([PLAIN, *arguments], self.said)
        self.origin_said = tempfile.TemporaryFile()
        self.start([sys.executable, ROOT + "/notes/origin.py"], self.origin_said)
        wait_for(lambda: is_listening(3128), 20, "proxy")
        # It listens before it has a certificate.
        wait_for(lambda: b"origin server ready" in os.pread(self.origin_said.fileno(), 1000, 0),
                 30, "origin server that is ready")

    def start(self, command, output):
        self.running.append(subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT))

    def output(self):
        self.said.seek(0)
        return self.said.read().decode("utf-8", "replace")

    def stop(self):
        """What the proxy still has to say is written by then."""
        for process in self.running:
            process.terminate()
            process.wait()

    def close(self):
        self.stop()
        self.said.close()
        self.origin_said.close()


def check_commands(path):
    text = read(path)
    consoles = blocks(text, "console")
    if not consoles:
        return
    programs = Programs(text)
    try:
        for block in consoles:
            for command, expected in split_commands(block):
                done = subprocess.run(
                    ["bash", "-c", command], cwd=ROOT, timeout=60, check=False,
                    env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                got = masked(done.stdout.decode("utf-8", "replace"))
                if not got.endswith("\n"):
                    got += "\n"
                wanted = pattern_of(expected)
                check(re.fullmatch(wanted, got.strip("\n") + "\n" if expected else got)
                      or (not expected and not got.strip()),
                      "%s: $ %s\nprinted\n%s\nand not\n%s" % (path, command, got, expected))
        programs.stop()
        check_trace(path, text, programs)
    finally:
        programs.close()


def check_trace(path, text, programs):
    """A line of the story may have been broken at 100 columns."""
    said = " ".join(masked(programs.output()).split())
    for block in blocks(text, "trace"):
        at = 0
        for line in block.strip("\n").split("\n"):
            words = " ".join(masked(line).split())
            found = said.find(words, at)
            check(found >= 0, "%s: the proxy did not say, or not in that order: %s\nin\n%s"
                  % (path, line, programs.output() if found < 0 else ""))
            at = max(at, found)


# --- What the texts name --------------------------------------------------------


def source_files():
    for folder in (".", "support", "support/http", "support/net", "support/log",
                   "tests", "tests/conversations", "tests/fuzz", "tests/bench"):
        for name in sorted(os.listdir(os.path.join(ROOT, folder))):
            if name.endswith((".cpp", ".h", ".py")):
                yield os.path.normpath(os.path.join(folder, name))


CODE = {path: read(path) for path in source_files()}
ALL_CODE = "\n".join(CODE.values())
MAKEFILE = read("Makefile")


def check_names(path, text):
    for file, name in re.findall(r"`([\w/.-]+\.(?:cpp|h|py)):\s+(\w+)`", text):
        code = CODE.get(file) or (read(file) if os.path.exists(os.path.join(ROOT, file)) else "")
        check(re.search(r"\b%s\b" % name, code), "%s: `%s: %s` is not there" % (path, file, name))
    for file in re.findall(r"`((?:support|tests|notes)/[\w/.-]+\.\w+)[ `]", text):
        check(os.path.exists(os.path.join(ROOT, file)), "%s: `%s` is not there" % (path, file))
    for section in set(re.findall(r"RFC \d+ §[\d.]*\d", text)):
        cited = re.sub(r"\s*\n\s*(//|\*)?\s*", " ", ALL_CODE)
        check(section in cited, "%s: %s is not cited in the code" % (path, section))
    for target in re.findall(r"(?m)(?:^|`)make ([a-z-]+)(?= |`|$)", text):
        check(re.search(r"^%s:" % target, MAKEFILE, re.MULTILINE),
              "%s: there is no `make %s`" % (path, target))
    for tag in re.findall(r"ONLY='(\[[\w,\[\]]+\])'", text):
        check(all("[%s]" % one in ALL_CODE for one in re.findall(r"\w+", tag)),
              "%s: no test has the tag %s" % (path, tag))
    for lab in re.findall(r"\bLAB=([a-z0-9-]+)", text):
        check(lab in ("name", "mystery") or os.path.exists(os.path.join(ROOT, "notes/labs", lab + ".patch")),
              "%s: there is no lab %s" % (path, lab))


def check_minutes(path, text):
    """| `support/net/socket`, `dial` | ... | 27 |: at 25 lines a minute."""
    for names, minutes in re.findall(r"(?m)^\| (`[^|]*`) \|[^|]*\| (\d+) \|$", text):
        lines = 0
        folder = ""
        for name in re.findall(r"`([^`]+)`", names):
            folder = os.path.dirname(name) or folder
            stem = os.path.join(folder, os.path.basename(name).removesuffix(".cpp"))
            found = [read(stem + end) for end in (".cpp", ".h")
                     if os.path.exists(os.path.join(ROOT, stem + end))]
            check(found, "%s: %s is not there" % (path, stem))
            lines += sum(code.count("\n") for code in found)
        check(abs(int(minutes) - lines / 25) <= max(1, lines / 250),
              "%s: %s has %d lines, %.0f minutes" % (path, names, lines, lines / 25))


def heading_anchor(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def check_links(path, text):
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        full = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
        there = os.path.exists(os.path.join(ROOT, full))
        check(there, "%s: the link %s leads nowhere" % (path, target))
        if there and anchor:
            anchors = [heading_anchor(h) for h in
                       re.findall(r"^#+ (.*)$", read(full), re.MULTILINE)]
            check(anchor in anchors, "%s: no heading for %s" % (path, target))


def check_translation(name):
    """notes/NAME and notes/zh/NAME: both there, the same blocks, linked."""
    both = ["notes/" + name, "notes/zh/" + name]
    for path in both:
        check(os.path.exists(os.path.join(ROOT, path)), path + " is missing")
    if not all(os.path.exists(os.path.join(ROOT, path)) for path in both):
        return
    english, chinese = map(read, both)
    if name == "README.md":  # the Chinese one has the first page in it, too
        english = read("README.md") + english
    for kind in ("console", "trace"):
        check(blocks(english, kind) == blocks(chinese, kind),
              "%s and its translation show different `%s` blocks" % (name, kind))
    check("(zh/%s)" % name in english, both[0] + " does not link to the Chinese text")
    check("(../%s)" % name in chinese, both[1] + " does not link to the English text")


def options_of(text, option):
    """{"--head-timeout SECONDS": "30"} from text in which every option begins a line."""
    found = {}
    for part in re.split(r"\n(?=%s)" % option, text)[1:]:
        name = re.match(r"--[a-z-]+(?: [A-Z][^ \n]*)?", part)[0]
        default = re.search(r"default:\s+([^\s)]+)", part, re.IGNORECASE)
        found[name] = default[1].rstrip(".") if default else None
    return found


def check_man_page():
    page = read("notes/forward_proxy.1").replace("\\-", "-").replace("\\ ", "")
    page = page.split("\n.SH OPTIONS")[1].split("\n.SH ")[0]
    page = re.sub(r"(?m)^\.TP\n\.BI? (--\S+) ?", r"\1 ", page)
    page = re.sub(r"(?m)^(--\S+) +$", r"\1", page)
    listed = subprocess.run([ROOT + "/build/plain/forward_proxy", "--help"], check=True,
                            stdout=subprocess.PIPE, encoding="utf-8").stdout
    listed = re.sub(r"(?m)^ +", "", listed)
    in_page, in_help = options_of(page, "--"), options_of(listed, "--")
    check(len(in_help) >= 13 and in_page == in_help,
          "the man page has %s, --help has %s" % (in_page, in_help))


def check_install():
    with tempfile.TemporaryDirectory() as folder:
        def files():
            return sorted(os.path.relpath(os.path.join(at, name), folder)
                          for at, _, names in os.walk(folder) for name in names)

        for target, expected in (
                ("install", ["opt/bin/forward_proxy", "opt/share/man/man1/forward_proxy.1"]),
                ("uninstall", [])):
            done = subprocess.run(
                ["make", "-s", target, "DESTDIR=" + folder, "PREFIX=/opt"], cwd=ROOT,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False)
            check(done.returncode == 0 and files() == expected,
                  "make %s left %s\n%s" % (target, files(), done.stdout))


def check_second_origin(programs):
    certificate = os.path.join(programs.folder, "cert.pem")
    before = os.stat(certificate).st_mtime_ns
    done = subprocess.run([sys.executable, ROOT + "/notes/origin.py"], timeout=20,
                          stderr=subprocess.PIPE, encoding="utf-8", check=False)
    check(done.returncode == 1 and "Is another one running?" in done.stderr,
          "a second notes/origin.py ended with %d: %s" % (done.returncode, done.stderr))
    check(os.stat(certificate).st_mtime_ns == before,
          "a second notes/origin.py wrote a new certificate")


def lessons():
    """Of either language: one that is in one only is a problem."""
    found = set()
    for folder in ("notes", "notes/zh"):
        full = os.path.join(ROOT, folder)
        if os.path.isdir(full):
            found |= {name for name in os.listdir(full)
                      if name.endswith(".md") and name != "bench.md"}
    return sorted(found)


def texts():
    paths = ["README.md"]
    for folder in ("notes", "notes/zh"):
        full = os.path.join(ROOT, folder)
        if os.path.isdir(full):
            paths += [folder + "/" + name for name in sorted(os.listdir(full))
                      if name.endswith(".md")]
    return paths


def check_all(paths):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("hosts: files\n")
        file.flush()
        subprocess.run(["mount", "--bind", file.name, "/etc/nsswitch.conf"], check=True)
    for path in paths or [p for p in texts() if not p.startswith("notes/zh/")]:
        check_commands(path)
    if not paths:
        programs = Programs("")
        try:
            check_second_origin(programs)
        finally:
            programs.close()
        check_man_page()
        check_install()
        for path in texts():
            check_names(path, read(path))
            check_links(path, read(path))
            check_minutes(path, read(path))
        for name in lessons():
            check_translation(name)
    for words in problems:
        print("- " + words)
    print("%d passed, %d failed" % (checked - len(problems), len(problems)))
    return 1 if problems else 0


if __name__ == "__main__":
    in_own_network(mounts=True)
    sys.exit(check_all(sys.argv[1:]))

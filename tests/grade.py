#!/usr/bin/env python3
"""make grade: what a forward proxy can do, and what it does instead.

    tests/grade.py 'python3 my_proxy.py {port}'    grades any proxy, in any language
    tests/grade.py --list                          what is tried

    --user NAME:PASSWORD   the proxy was started with these credentials
    --level LEVEL          only this level; repeatable, as is
    --only NAME            only this behaviour
    --weights FILE         points: {"levels": {"basic": 20}, "behaviours": {NAME: 0}}
    --json                 the verdicts as JSON, on standard output; without any, and
                           with "error", if the proxy could not be started
    --verbose              each conversation that went wrong, with its bytes
    --keep FOLDER          for the conversations that went wrong (build/grade/last)
    --seconds N            for all of it (120)      --patience N  for one answer (2.5)
    --start-within N       until it listens (20)
    --quick                without the three behaviours that can need a minute

The proxy is a black box: it is started on a free port, {port} in the command, and
talked to.  The behaviours are the cases of tests/conversations.  What RFC 9110 and
RFC 9112 leave open is no fault.  The bytes of each conversation that went wrong are
kept.  Ends with status 0 if nothing failed, 1 if something did, 2 if nothing was
graded, because the proxy did not start or an option is wrong.
"""

import argparse
import atexit
import dataclasses
import functools
import glob
import json
import os
import re
import signal
import sys
import threading
import time

from conversations import CASES, LEVELS, Open, Stage, Wrong
from student import HAS_PROC, CannotStart, Student, adopt_orphans, kill_orphans

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HANGS = 5  # in one level; then the rest of it is not tried
PLAIN_GET = next(case for case in CASES if case.name == "GET")
ALONE = 80  # seconds for the behaviours that run beside the others


@dataclasses.dataclass
class Verdict:
    name: str
    level: str
    verdict: str  # passed, failed, open (the RFCs allow it) or skipped
    sentence: str = ""
    conversation: str = ""
    hung: bool = False  # nothing came for as long as the grader waits


# --- Words ----------------------------------------------------------------------


def quote(data, limit=100):
    """Bytes as they would be written in C, the middle left out."""
    text = "".join(chr(byte) if 32 <= byte < 127 and byte != 92 else
                   {13: "\\r", 10: "\\n", 9: "\\t", 92: "\\\\"}.get(byte, "\\x%02x" % byte)
                   for byte in data[:4096])
    if len(text) > limit:
        text = text[:limit * 3 // 5] + " ... " + text[-limit // 3:]
    return "“%s”" % text


def what_was_sent(record):
    """The first bytes of the first client and of the last, and of the first server."""
    first = {}
    for name, what, data, _ in record:
        if what == "sends" and data:
            first.setdefault(name, quote(data))
    clients = [name for name, what, _, _ in record
               if name.startswith("client") and what == "connects"]
    parts = ["%s sent %s" % (name if name[-1].isdigit() else "the client",
                             first.get(name, "nothing")) for name in clients[:1] + clients[1:][-1:]]
    if "server" in first:
        parts.append("the server sent " + first["server"])
    return ", ".join(parts) or "a client connected"


def complaint(printed, ended):
    """The last line that a program printed before it ended, or the exception that
    Python reported."""
    lines = [line for line in printed.splitlines() if line.strip()]
    if lines and (ended or "Traceback (most recent call last)" in printed):
        return quote(lines[-1].encode())
    return ""


def sentence(case, wrong, record, ended, printed):
    words = str(wrong)
    if wrong.got:
        words += ", " + quote(wrong.got)
    if ended:
        words += ", and the program ended (%s)" % ended
    if complaint(printed, ended):
        words += ", after it printed " + complaint(printed, ended)
    sent = what_was_sent(record)
    return "%s; the proxy %s; right is: %s." % (sent[0].upper() + sent[1:], words, case.expects)


def is_text(data):
    return all(byte < 127 for byte in data)


def merged(record):
    """The record, in which a run of one end's reads, or of its sends, is one line."""
    found = []
    for name, what, data, size in record:
        if found and data and found[-1][:2] == [name, what]:
            found[-1][2] = (found[-1][2] + data)[:4096]
            found[-1][3] += size
            found[-1][4] += 1
        else:
            found.append([name, what, data, size, 1])
    return found


def transcript(case, verdict, stage, printed):
    """What was said, in order, and how to say it again."""
    text = ["%s: %s" % (case.level, case.name), verdict.sentence, ""]
    for name, what, data, size, times in merged(stage.record):
        shown = quote(data, 1000 if is_text(data) else 200) if data else ""
        if size > len(data):
            shown += " and so on, %d bytes" % size
        if times > 1:
            shown += " in %d pieces" % times
        text.append("%-10s %s %s" % (name, what, shown))
    if printed:
        text += ["", "The program printed:", printed[-2000:].rstrip()]
    sent = b"".join(data for name, what, data, _ in stage.record
                    if name == "client" and what == "sends")
    if sent and len(sent) < 4000:
        octal = "".join(chr(byte) if 32 <= byte < 127 and byte not in b"'\\%" else "\\%03o" % byte
                        for byte in sent)
        text += ["", "To replay it by hand, with the proxy on port 3128 and, as origin server,",
                 "`nc -l -p %d` in another terminal:" % int(stage.at.split(b":")[1]),
                 "printf '%s' | nc 127.0.0.1 3128" % octal]
    return "\n".join(text) + "\n"


# --- One behaviour --------------------------------------------------------------


class Grader:
    def __init__(self, options, environment=None):
        self.options = options
        self.environment = environment
        self.deadline = time.monotonic() + options.seconds
        self.folder = options.keep
        self.student = None

    def start(self):
        return Student(self.options.proxy, self.options.start_within, self.environment)

    def why_skipped(self, case):
        if "user" in case.needs and not self.options.user:
            return "needs --user NAME:PASSWORD, and a proxy started with them"
        if "proc" in case.needs and not HAS_PROC:
            return "needs /proc, which Linux has"
        if case.alone and self.options.quick:
            return "left out, because it can need a minute"
        return ""

    def judge(self, case, student):
        """Runs one conversation."""
        stage = Stage(student.port, strict=False, patience=self.options.patience,
                      user=self.options.user, program=student)
        verdict = Verdict(case.name, case.level, "passed")
        began, before = time.monotonic(), student.count
        wrong = None
        try:
            case.run(stage)
        except Open as words:
            verdict.verdict, verdict.sentence = "open", str(words)
        except Wrong as error:
            wrong = error
        except OSError as error:
            wrong = Wrong("breaks the conversation: %s" % (error.strerror or error))
        except (ValueError, IndexError):
            wrong = Wrong("sends what cannot be read")
        took = time.monotonic() - began
        stage.close()  # some programs end when a client leaves
        if wrong and took < self.options.patience:
            ended = student.ends_or_rests(0.1, self.options.patience)
        else:
            ended = student.how_it_ended(0.03)
        reports = student.new_reports()
        if (ended or reports) and not wrong:
            wrong = Wrong("does what it should")
        if reports:
            wrong = Wrong("%s, and there is a report: %s" % (wrong, "; ".join(reports)), wrong.got)
        if wrong:
            printed = student.said(before)
            verdict.verdict = "failed"
            verdict.hung = not ended and took >= self.options.patience
            verdict.sentence = sentence(case, wrong, stage.record, ended, printed)
            self.keep(case, verdict, stage, printed)
        return verdict

    def keep(self, case, verdict, stage, printed):
        os.makedirs(self.folder, exist_ok=True)
        name = re.sub(r"\W+", "-", "%s %s" % (case.level, case.name)).strip("-")
        verdict.conversation = os.path.join(self.folder, name + ".txt")
        with open(verdict.conversation, "w", encoding="utf-8") as file:
            file.write(transcript(case, verdict, stage, printed))

    def judge_afresh(self, case):
        """With a process that has seen nothing wrong before."""
        if not self.student or self.student.how_it_ended():
            self.restart()
        verdict = self.judge(case, self.student)
        if verdict.verdict == "failed":
            self.restart()
        return verdict

    def restart(self):
        """Again on another port, because another program may have taken the first one."""
        if self.student:
            self.student.close()
            try:
                self.student = self.start()
                return
            except CannotStart:
                pass
        self.student = self.start()

    # --- All of them ------------------------------------------------------------

    def run(self, cases, report):
        """Calls `report` with each verdict, in the order of the cases."""
        for path in glob.glob(os.path.join(glob.escape(self.folder), "*.txt")):
            if os.path.basename(path).startswith(tuple(level + "-" for level in LEVELS)):
                os.remove(path)  # of the last time
        try:
            self.restart()  # a proxy that cannot start is found out here
            beside = {case.name: Beside(self, case) for case in cases
                      if case.alone and not self.why_skipped(case)}
            hangs = dict.fromkeys(LEVELS, 0)
            for case in cases:
                if case.name not in beside:
                    report(self.judge_in_time(case, hangs))
            for one in beside.values():
                report(one.verdict())
            self.student.close(gently=5)
            for words in self.student.new_reports():
                report(Verdict("its end", cases[-1].level, "failed", "A client connected and left; "
                               "the proxy ended with a report, %s; right is: no race, and no "
                               "memory that is lost or used after it was freed." % words))
        finally:
            if self.student:
                self.student.close()

    def judge_in_time(self, case, hangs):
        skipped = self.why_skipped(case)
        if skipped:
            return Verdict(case.name, case.level, "skipped", skipped)
        if time.monotonic() > self.deadline:
            return Verdict(case.name, case.level, "failed",
                           "not tried: the %g s are over." % self.options.seconds)
        if hangs[case.level] >= HANGS:
            return Verdict(case.name, case.level, "failed", "not tried: the proxy has hung in "
                           "%d behaviours of this level." % HANGS)
        if case.level == "hostile" and not self.passes_on():
            return Verdict(case.name, case.level, "failed", "not tried: the proxy does not "
                           "pass on a plain GET either.")
        verdict = self.judge_afresh(case)
        hangs[case.level] += verdict.hung
        return verdict

    @functools.cache
    def passes_on(self):
        """Who refuses everything refuses what is hostile, too, and has shown nothing."""
        return self.judge_afresh(PLAIN_GET).verdict == "passed"


class Beside:
    """Runs a behaviour that takes long in a thread, with another proxy."""

    def __init__(self, grader, case):
        self.case = case
        self.began = time.monotonic()
        self.found = None
        self.student = None
        self.thread = threading.Thread(target=self.run, args=(grader,), daemon=True)
        self.thread.start()

    def run(self, grader):
        try:
            self.student = grader.start()
            self.found = grader.judge(self.case, self.student)
            self.student.close()
        except CannotStart as words:
            self.found = Verdict(self.case.name, self.case.level, "failed", str(words))

    def verdict(self):
        self.thread.join(max(0, self.began + ALONE - time.monotonic()))
        return self.found or Verdict(self.case.name, self.case.level, "failed",
                                     "no answer came within %d s." % ALONE)


# --- The report -----------------------------------------------------------------


def weights_of(path):
    if not path:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            weights = json.load(file)
    except (OSError, ValueError) as error:
        raise CannotStart("Cannot read the weights: %s: %s" % (path, error)) from error
    known = {"levels": LEVELS, "behaviours": [case.name for case in CASES if case.level]}
    for kind, points in weights.items():
        if kind not in known:
            raise CannotStart("%s: has %r; what counts is in levels and behaviours" % (path, kind))
        for name, number in points.items():
            if name not in known[kind]:
                raise CannotStart("%s: there is no %r in the %s" % (path, name, kind))
            if not isinstance(number, (int, float)) or number < 0:
                raise CannotStart("%s: %r has %r points" % (path, name, number))
    return weights


def summary(verdicts, weights):
    """One row for each level that was graded."""
    rows = []
    for level in LEVELS:
        mine = [verdict for verdict in verdicts if verdict.level == level]
        if not mine:
            continue
        row = {"level": level}
        for kind in ("passed", "failed", "open", "skipped"):
            row[kind] = sum(verdict.verdict == kind for verdict in mine)
        if weights:
            row["of"] = weights.get("levels", {}).get(level, 0)
            each = weights.get("behaviours", {})
            counted = {kind: sum(each.get(verdict.name, 1) for verdict in mine
                                 if verdict.verdict == kind) for kind in ("passed", "failed")}
            total = sum(counted.values())
            row["points"] = round(row["of"] * counted["passed"] / total, 1) if total else 0
        rows.append(row)
    return rows


def table(rows):
    lines = ["", "level        passed  failed  open  skipped" + ("  points" if "of" in rows[0]
                                                               else "")]
    for row in rows:
        lines.append("%-12s %6d  %6d  %4d  %7d" % (
            row["level"], row["passed"], row["failed"], row["open"], row["skipped"])
            + ("  %g of %g" % (row["points"], row["of"]) if "of" in row else ""))
    if "of" in rows[0]:
        lines.append("points: %g of %g" % (round(sum(row["points"] for row in rows), 1),
                                           sum(row["of"] for row in rows)))
    return "\n".join(lines)


def say(verdict, verbose, out):
    if verdict.verdict == "passed":
        print("  passed   " + verdict.name, file=out, flush=True)
        return
    print("  %-8s %s: %s" % (verdict.verdict if verdict.verdict != "failed" else "FAILED",
                             verdict.name, verdict.sentence), file=out, flush=True)
    if verbose and verdict.conversation:
        with open(verdict.conversation, encoding="utf-8") as file:
            print("           " + file.read().split("\n", 3)[3].replace("\n", "\n           "),
                  file=out)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, add_help=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proxy", nargs="?", default=os.environ.get("PROXY"))
    parser.add_argument("--user")
    parser.add_argument("--level", action="append", choices=LEVELS)
    parser.add_argument("--only", action="append")
    parser.add_argument("--weights")
    for flag in ("--json", "--verbose", "--list", "--quick"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--keep", default=os.path.join(ROOT, "build/grade/last"))
    parser.add_argument("--start-within", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--patience", type=float, default=2.5)
    parser.add_argument("--help", action="help")
    return parser.parse_args(arguments)


def chosen(options):
    cases = [case for case in CASES if case.level]
    for name in options.only or []:
        if name not in [case.name for case in cases]:
            raise CannotStart("There is no behaviour %r; --list shows them." % name)
    return [case for case in cases
            if (not options.level or case.level in options.level)
            and (not options.only or case.name in options.only)]


def main():
    options = parse(sys.argv[1:])
    # So that the programs under test end with the grader.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return run(options)
    except (CannotStart, RuntimeError) as words:  # such as "can't start new thread"
        print(words, file=sys.stderr)
        if options.json:
            print(json.dumps({"proxy": options.proxy, "error": str(words), "levels": [],
                              "behaviours": []}, indent=1, ensure_ascii=False))
        return 2


def run(options):
    cases = sorted(chosen(options), key=lambda case: LEVELS.index(case.level))
    if options.list:
        for case in cases:
            print("%-11s %s: %s" % (case.level, case.name, case.expects))
        return 0
    if not options.proxy:
        raise CannotStart("Say which proxy: make grade PROXY='python3 my_proxy.py {port}'")
    weights = weights_of(options.weights)
    out = sys.stderr if options.json else sys.stdout
    verdicts = []

    def report(verdict):
        if not verdicts or verdicts[-1].level != verdict.level:
            print(verdict.level, file=out)
        verdicts.append(verdict)
        say(verdict, options.verbose, out)

    adopt_orphans()
    atexit.register(kill_orphans)
    Grader(options).run(cases, report)
    rows = summary(verdicts, weights)
    print(table(rows), file=out)
    if options.json:
        print(json.dumps({"proxy": options.proxy, "levels": rows, "behaviours": [
            dataclasses.asdict(verdict) for verdict in verdicts]}, indent=1, ensure_ascii=False))
    elif any(verdict.conversation for verdict in verdicts):
        print("The conversations that went wrong are in %s." % os.path.relpath(options.keep))
    return 1 if any(verdict.verdict == "failed" for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())

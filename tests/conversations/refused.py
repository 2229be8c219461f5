"""Messages that must not be passed on as they came.

strictness.py counts a repair as wrong: it is a guess.  The grader accepts each
repair that RFC 9112 allows, and has no verdict (no rule) where it asks for nothing.
"""

import re
import select

from .stage import GET, OK, POST, Open, Wrong, add, lines, status, want

# --- Requests -------------------------------------------------------------------


def is_clean(head):
    """Every line ends with CRLF and begins with a name; no CR, LF or NUL is left."""
    body = head.removesuffix(b"\r\n\r\n").replace(b"\r\n", b"")
    return not re.search(rb"[\r\n\0]", body) and not re.search(rb"\r\n[ \t]", head)


def has_clean_start(head):
    return re.match(rb"GET /[^ \t]* HTTP/1\.[01]\r\n", head)


def has_one_framing(head):
    codings = [coding.lower() for coding in lines(head, b"Transfer-Encoding")]
    lengths = lines(head, b"Content-Length")
    return (codings == [b"chunked"]) + len(lengths) == 1 and len(codings) + len(lengths) == 1


def has_length(*allowed):
    return lambda head: len(lines(head, b"Content-Length")) == 1 and \
        lines(head, b"Content-Length")[0] in allowed and not lines(head, b"Transfer-Encoding")


def has_one_host(head):
    """An address, which is what the target has."""
    return len(lines(head, b"Host")) == 1 and b":" in lines(head, b"Host")[0]


def is_response(head):
    """As which a proxy may pass on what it took for HTTP/0.9."""
    return status(head) == 200


def never(_):
    return False


def drops(line):
    return lambda head: line not in head


BAD_LENGTH = "an invalid or ambiguous Content-Length is answered with 400 (RFC 9112 §6.3)"
SYNTAX = "a line that does not match the grammar should be answered with 400 (RFC 9112 §3)"
HOST = "such a request is answered with 400 (RFC 9112 §3.2), or Host is replaced with the " \
    "target's (§3.2.2)"
PORT = "CONNECT to an empty or invalid port is rejected (RFC 9110 §9.3.6)"
BAD = {400}
LENGTH = {400, 411, 413}
CODING = {400, 501}
VERSION = {400, 505}

REFUSED = [
    # name, bytes, statuses that say the right thing, a rule for the grader, and
    # what the server may get instead
    ("bare LF as line end", b"GET http://ORIGIN/ HTTP/1.1\nHost: ORIGIN\n\n", BAD,
     "a bare LF is refused or sent on as CRLF (RFC 9112 §2.2)", is_clean),
    ("bare CR in a field value", GET + b"A: b\rc\r\n\r\n", BAD,
     "a bare CR is refused or replaced with a space (RFC 9112 §2.2)", is_clean),
    ("NUL in a field value", GET + b"A: b\0c\r\n\r\n", BAD,
     "CR, LF and NUL in a value are refused or replaced with a space (RFC 9110 §5.5)", is_clean),
    ("control character in a field value", GET + b"A: b\x01c\r\n\r\n", BAD),
    ("DEL in a field value", GET + b"A: b\x7fc\r\n\r\n", BAD),
    ("blank before the colon", GET + b"A : b\r\n\r\n", BAD,
     "whitespace between name and colon is answered with 400 (RFC 9112 §5.1)", never),
    ("folded field line", GET + b"A: b\r\n c\r\n\r\n", BAD,
     "a folded line is refused or unfolded (RFC 9112 §5.2)", is_clean),
    ("empty field name", GET + b": b\r\n\r\n", BAD, SYNTAX, drops(b"\n: b")),
    ("field name that is no token", GET + b"A(b): c\r\n\r\n", BAD, SYNTAX, drops(b"A(b)")),
    ("field line without a colon", GET + b"Abc\r\n\r\n", BAD, SYNTAX, drops(b"Abc\r\n")),
    ("two Host fields", GET + b"Host: other\r\n\r\n", BAD, HOST, has_one_host),
    ("no Host in HTTP/1.1", b"GET http://ORIGIN/ HTTP/1.1\r\nConnection: close\r\n\r\n",
     BAD, HOST, has_one_host),
    ("invalid Host", b"GET http://ORIGIN/ HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
     BAD, HOST, has_one_host),
    ("Transfer-Encoding with Content-Length",
     POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", LENGTH,
     "such a request is refused, or Content-Length is removed (RFC 9112 §6.3)",
     has_one_framing),
    ("Transfer-Encoding: xchunked",
     POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", CODING,
     "a request whose last coding is not chunked is answered with 400 (RFC 9112 §6.3)", never),
    ("Transfer-Encoding: chunked, gzip",
     POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", CODING,
     "a request whose last coding is not chunked is answered with 400 (RFC 9112 §6.3)", never),
    ("Transfer-Encoding: gzip, chunked",
     POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", CODING),
    ("Transfer-Encoding twice",
     POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", CODING,
     "a sender must not chunk a message twice (RFC 9112 §6.1)", has_one_framing),
    ("Transfer-Encoding: chunked,",
     POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", CODING),
    ("Transfer-Encoding in HTTP/1.0",
     b"POST http://ORIGIN/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    ("Transfer_Encoding",
     POST + b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", BAD),
    ("two different Content-Lengths",
     POST + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\nhello", LENGTH, BAD_LENGTH, never),
    ("Content-Length: 5, 5", POST + b"Content-Length: 5, 5\r\n\r\nhello", LENGTH,
     "a repeated length is refused or becomes one (RFC 9112 §6.3)", has_length(b"5")),
    ("Content-Length: +5", POST + b"Content-Length: +5\r\n\r\nhello", LENGTH, BAD_LENGTH, never),
    ("Content-Length: -5", POST + b"Content-Length: -5\r\n\r\nhello", LENGTH, BAD_LENGTH, never),
    ("Content-Length: 0x5", POST + b"Content-Length: 0x5\r\n\r\nhello", LENGTH, BAD_LENGTH, never),
    ("Content-Length: 5 5", POST + b"Content-Length: 5 5\r\n\r\nhello", LENGTH, BAD_LENGTH, never),
    ("Content-Length empty", POST + b"Content-Length:\r\n\r\nhello", LENGTH, BAD_LENGTH, never),
    ("Content-Length of 2^64", POST + b"Content-Length: 18446744073709551616\r\n\r\nhello", LENGTH,
     "a large number does not overflow (RFC 9110 §8.6)", has_length(b"18446744073709551616")),
    ("two blanks in the request line", b"GET  http://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n", BAD,
     "it is refused, or sent on with single spaces (RFC 9112 §3)", has_clean_start),
    ("tab in the request line", b"GET\thttp://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n", BAD,
     "it is refused, or sent on with single spaces (RFC 9112 §3)", has_clean_start),
    ("blank in the target", b"GET http://ORIGIN/a b HTTP/1.1\r\nHost: h\r\n\r\n", BAD,
     "it is not sent on, because two parsers read it in two ways (RFC 9112 §3.2)",
     has_clean_start),
    ("control character in the target", b"GET http://ORIGIN/a\x01b HTTP/1.1\r\nHost: h\r\n\r\n", BAD),
    ("fragment in the target", b"GET http://ORIGIN/a#b HTTP/1.1\r\nHost: h\r\n\r\n", BAD),
    ("user information in the target", b"GET http://user@ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n", BAD),
    ("https without CONNECT",
     b"GET https://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nConnection: close\r\n\r\n", CODING,
     "a resource of https is never fetched in clear (RFC 9110 §4.2.2)",
     lambda head: head.startswith(b"\x16\x03")),
    ("method that is no token", b"G(T http://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n", CODING),
    ("HTTP/1.2", b"GET http://ORIGIN/ HTTP/1.2\r\nHost: h\r\nConnection: close\r\n\r\n", VERSION),
    ("HTTP/2.0", b"GET http://ORIGIN/ HTTP/2.0\r\nHost: h\r\nConnection: close\r\n\r\n", VERSION),
    ("http/1.1 in lower case",
     b"GET http://ORIGIN/ http/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", BAD),
    ("CONNECT without a port", b"CONNECT 127.0.0.1 HTTP/1.1\r\nHost: h\r\n\r\n", BAD, PORT, never),
    ("CONNECT to port 0", b"CONNECT 127.0.0.1:0 HTTP/1.1\r\nHost: h\r\n\r\n", BAD, PORT, never),
    ("CONNECT to port 65536", b"CONNECT 127.0.0.1:65536 HTTP/1.1\r\nHost: h\r\n\r\n", BAD,
     PORT, never),
    ("CONNECT with user information", b"CONNECT user@ORIGIN HTTP/1.1\r\nHost: h\r\n\r\n", BAD),
]


def refused(stage, data, statuses, may_send=never):
    client = stage.client(data)
    if b"\r\n" not in data and not stage.strict and not stage.is_answered(client):
        raise Open("waits for a CRLF: to take a bare LF for one is optional (RFC 9112 §2.2)")
    if stage.listener in stage.either(client):
        server = stage.server()
        head = first_bytes(server)
        server.send(OK)
        if stage.strict or not may_send(head):
            raise Wrong("forwards it", head)
        return
    head = client.head()
    got = status(head)
    if stage.strict:
        want(got in statuses, "answers %d" % got)
    elif data.startswith(b"CONNECT"):
        want(got >= 400, "answers %d" % got, head)
    else:
        want(400 <= got < 500 or got in (501, 505), "answers %d" % got, head)
    want(not stage.touched(), "forwards it")


def first_bytes(server):
    """Reads a head, or two LFs, or the first bytes of TLS."""
    while not re.search(rb"\n\r?\n", server.data) and not server.data.startswith(b"\x16\x03"):
        if not server.more():
            break
    return server.data


# --- Chunked request bodies that must not look complete -------------------------

CHUNKS = "a body with broken chunks never arrives as a complete one (RFC 9112 §7.1 and §8)"
REPAIR = "a broken chunk is refused or repaired (RFC 9112 §7.1)"

BROKEN_CHUNKS = [
    # name, body, a rule for the grader, and whether a repair is as good
    ("chunk longer than its size", b"3\r\nhello\r\n0\r\n\r\n", CHUNKS),
    ("chunk size 0x5", b"0x5\r\nhello\r\n0\r\n\r\n", CHUNKS),
    ("chunk size -5", b"-5\r\nhello\r\n0\r\n\r\n", CHUNKS),
    ("chunk size of 65 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n", CHUNKS),
    ("chunk size with a blank before it", b" 5\r\nhello\r\n0\r\n\r\n", REPAIR, True),
    ("chunk size ended by LF alone", b"5\nhello\r\n0\r\n\r\n", REPAIR, True),
    ("chunk ended by LF alone", b"5\r\nhello\n0\r\n\r\n", REPAIR, True),
    ("control character in a chunk extension", b"5;a\x01\r\nhello\r\n0\r\n\r\n"),
    ("Content-Length in the trailer section", b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"),
    ("malformed trailer section", b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n", REPAIR, True),
]
COMPLETE = rb"(^|\r\n)0\r\n(.*\r\n)?\r\n$"
WELL_FORMED = rb"0*5(;[^\r\n]*)?\r\nhello\r\n0\r\n\r\n|" \
    rb"(0*[1-5]\r\n[helo]+\r\n)+0\r\n\r\n"


def is_complete(head, body):
    lengths = lines(head, b"Content-Length")
    if lengths:
        return lengths[0].isdigit() and len(body) >= int(lengths[0])
    return bool(re.search(COMPLETE, body))


def broken_chunks(stage, body, may_repair=False):
    client = stage.client(POST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    if stage.listener in stage.either(client):
        server = stage.server()
        head = server.head()
        ready = True
        while ready and not is_complete(head, server.data):
            ready = select.select([server.sock], [], [], 1.0)[0]
            if ready and not server.more():
                break
        repaired = may_repair and not stage.strict and (
            lines(head, b"Content-Length") or re.fullmatch(WELL_FORMED, server.data))
        want(repaired or not is_complete(head, server.data),
             "forwards it as complete", server.data)
        if not stage.strict:
            return  # it is the server that has to answer
    if client.more():  # to close without a word is harsh, but right
        head = client.head()
        got = status(head)
        if stage.strict:
            want(got == 400, "answers %d" % got)
        want(got >= 400, "answers %d" % got, head)


# --- Responses ------------------------------------------------------------------

GARBAGE = "an invalid response becomes a 502 (RFC 9110 §15.6.3)"

BAD_RESPONSES = [
    # name, bytes, a rule for the grader, and what the client may get instead
    ("response: bare LF as line end", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
     "it is a 502, or its lines end with CRLF (RFC 9112 §2.2)", is_clean),
    ("response: bare CR in a field value",
     b"HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 2\r\n\r\nok",
     "a bare CR is refused or replaced with a space (RFC 9112 §2.2)", is_clean),
    ("response: NUL in a field value",
     b"HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 2\r\n\r\nok",
     "CR, LF and NUL in a value are refused or replaced with a space (RFC 9110 §5.5)", is_clean),
    ("response: control character in a field value",
     b"HTTP/1.1 200 OK\r\nA: b\x01c\r\nContent-Length: 2\r\n\r\nok"),
    ("response: blank before the colon",
     b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 2\r\n\r\nok",
     "it is a 502, or the whitespace is removed (RFC 9112 §5.1)", drops(b"A :")),
    ("response: folded field line",
     b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
     "it is a 502, or the line is unfolded (RFC 9112 §5.2)", is_clean),
    ("response: Transfer-Encoding with Content-Length",
     b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"2\r\nok\r\n0\r\n\r\n",
     "it is a 502, or Content-Length is removed (RFC 9112 §6.3)",
     lambda head: not (lines(head, b"Transfer-Encoding") and lines(head, b"Content-Length"))),
    ("response: two different Content-Lengths",
     b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
     "a proxy discards it and answers 502 (RFC 9112 §6.3)", never),
    ("response: Content-Length: +2", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
     "a proxy discards it and answers 502 (RFC 9112 §6.3)", never),
    ("response: Transfer-Encoding: xchunked",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("response: status code of four digits",
     b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", GARBAGE, never),
    ("response: no status line", b"hello\r\n\r\nok",
     "it becomes a 502, or the body of a valid response (RFC 9110 §15.6.3)", is_response),
    ("response: closed without a byte", b"", GARBAGE, never),
]


def bad_response(stage, data, may_send=never):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(data)
    server.close()
    if stage.strict:
        got = status(client.head())
        want(got in (502, 500), "answers %d" % got)
        want(got == 502, "answers 500")
        return
    while not re.search(rb"\n\r?\n", client.data) and client.more():
        pass
    want(client.data, "closes silently")
    got = status(client.data)
    head = client.data[:client.data.find(b"\r\n\r\n") + 4]
    want(500 <= got < 600 or (got == 200 and may_send(head)),
         "passes it on" if got == 200 or not got else "answers %d" % got, client.data[:200])


# --- All of them ----------------------------------------------------------------


def of_table(table, run):
    for name, data, *row in table:
        statuses = row.pop(0) if row and isinstance(row[0], set) else None
        rule, may = (row + [None, None])[:2] if row else (None, None)
        arguments = [data] + ([statuses] if statuses else []) + ([may] if may else [])
        add(name, lambda stage, run=run, a=tuple(arguments): run(stage, *a),
            level="hostile" if rule else None, expects=rule or "", strict=True)


of_table(REFUSED, refused)
of_table(BROKEN_CHUNKS, broken_chunks)
of_table(BAD_RESPONSES, bad_response)

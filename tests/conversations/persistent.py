"""A connection that stays open: where each message ends must be known.

A proxy may close after each response, if it says so.  That is held against it once.
"""

from .stage import OK, Open, POST, Wrong, behaviour, faithful, lines, status, want

ONE = b"GET http://ORIGIN/1 HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"
TWO = ONE.replace(b"ORIGIN/1", b"ORIGIN/2")
CLOSES = "closes after each response, which costs it 'a second request' alone"


def answer(stage, path, response=OK):
    server = stage.server()
    head = server.head()
    want(path in head.split(b"\r\n")[0], "sends the wrong request", head)
    server.send(response)
    server.close()


def look_for_close(stage, client):
    """To close without a word is another behaviour's fault."""
    if not stage.strict and stage.listener not in stage.either(client) \
            and not client.data and not client.more():
        raise Open(CLOSES)


def answer_unless_closed(stage, client, path, response=OK):
    look_for_close(stage, client)
    answer(stage, path, response)


def says_close(stage, head):
    return not stage.strict and b"close" in b", ".join(lines(head, b"Connection")).lower()


def second(stage, client, head):
    """Another request on that connection."""
    if says_close(stage, head):
        raise Open(CLOSES)
    client.send(stage.fill_in(TWO))
    answer_unless_closed(stage, client, b"/2")
    got = client.head()
    want(status(got) == 200, "answers the second request with %d" % status(got), got)
    want(client.exactly(2) == b"ok", "changes the second response")


@behaviour("a second request on the same connection", "persistent",
           "connections to the client persist (RFC 9112 §9.3)")
def _(stage):
    client = stage.client(ONE)
    answer(stage, b"/1")
    head = client.head()
    client.exactly(2)
    try:
        second(stage, client, head)
    except Open:
        raise Wrong("closes after the first response", head)


@behaviour("Connection: close before it closes", "persistent",
           "who will close says Connection: close (RFC 9112 §9.6)")
def _(stage):
    client = stage.client(ONE)
    answer(stage, b"/1")
    head = client.head()
    client.exactly(2)
    client.patience = stage.patience / 5
    try:
        closes = not client.more()
    except Wrong:
        closes = False
    want(says_close(stage, head) or not closes, "closes without a word", head)


@behaviour("Connection: close of the client's", "persistent",
           "after a request with Connection: close the proxy closes (RFC 9112 §9.6)")
def _(stage):
    client = stage.client(ONE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    answer(stage, b"/1")
    client.head()
    client.exactly(2)
    want(client.rest() == b"", "sends more than the response", client.data)


@faithful("two pipelined requests", "persistent",
          "pipelined requests are answered in their order (RFC 9112 §9.3.2)")
def _(stage):
    client = stage.client()
    client.send(stage.fill_in(ONE) + stage.fill_in(TWO))
    for path in (b"/1", b"/2"):
        answer_unless_closed(stage, client, path, OK.replace(b"ok", path))
        head = client.head()
        got = client.exactly(2)
        want(got == path, "mixes the answers", got)
        if path == b"/1" and says_close(stage, head):
            raise Open(CLOSES)


@faithful("a HEAD response with a length, then another request", "persistent",
          "a response to HEAD ends with its head (RFC 9112 §6.3)")
def _(stage):
    start = b"HEAD http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"
    client = stage.client(start)
    for again in (False, True):
        if again:
            look_for_close(stage, client)
        server = stage.server()
        server.head()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n")
        server.close()
        head = client.head()
        want(lines(head, b"Content-Length") == [b"99"] or not stage.strict,
             "changes the length")
        if says_close(stage, head):
            raise Open(CLOSES)
        client.send(stage.fill_in(start))


@behaviour("204 and 304, then another request", "persistent",
           "a 204 or 304 ends with its head (RFC 9112 §6.3)")
def _(stage):
    for code in (b"204 None", b"304 Same"):
        client = stage.client(ONE)
        answer(stage, b"/1", b"HTTP/1.1 " + code + b"\r\nConnection: close\r\n\r\n")
        head = client.head()
        want(code[:3] == b"%d" % status(head), "answers %d" % status(head), head)
        second(stage, client, head)


@behaviour("a chunked response, then another request", "persistent",
           "a chunked body ends with its last chunk (RFC 9112 §7.1)")
def _(stage):
    client = stage.client(ONE)
    answer(stage, b"/1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
           b"5\r\nhello\r\n0\r\n\r\n")
    head = client.head()
    if says_close(stage, head):
        raise Open(CLOSES)
    if lines(head, b"Content-Length"):
        client.exactly(5)
    else:
        client.until(b"0\r\n\r\n")
    second(stage, client, head)


@behaviour("a POST, then another request", "persistent",
           "the next request begins where the body ends (RFC 9112 §6.3)")
def _(stage):
    client = stage.client(POST.replace(b"Connection: close\r\n", b"")
                          + b"Content-Length: 5\r\n\r\nhello")
    server = stage.server()
    server.head()
    got = server.exactly(5)
    want(got == b"hello", "changes the body", got)
    server.send(OK)
    server.close()
    head = client.head()
    client.exactly(2)
    second(stage, client, head)


@behaviour("a second request to another server", "persistent",
           "each request goes to the server that it names (RFC 9112 §3.2.2)")
def _(stage):
    client = stage.client(ONE)
    answer(stage, b"/1")
    head = client.head()
    client.exactly(2)
    if says_close(stage, head):
        raise Open(CLOSES)
    stage.listener = stage.listen()
    stage.at = b"127.0.0.1:%d" % stage.listener.getsockname()[1]
    second(stage, client, head)


@behaviour("a body that ends with the connection ends it here too", "persistent",
           "without a length, closing is the end (RFC 9112 §6.3)")
def _(stage):
    client = stage.client(ONE)
    answer(stage, b"/1", b"HTTP/1.1 200 OK\r\n\r\nall")
    head = client.head()
    if lines(head, b"Content-Length"):
        want(lines(head, b"Content-Length") == [b"3"], "sends another length", head)
    elif lines(head, b"Transfer-Encoding"):
        client.until(b"0\r\n\r\n")
    else:
        want(client.rest() == b"all", "changes the body", client.data)

"""What every proxy does: a request arrives, its response comes back."""

import base64

from .stage import (GET, OK, POST, behaviour, exchange, faithful, lines, status, want)

BYTES = bytes(range(256)) * 8


@behaviour("GET", "basic", "the server gets the request in origin-form, the client the "
           "response (RFC 9112 §3.2.1)")
def _(stage):
    request, head, client = exchange(stage, start=GET.replace(b"ORIGIN/", b"ORIGIN/a.html"))
    want(request.startswith(b"GET /a.html HTTP/1."), "sends another request line", request)
    want(status(head) == 200, "answers %d" % status(head), head)
    want(client.exactly(2) == b"ok", "changes the body")


PIECES = "TCP keeps bytes, not packets: a head can arrive in any pieces (RFC 9293 §3.8)"


@behaviour("a head that arrives in pieces", "basic", PIECES)
def _(stage):
    client = stage.client()
    send_in_pieces(client, stage.fill_in(GET + b"\r\n"))
    server = stage.server()
    want(b"\r\nHost: " in server.head(), "loses some of it")
    server.send(OK)
    want(status(client.head()) == 200, "fails")


@behaviour("a response head that arrives in pieces", "basic", PIECES)
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    send_in_pieces(server, OK)
    server.finish()
    head = client.head()
    want(status(head) == 200 and lines(head, b"Content-Length") == [b"2"], "loses some of it", head)
    want(client.exactly(2) == b"ok", "changes the body")


def send_in_pieces(end, data):
    """Three, each sent when the one before it was read."""
    for piece in (data[:10], data[10:-3], data[-3:]):
        end.send(piece)
        end.wait_until_read()


@behaviour("HEAD", "basic", "the response to HEAD has no body (RFC 9110 §9.3.2)")
def _(stage):
    request, head, client = exchange(
        stage, start=GET.replace(b"GET", b"HEAD"),
        response=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n")
    want(request.startswith(b"HEAD / HTTP/1."), "sends another request line", request)
    want(status(head) == 200, "answers %d" % status(head), head)
    want(client.rest() == b"", "sends a body", client.data)


@behaviour("POST with a length", "basic", "the body arrives as it was sent (RFC 9112 §6.2)")
def _(stage):
    client = stage.client(POST + b"Content-Length: 11\r\n\r\nhello world")
    server = stage.server()
    request = server.head()
    want(request.startswith(b"POST / HTTP/1."), "sends another request line", request)
    want(lines(request, b"Content-Length") == [b"11"], "changes the length", request)
    got = server.exactly(11)
    want(got == b"hello world", "changes the body", got)
    server.send(OK)
    got = status(client.head())
    want(got == 200, "answers %d" % got)


@behaviour("every byte of a body, both ways", "basic",
           "a body is bytes, not text (RFC 9110 §6.4)")
def _(stage):
    client = stage.client(POST + b"Content-Length: %d\r\n\r\n" % len(BYTES) + BYTES)
    server = stage.server()
    server.head()
    want(server.exactly(len(BYTES)) == BYTES, "changes the request's body")
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                % len(BYTES) + BYTES)
    client.head()
    want(client.exactly(len(BYTES)) == BYTES, "changes the response's body")


@behaviour("a body that ends with the connection", "basic",
           "without a length the body ends where the server closes (RFC 9112 §6.3)")
def _(stage):
    client = stage.client(GET + b"\r\n")
    server = stage.server()
    server.head()
    server.send(b"HTTP/1.0 200 OK\r\n\r\nall of it")
    server.close()
    client.head()
    got = client.rest()
    want(b"all of it" in got, "loses it", got)


@behaviour("the status of the response", "basic", "the status code is the server's (RFC 9110 §15)")
def _(stage):
    for code in (b"404", b"302", b"500"):
        _, head, client = exchange(stage, response=OK.replace(b"200 OK", code + b" Other"))
        want(b"%d" % status(head) == code, "answers %d to a %s" % (status(head), code.decode()),
             head)
        want(client.exactly(2) == b"ok", "changes the body")


@faithful("repeated fields, their order and case", "basic",
          "the lines of a field are kept, in their order (RFC 9110 §5.3)")
def _(stage):
    request, head, _ = exchange(
        stage, b"x-One: 1\r\nX-Two: 2\r\nx-One: 3\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nx-B: 1\r\nSet-Cookie: b\r\n"
        b"Content-Length: 0\r\n\r\n")
    if stage.strict:
        want(b"x-One: 1\r\nX-Two: 2\r\nx-One: 3\r\n" in request, "changes the request")
        want(b"Set-Cookie: a\r\nx-B: 1\r\nSet-Cookie: b\r\n" in head, "changes the response")
    ones = b",".join(lines(request, b"X-One")).replace(b" ", b"")
    want(ones == b"1,3" and lines(request, b"X-Two") == [b"2"], "changes the request", request)
    want(lines(head, b"Set-Cookie") == [b"a", b"b"], "changes the response", head)


@faithful("the query, dots and escapes of the path", "basic",
          "a proxy does not change path and query (RFC 9110 §7.7)")
def _(stage):
    start = GET.replace(b"ORIGIN/ ", b"ORIGIN/a/../b;c//%7e?d=%2F ")
    request, _, _ = exchange(stage, start=start)
    want(request.startswith(b"GET /a/../b;c//%7e?d=%2F HTTP/1.1\r\n") or not stage.strict
         and request.startswith(b"GET /a/../b;c//%7e?d=%2F HTTP/1."),
         "changes the target", request)


@behaviour("a URL without a path", "basic", "an empty path becomes / (RFC 9112 §3.2.1)")
def _(stage):
    request, _, _ = exchange(stage, start=GET.replace(b"ORIGIN/ ", b"ORIGIN "))
    want(request.startswith(b"GET / HTTP/1."), "sends another target", request)


@faithful("what curl and browsers leave unescaped in a URL")
def _(stage):
    path = "/搜索|[]{}^`\\\"<>%?q=中文|%".encode()
    request, _, _ = exchange(stage, start=GET.replace(b"ORIGIN/ ", b"ORIGIN" + path + b" "))
    want(request.startswith(b"GET " + path + b" HTTP/1.1\r\n"), "changes the target")


@faithful("Host is that of the target", "basic",
          "a proxy replaces Host with the host of the target (RFC 9112 §3.2.2)")
def _(stage):
    request, _, _ = exchange(stage, start=GET.replace(b"Host: ORIGIN", b"Host: wrong.example"))
    want(lines(request, b"Host") == [stage.at], "forwards another Host", request)


@faithful("the reason phrase")
def _(stage):
    _, head, _ = exchange(stage, response=OK.replace(b"200 OK", b"200 Quite Odd"))
    want(b" 200 Quite Odd\r\n" in head, "replaces it")


@faithful("hop-by-hop fields and credentials end here")
def _(stage):
    request, _, _ = exchange(
        stage, b"Proxy-Authorization: Basic YTpi\r\nProxy-Connection: x\r\n"
        b"Keep-Alive: 5\r\nTE: gzip\r\n")
    for name in (b"Proxy-Authorization", b"Proxy-Connection", b"Keep-Alive", b"TE"):
        want(not lines(request, name), "forwards " + name.decode())


@behaviour("Proxy-Connection and Keep-Alive end here", "basic",
           "fields that concern one connection are removed (RFC 9110 §7.6.1)")
def _(stage):
    request, _, _ = exchange(stage, b"Proxy-Connection: keep-alive\r\nKeep-Alive: 5\r\n")
    for name in (b"Proxy-Connection", b"Keep-Alive"):
        want(not lines(request, name), "forwards " + name.decode(), request)


@faithful("fields that Connection names end here", "basic",
          "what Connection names is removed before forwarding (RFC 9110 §7.6.1)")
def _(stage):
    start = GET.replace(b"Connection: close", b"Connection: close, x-one\r\nConnection: X-Two")
    request, head, _ = exchange(
        stage, b"X-One: 1\r\nX-Two: 2\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: X-Three\r\nX-Three: 3\r\nContent-Length: 0\r\n\r\n",
        start=start)
    want(not lines(request, b"X-One") and not lines(request, b"X-Two"), "keeps them in the request",
         request)
    want(not lines(head, b"X-Three"), "keeps them in the response", head)


@faithful("Connection cannot name Content-Length away")
def _(stage):
    start = POST.replace(b"Connection: close", b"Connection: close, content-length")
    request, _, _ = exchange(stage, b"Content-Length: 5\r\n", start=start, body=b"hello")
    want(lines(request, b"Content-Length") == [b"5"], "drops it")


@faithful("Via is added both ways", "basic",
          "a proxy adds itself to Via in all that it forwards (RFC 9110 §7.6.3)")
def _(stage):
    request, head, _ = exchange(stage, b"Via: 1.0 before\r\n")
    via = b", ".join(lines(request, b"Via"))
    want(via.startswith(b"1.0 before, 1.") and (b", 1.1 " in via or not stage.strict),
         "not in requests" if stage.strict else "adds none to requests", request)
    want(lines(head, b"Via"), "not in responses" if stage.strict else "adds none to responses",
         head)


@faithful("a loop is noticed")
def _(stage):
    request, _, _ = exchange(stage)
    via = lines(request, b"Via")
    want(via, "sends no Via")
    client = stage.client(GET + b"Via: " + via[-1] + b"\r\n\r\n")
    ready = stage.either(client)
    want(client.sock in ready and status(client.head()) >= 400, "forwards it")


@faithful("no chunks for an HTTP/1.0 client", "basic",
          "Transfer-Encoding is sent to clients of HTTP/1.1 only (RFC 9112 §6.1)")
def _(stage):
    client = stage.client(b"GET http://ORIGIN/ HTTP/1.0\r\n\r\n")
    server = stage.server()
    if b"HTTP/1.0\r\n" in server.head() and not stage.strict:
        server.send(b"HTTP/1.0 200 OK\r\n\r\nok")
    else:
        server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    server.close()
    head = client.head()
    want(not lines(head, b"Transfer-Encoding"), "sends Transfer-Encoding", head)
    want(client.rest() == b"ok", "sends chunks", client.data)


@behaviour("a request that is no HTTP", "basic",
           "what is no request is answered with 400 (RFC 9112 §3)")
def _(stage):
    client = stage.client(b"hello\r\n\r\n", credentials=False)
    got = status(client.head())
    want(400 <= got < 500 or got in (501, 505), "answers %d" % got)


@behaviour("a request for a host that has no name", "basic",
           "a target without a host is answered with 400 (RFC 9110 §4.2.1)")
def _(stage):
    client = stage.client(b"GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n")
    got = status(client.head())
    want(got >= 400, "answers %d" % got)


# --- Credentials, if the grader knows them --------------------------------------


def authorization(user):
    return b"Proxy-Authorization: Basic " + base64.b64encode(user.encode()) + b"\r\n"


@behaviour("no credentials: 407", "basic",
           "without credentials: 407 with Proxy-Authenticate (RFC 9110 §15.5.8)", needs=("user",))
def _(stage):
    for start in (GET, POST, b"CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n"):
        client = stage.client(start + b"\r\n", credentials=False)
        want(stage.listener not in stage.either(client), "forwards it")
        head = client.head()
        want(status(head) == 407, "answers %d" % status(head), head)
        want(lines(head, b"Proxy-Authenticate"), "names no scheme", head)


@behaviour("wrong credentials: 407", "basic",
           "wrong credentials are refused, with 407 (RFC 9110 §11.7)", needs=("user",))
def _(stage):
    name = stage.user.partition(":")[0]
    for user in (name + ":wrong", name + ":", stage.user + "x", ":"):
        client = stage.client(GET + authorization(user) + b"\r\n", credentials=False)
        want(stage.listener not in stage.either(client), "forwards it")
        head = client.head()
        want(status(head) == 407, "answers %d" % status(head), head)


@behaviour("credentials are not sent on", "basic",
           "the proxy's password is not for the server (RFC 9110 §11.7.2)", needs=("user",))
def _(stage):
    request, head, _ = exchange(stage)
    want(status(head) == 200, "answers %d" % status(head), head)
    want(not lines(request, b"Proxy-Authorization"), "sends them on", request)

// The relay, end to end: a proxy that really runs, between a client and an
// origin server whose every byte stands here.

#include "catch.h"
#include "harness.h"

namespace {

// What the origin server gets of a minimal GET.
std::string get(const Origin& origin, const std::string& path = "/")
{
    return "GET " + origin.url(path)
        + " HTTP/1.1\r\nHost: " + origin.authority() + "\r\n\r\n";
}

const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

// Via is the only part of a head that differs from run to run.
std::string without_via(const std::string& head)
{
    const std::size_t start = head.find("Via: ");
    return start == std::string::npos
        ? head
        : head.substr(0, start) + head.substr(head.find("\r\n", start) + 2);
}

}  // namespace

TEST_CASE("a request arrives in origin-form, its query kept", "[relay][P27]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("GET " + origin.url("/a/b;p=1?x=1&y=%2F")
        + " HTTP/1.1\r\n"
          "Host: wrong.example\r\n"
          "X-First: 1\r\n"
          "x-second: 2\r\n"
          "X-First: 3\r\n"
          "\r\n");
    TestSocket server = origin.accept();
    const std::string head = server.read_head();
    CHECK(without_via(head)
        == "GET /a/b;p=1?x=1&y=%2F HTTP/1.1\r\n"
           "Host: "
            + origin.authority()
            + "\r\n"
              "X-First: 1\r\n"
              "x-second: 2\r\n"
              "X-First: 3\r\n"
              "Connection: close\r\n"
              "\r\n");
    REQUIRE(field_lines(head, "Via").size() == 1);
    CHECK_THAT(
        field_lines(head, "Via")[0], StartsWith("Via: 1.1 forward_proxy-"));

    server.send("HTTP/1.1 201 Made  up\r\n"
                "Set-Cookie: a=1\r\n"
                "Server: s\r\n"
                "Set-Cookie: b=2\r\n"
                "Content-Length: 5\r\n"
                "\r\n"
                "hello");
    CHECK(without_via(client.read_head())
        == "HTTP/1.1 201 Made  up\r\n"
           "Set-Cookie: a=1\r\n"
           "Server: s\r\n"
           "Set-Cookie: b=2\r\n"
           "Content-Length: 5\r\n"
           "\r\n");
    CHECK(client.read_exactly(5) == "hello");
}

TEST_CASE("any method is relayed", "[relay]")
{
    const auto method = GENERATE(as<std::string>{}, "HEAD", "PATCH", "DELETE",
        "PROPFIND", "MY-own~METHOD", "OPTIONS", "TRACE");
    CAPTURE(method);
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(
        method + " " + origin.url("/x") + " HTTP/1.1\r\nHost: h\r\n\r\n");
    TestSocket server = origin.accept();
    CHECK(first_line(server.read_head()) == method + " /x HTTP/1.1");
    server.send("HTTP/1.1 204 Done\r\n\r\n");
    CHECK(first_line(client.read_head()) == "HTTP/1.1 204 Done");
}

// RFC 9110 §7.6.1 (P34, P35, P36).
TEST_CASE(
    "fields for this hop and credentials stay here", "[relay][P34][P35][P36]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("GET " + origin.url()
        + " HTTP/1.1\r\n"
          "Host: h\r\n"
          "Proxy-Authorization: Basic c2VjcmV0OnNlY3JldA==\r\n"
          "Proxy-Connection: keep-alive\r\n"
          "Keep-Alive: 300\r\n"
          "TE: trailers, deflate\r\n"
          "Trailer: X-Sum\r\n"
          "Upgrade: h2c\r\n"
          "X-Nominated: 1\r\n"
          "Connection: keep-alive, x-nominated,, proxy-connection\r\n"
          "Connection: X-Other, connection, content-length, host\r\n"
          "X-Other: 2\r\n"
          "Authorization: Bearer kept\r\n"
          "Cookie: kept=1\r\n"
          "Via: 1.0 before\r\n"
          "Content-Length: 0\r\n"
          "\r\n");
    TestSocket server = origin.accept();
    const std::string head = server.read_head();
    for (const char* name : {"Proxy-Authorization", "Proxy-Connection",
             "Keep-Alive", "Trailer", "Upgrade", "X-Nominated", "X-Other"}) {
        CAPTURE(name);
        CHECK(field_lines(head, name).empty());
    }
    CHECK(field_lines(head, "Authorization").size() == 1);
    CHECK(field_lines(head, "Cookie").size() == 1);
    CHECK(field_lines(head, "Host").size() == 1);
    CHECK(field_lines(head, "Content-Length").size() == 1);
    CHECK(field_lines(head, "Via").size() == 2);
    CHECK(field_lines(head, "TE") == std::vector<std::string>{"TE: trailers"});
    CHECK(field_lines(head, "Connection")
        == std::vector<std::string>{"Connection: TE, close"});

    server.send("HTTP/1.1 200 OK\r\n"
                "Connection: X-Hop\r\n"
                "X-Hop: 1\r\n"
                "Keep-Alive: timeout=5\r\n"
                "Proxy-Authenticate: Basic realm=x\r\n"
                "Content-Length: 0\r\n"
                "Via: 1.1 inner\r\n"
                "\r\n");
    const std::string response = client.read_head();
    for (const char* name :
        {"Connection", "X-Hop", "Keep-Alive", "Proxy-Authenticate"}) {
        CAPTURE(name);
        CHECK(field_lines(response, name).empty());
    }
    CHECK(field_lines(response, "Via").size() == 2);
}

TEST_CASE(
    "responses without a body leave the connection usable", "[relay][P22][P23]")
{
    struct Row {
        std::string method, response;
    };
    const auto row = GENERATE(values<Row>({
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"},
        {"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {"GET", "HTTP/1.1 204 No\r\n\r\n"},
        {"GET", "HTTP/1.1 304 Same\r\nContent-Length: 1000\r\n\r\n"},
        {"GET", "HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
    }));
    CAPTURE(row.method, row.response);
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    for (int i = 0; i < 2; ++i) {
        client.send(
            row.method + " " + origin.url() + " HTTP/1.1\r\nHost: h\r\n\r\n");
        TestSocket server = origin.accept();
        server.read_head();
        server.send(row.response);
        CHECK(without_via(client.read_head()) == row.response);
    }
}

TEST_CASE(
    "a body with a length is passed on in both directions", "[relay][P28]")
{
    const std::string body = some_bytes(300'000) + std::string(256, '\0');
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("POST " + origin.url() + " HTTP/1.1\r\nHost: h\r\n"
        + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    TestSocket server = origin.accept();
    server.read_head();
    CHECK(server.read_exactly(body.size()) == body);
    server.send("HTTP/1.1 200 OK\r\nContent-Length: "
        + std::to_string(body.size()) + "\r\n\r\n" + body);
    client.read_head();
    CHECK(client.read_exactly(body.size()) == body);
}

// RFC 9112 §7.1: extensions end here, trailers do not (P26).
TEST_CASE("a chunked body is passed on in both directions", "[relay][P21][P26]")
{
    const std::string sent = "3;ext=1\r\nabc\r\n"
                             "A\r\n0123456789\r\n"
                             "0\r\n"
                             "X-Sum: 1\r\n"
                             "\r\n";
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("POST " + origin.url()
        + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + sent);
    TestSocket server = origin.accept();
    CHECK(field_lines(server.read_head(), "Transfer-Encoding").size() == 1);
    const std::string body = "d\r\nabc0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
    CHECK(server.read_exactly(body.size()) == body);

    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent);
    CHECK(field_lines(client.read_head(), "Transfer-Encoding").size() == 1);
    CHECK(client.read_exactly(body.size()) == body);

    client.send(get(origin));  // the trailer has not put it out of step
    TestSocket next = origin.accept();
    CHECK(first_line(next.read_head()) == "GET / HTTP/1.1");
}

TEST_CASE("a body that ends with the close is passed on so", "[relay]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));
    {
        TestSocket server = origin.accept();
        server.read_head();
        server.send("HTTP/1.0 200 OK\r\n\r\nall there is");
        server.finish_sending();
    }
    CHECK(field_lines(client.read_head(), "Connection")
        == std::vector<std::string>{"Connection: close"});
    CHECK(client.read_to_end() == "all there is");
    CHECK_THAT(proxy.wait_for_log(" 200 "), ContainsSubstring("complete"));
}

// RFC 9112 §7.1 needs HTTP/1.1 on both sides (P32).
TEST_CASE("an HTTP/1.0 client gets no chunks and no interim responses",
    "[relay][P32]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("GET " + origin.url() + " HTTP/1.0\r\n\r\n");
    TestSocket server = origin.accept();
    CHECK(field_lines(server.read_head(), "Host")
        == std::vector<std::string>{"Host: " + origin.authority()});
    server.send("HTTP/1.1 103 Early Hints\r\n\r\n"
                "HTTP/1.1 200 OK\r\n"
                "Transfer-Encoding: chunked\r\n"
                "\r\n"
                "3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 1\r\n\r\n");
    CHECK(without_via(client.read_head())
        == "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    CHECK(client.read_to_end() == "abcdefg");
}

TEST_CASE("interim responses arrive in their order", "[relay][P24]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));
    TestSocket server = origin.accept();
    server.read_head();
    server.send("HTTP/1.1 102 Processing\r\n\r\n");
    CHECK(first_line(client.read_head()) == "HTTP/1.1 102 Processing");
    server.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + ok);
    CHECK(field_lines(client.read_head(), "Link").size() == 1);
    CHECK(first_line(client.read_head()) == "HTTP/1.1 200 OK");
    CHECK(client.read_exactly(2) == "ok");
}

TEST_CASE("what a server sends is passed on before it sends more",
    "[relay][streaming]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));
    TestSocket server = origin.accept();
    server.read_head();
    server.send("HTTP/1.1 200 OK\r\n"
                "Content-Type: text/event-stream\r\n"
                "Transfer-Encoding: chunked\r\n"
                "\r\n"
                "d\r\ndata: first\n\n\r\n");
    client.read_head();
    CHECK(client.read_exactly(18) == "d\r\ndata: first\n\n\r\n");
    server.send("e\r\ndata: second\n\n\r\n0\r\n\r\n");
    CHECK(client.read_exactly(24) == "e\r\ndata: second\n\n\r\n0\r\n\r\n");
}

TEST_CASE("a body that ends with the connection is passed on as it comes",
    "[relay][streaming]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));
    TestSocket server = origin.accept();
    server.read_head();
    server.send("HTTP/1.1 200 OK\r\n\r\nfirst");
    client.read_head();
    CHECK(client.read_exactly(5) == "first");
    server.send("second");
    CHECK(client.read_exactly(6) == "second");
}

TEST_CASE("what a client sends is passed on before it sends more",
    "[relay][streaming]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("POST " + origin.url()
        + " HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
    TestSocket server = origin.accept();
    server.read_head();
    client.send("01234");
    CHECK(server.read_exactly(5) == "01234");
    client.send("56789");
    CHECK(server.read_exactly(5) == "56789");
    server.send(ok);
    CHECK(first_line(client.read_head()) == "HTTP/1.1 200 OK");
}

// A relay that sends the whole body before it reads the response deadlocks
// here: the echo fills every buffer on its way back.
TEST_CASE("10 MB are echoed while they are uploaded", "[relay]")
{
    const std::string body = some_bytes(10'000'000);
    const std::string length = std::to_string(body.size());
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    Background echo{[&] {
        TestSocket server = origin.accept();
        server.read_head();
        server.send(
            "HTTP/1.1 200 OK\r\nContent-Length: " + length + "\r\n\r\n");
        for (std::size_t left = body.size(); left > 0;) {
            const std::size_t n = std::min<std::size_t>(left, 10'000);
            server.send(server.read_exactly(n));
            left -= n;
        }
    }};
    client.send("PUT " + origin.url() + " HTTP/1.1\r\nHost: h\r\n"
        + "Content-Length: " + length + "\r\n\r\n");
    Background upload{[&] { client.send(body); }};
    client.read_head();
    const bool is_equal = client.read_exactly(body.size()) == body;
    upload.join();
    echo.join();
    CHECK(is_equal);
}

// RFC 9110 §10.1.1 (P25).
TEST_CASE("Expect: 100-continue works from end to end", "[relay][P25]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("POST " + origin.url()
        + " HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
          "Content-Length: 4\r\n\r\n");
    TestSocket server = origin.accept();
    CHECK(field_lines(server.read_head(), "Expect").size() == 1);

    SECTION("the server wants the body")
    {
        server.send("HTTP/1.1 100 Continue\r\n\r\n");
        CHECK(first_line(client.read_head()) == "HTTP/1.1 100 Continue");
        client.send("body");
        CHECK(server.read_exactly(4) == "body");
        server.send(ok);
        CHECK(first_line(client.read_head()) == "HTTP/1.1 200 OK");
    }
    SECTION("the server does not want it")
    {
        server.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        const std::string head = client.read_head();
        CHECK(first_line(head) == "HTTP/1.1 413 Too Large");
        CHECK(field_lines(head, "Connection").size() == 1);
        CHECK(client.is_at_end());
    }
}

TEST_CASE("two hosts are reached over one client connection", "[relay][P40]")
{
    Proxy proxy;
    Origin first;
    Origin second;
    TestSocket client = proxy.connect();
    for (Origin* origin : {&first, &second, &first}) {
        client.send(get(*origin));
        TestSocket server = origin->accept();
        CHECK(field_lines(server.read_head(), "Host")
            == std::vector<std::string>{"Host: " + origin->authority()});
        server.send(ok);
        client.read_head();
        CHECK(client.read_exactly(2) == "ok");
    }
    CHECK_THAT(proxy.wait_for_log("#1.1 "), ContainsSubstring(first.url()));
    CHECK_THAT(proxy.wait_for_log("#1.2 "), ContainsSubstring(second.url()));
    CHECK_THAT(proxy.wait_for_log("#1.3 "), ContainsSubstring(first.url()));
}

TEST_CASE("pipelined requests are answered in their order", "[relay][P41]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("POST " + origin.url("/1")
        + " HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
        + get(origin, "/2") + get(origin, "/3"));
    for (const char* path : {"/1", "/2", "/3"}) {
        TestSocket server = origin.accept();
        CHECK_THAT(server.read_head(), ContainsSubstring(path));
        server.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + std::string{path});
        client.read_head();
        CHECK(client.read_exactly(2) == path);
    }
}

// RFC 9112 §9.3, §9.6 (P42).
TEST_CASE(
    "the connection closes when the client asks, and says so", "[relay][P42]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    const bool is_old = GENERATE(false, true);
    client.send("GET " + origin.url()
        + (is_old ? " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                  : " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    TestSocket server = origin.accept();
    server.read_head();
    server.send(ok);
    CHECK(field_lines(client.read_head(), "Connection")
        == std::vector<std::string>{"Connection: close"});
    CHECK(client.read_to_end() == "ok");
}

// --- When it goes wrong -----------------------------------------------------

TEST_CASE("a server that cannot be reached is a 502", "[relay][P52]")
{
    Proxy proxy;
    TestSocket client = proxy.connect();
    SECTION("refused")
    {
        std::string nobody;
        {
            const Origin closed;
            nobody = closed.url();
        }
        client.send("GET " + nobody + " HTTP/1.1\r\nHost: h\r\n\r\n");
        CHECK(first_line(client.read_head())
            == "HTTP/1.1 502 Connection Refused");
    }
    SECTION("unknown name")
    {
        client.send("GET http://no-such-host.invalid/ HTTP/1.1\r\n"
                    "Host: no-such-host.invalid\r\n\r\n");
        CHECK(
            first_line(client.read_head()) == "HTTP/1.1 502 Name Not Resolved");
    }
    CHECK_THAT(client.read_to_end(), StartsWith("502 "));
    proxy.wait_for_log(" 502 ");
}

TEST_CASE("a server that does not answer properly is a 502 or 504", "[relay]")
{
    struct Row {
        std::string response, status_line;
    };
    const auto row = GENERATE(values<Row>({
        {"", "HTTP/1.1 502 Server Closed Without Answer"},
        {"HTTP/1.1 200 OK\r\nA: b", "HTTP/1.1 502 Malformed Response"},
        {"SSH-2.0-OpenSSH_9\r\n\r\n", "HTTP/1.1 502 Malformed Response"},
        {"HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 502 Malformed Response"},
        {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 502 Malformed Response"},
    }));
    CAPTURE(row.response);
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));
    {
        TestSocket server = origin.accept();
        server.read_head();
        server.send(row.response);
    }
    CHECK(first_line(client.read_head()) == row.status_line);
}

TEST_CASE("a server that stays silent is a 504", "[relay]")
{
    Proxy proxy{{"--idle-timeout", "0.2"}};
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));
    TestSocket server = origin.accept();
    CHECK(
        first_line(client.read_head()) == "HTTP/1.1 504 Server Sent No Answer");
    server.read_head();
    CHECK(server.is_at_end());
}

// RFC 9112 §8 (P33).
TEST_CASE("a response cut short does not look complete", "[relay][P33]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    SECTION("with a length")
    {
        client.send(get(origin));
        {
            TestSocket server = origin.accept();
            server.read_head();
            server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
        client.read_head();
        CHECK(client.read_to_end() == "half");
        CHECK_THAT(proxy.wait_for_log(" 200 "),
            ContainsSubstring("6 bytes short of its Content-Length"));
    }
    SECTION("chunked")
    {
        client.send(get(origin));
        {
            TestSocket server = origin.accept();
            server.read_head();
            server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "4\r\nhalf\r\n");
        }
        client.read_head();
        CHECK(client.read_to_end() == "4\r\nhalf\r\n");
        proxy.wait_for_log("before its last chunk");
    }
    SECTION("chunked, for a client that knows no chunks")
    {
        client.send("GET " + origin.url() + " HTTP/1.0\r\n\r\n");
        {
            TestSocket server = origin.accept();
            server.read_head();
            server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "4\r\nhalf\r\n");
        }
        CHECK(client.ends_with_reset());
        proxy.wait_for_log("before its last chunk");
    }
}

TEST_CASE("a client that goes away takes the server's connection with it",
    "[relay][P44]")
{
    Proxy proxy;
    Origin origin;
    auto client = std::make_unique<TestSocket>(proxy.connect());
    client->send(get(origin));
    TestSocket server = origin.accept();
    server.read_head();
    SECTION("before the response") { }
    SECTION("in the middle of a body")
    {
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        client->read_head();
    }
    client->reset_on_close();
    client.reset();
    CHECK(server.is_at_end());
    proxy.wait_for_log("writing to the client: Connection reset by peer");
}

TEST_CASE("a request body cut short is not passed off as complete", "[relay]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("POST " + origin.url()
        + " HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf");
    TestSocket server = origin.accept();
    server.read_head();
    CHECK(server.read_exactly(4) == "half");
    client.finish_sending();
    CHECK(server.is_at_end());
    CHECK(first_line(client.read_head()) == "HTTP/1.1 400 Request Cut Short");
}

TEST_CASE("a malformed request body is a 400", "[relay][smuggling]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("POST " + origin.url()
        + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
          "5\r\nhelloX\r\n0\r\n\r\n");
    TestSocket server = origin.accept();
    CHECK(first_line(client.read_head()) == "HTTP/1.1 400 Malformed Request");
    server.read_head();
    CHECK(server.read_to_end().find("0\r\n\r\n") == std::string::npos);
}

TEST_CASE("a malformed request reaches no server", "[relay][smuggling]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("POST " + origin.url()
        + " HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
          "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + get(origin, "/smuggled"));
    CHECK(first_line(client.read_head()) == "HTTP/1.1 400 Malformed Request");
    client.read_to_end();
    CHECK(origin.is_untouched());
}

// RFC 9112 §9.6: a close over unread bytes would be an RST (P43).
TEST_CASE("an error is read although a large body is still being sent",
    "[relay][P43]")
{
    Proxy proxy;
    TestSocket client = proxy.connect();
    client.send("POST http://no-such-host.invalid/ HTTP/1.1\r\nHost: h\r\n"
                "Content-Length: 10000000\r\n\r\n");
    client.send(std::string(10'000'000, 'x'));
    CHECK(first_line(client.read_head()) == "HTTP/1.1 502 Name Not Resolved");
    CHECK_THAT(client.read_to_end(), StartsWith("502 "));
}

TEST_CASE(
    "what did not arrive whole is not sent a second time", "[relay][smuggling]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));
    origin.accept().read_head();
    CHECK_THAT(client.read_to_end(), StartsWith("HTTP/1.1 502 "));
    CHECK(origin.is_untouched());
}

// RFC 9110 §7.5; RFC 9112 §9.6 (P25, P43).
TEST_CASE(
    "an early refusal is delivered, and stops the upload", "[relay][P25][P43]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("POST " + origin.url()
        + " HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\nbegin");
    TestSocket server = origin.accept();
    server.read_head();
    CHECK(server.read_exactly(5) == "begin");
    server.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
    const std::string head = client.read_head();
    CHECK(first_line(head) == "HTTP/1.1 413 Too Large");
    CHECK(field_lines(head, "Connection").size() == 1);
    CHECK(client.read_to_end() == "big");
    CHECK(server.is_at_end());
}

// A server may answer before it has read the body, and still want it.
TEST_CASE("an early acceptance lets the upload go on", "[relay]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("POST " + origin.url()
        + " HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nbegin");
    TestSocket server = origin.accept();
    server.read_head();
    server.send("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    CHECK(first_line(client.read_head()) == "HTTP/1.1 202 Accepted");
    CHECK(client.is_at_end());
    client.send("later");
    CHECK(server.read_exactly(10) == "beginlater");
    CHECK(server.is_at_end());
    proxy.wait_for_log(" 202 ");
}

// A body that nobody took is not mistaken for the next request (P41).
TEST_CASE("an undeliverable body ends the connection", "[relay][P41]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("POST http://no-such-host.invalid/ HTTP/1.1\r\nHost: h\r\n"
                "Content-Length: 5\r\n\r\nhello"
        + get(origin));
    const std::string answer = client.read_to_end();
    CHECK_THAT(answer, StartsWith("HTTP/1.1 502 Name Not Resolved"));
    CHECK(answer.find("HTTP/1.1", 1) == std::string::npos);
    CHECK(origin.is_untouched());
}

TEST_CASE("a server reset in the middle of a body is an abort", "[relay][P33]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));
    {
        TestSocket server = origin.accept();
        server.read_head();
        server.send("HTTP/1.1 200 OK\r\n\r\nhalf");
        CHECK_THAT(client.read_head(), StartsWith("HTTP/1.1 200 OK"));
        CHECK(client.read_exactly(4) == "half");
        server.reset_on_close();
    }
    CHECK(client.ends_with_reset());
    CHECK_THAT(proxy.wait_for_log(" 200 "),
        ContainsSubstring("reading from the server: Connection reset by peer"));
}

// A FIN is the end of one direction; the client may still be reading.
TEST_CASE("a client that has finished sending gets its response",
    "[relay][half-close]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));
    client.finish_sending();
    TestSocket server = origin.accept();
    server.read_head();
    server.send(ok);
    CHECK_THAT(client.read_to_end(), StartsWith("HTTP/1.1 200 OK"));
}

TEST_CASE("unknown fields pass, and an empty Host does no harm", "[relay][P38]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("GET " + origin.url()
        + " HTTP/1.1\r\nHost:\r\nX-Never-Seen: 1\r\nSec-Odd: ;=,\r\n\r\n");
    const std::string head = origin.accept().read_head();
    CHECK(field_lines(head, "X-Never-Seen").size() == 1);
    CHECK(field_lines(head, "Sec-Odd")
        == std::vector<std::string>{"Sec-Odd: ;=,"});
    CHECK(field_lines(head, "Host")
        == std::vector<std::string>{"Host: " + origin.authority()});
}

// --- Other protocols, and requests to the proxy itself ----------------------

namespace {

const std::string upgrade_fields = "Host: h\r\nConnection: Upgrade\r\n"
                                   "Upgrade: chat/1, chat/2\r\n\r\n";

}  // namespace

// RFC 9110 §7.8 (P39).
TEST_CASE("101 turns the exchange into a tunnel", "[relay][upgrade][P39]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(
        "GET " + origin.url() + " HTTP/1.1\r\n" + upgrade_fields + "early");
    TestSocket server = origin.accept();
    const std::string head = server.read_head();
    CHECK(field_lines(head, "Upgrade")
        == std::vector<std::string>{"Upgrade: chat/1, chat/2"});
    CHECK(field_lines(head, "Connection")
        == std::vector<std::string>{"Connection: Upgrade"});
    server.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                "Upgrade: chat/2\r\nX-Key: 1\r\n\r\nfirst");
    const std::string response = client.read_head();
    CHECK(first_line(response) == "HTTP/1.1 101 Switching Protocols");
    CHECK(field_lines(response, "Upgrade")
        == std::vector<std::string>{"Upgrade: chat/2"});
    CHECK(field_lines(response, "X-Key").size() == 1);
    CHECK(client.read_exactly(5) == "first");
    CHECK(server.read_exactly(5) == "early");
    client.send("not HTTP at all\n");
    CHECK(server.read_exactly(16) == "not HTTP at all\n");
    client.finish_sending();
    CHECK(server.is_at_end());
    server.send("last");
    server.finish_sending();
    CHECK(client.read_to_end() == "last");
    CHECK_THAT(proxy.wait_for_log(" 101 "),
        ContainsSubstring("protocol switched, client finished first"));
}

TEST_CASE("an upgrade that is not taken stays HTTP", "[relay][upgrade][P39]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("GET " + origin.url() + " HTTP/1.1\r\n" + upgrade_fields);
    {
        TestSocket server = origin.accept();
        server.read_head();
        server.send(ok);
    }
    CHECK(first_line(client.read_head()) == "HTTP/1.1 200 OK");
    CHECK(client.read_exactly(2) == "ok");
    client.send(get(origin));
    CHECK(first_line(origin.accept().read_head()) == "GET / HTTP/1.1");
}

TEST_CASE("101 to a client that did not ask is a 502", "[relay][upgrade]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));
    TestSocket server = origin.accept();
    server.read_head();
    server.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
    CHECK(first_line(client.read_head()) == "HTTP/1.1 502 Malformed Response");
}

// RFC 9110 §7.6.3 (P37).
TEST_CASE("a request that comes round again is a loop", "[relay][P37]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));
    TestSocket server = origin.accept();
    const std::string via = field_lines(server.read_head(), "Via").at(0);
    server.send(ok);
    client.read_head();
    client.read_exactly(2);

    const auto method = GENERATE(as<std::string>{}, "GET http://", "CONNECT ");
    client.send(method + origin.authority() + " HTTP/1.1\r\nHost: h\r\n"
        + "Via: 1.0 other (a comment), " + via.substr(5) + "\r\n\r\n");
    CHECK(first_line(client.read_head()) == "HTTP/1.1 508 Loop Detected");
    CHECK(origin.is_untouched());
}

TEST_CASE("another proxy's name in Via is no loop", "[relay][P37]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("GET " + origin.url()
        + " HTTP/1.1\r\nHost: h\r\nVia: 1.1 forward_proxy-0, x\r\n\r\n");
    CHECK(field_lines(origin.accept().read_head(), "Via").size() == 2);
}

// RFC 9110 §7.6.2.
TEST_CASE("Max-Forwards counts down for OPTIONS and TRACE", "[relay]")
{
    const auto method = GENERATE(as<std::string>{}, "OPTIONS", "TRACE");
    CAPTURE(method);
    Proxy proxy;
    Origin origin;
    const std::string start
        = method + " " + origin.url("/x") + " HTTP/1.1\r\nHost: h\r\n";
    TestSocket client = proxy.connect();
    SECTION("to the next")
    {
        client.send(start + "Max-Forwards: 10\r\n\r\n");
        CHECK(field_lines(origin.accept().read_head(), "Max-Forwards")
            == std::vector<std::string>{"Max-Forwards: 9"});
    }
    SECTION("no further")
    {
        client.send(
            start + "Max-Forwards: 0\r\nCookie: secret\r\nX-Shown: 1\r\n\r\n");
        CHECK(first_line(client.read_head()) == "HTTP/1.1 200 OK");
        const std::string body = client.read_to_end();
        CHECK(origin.is_untouched());
        if (method == "TRACE") {
            CHECK_THAT(body, StartsWith(start + "Max-Forwards: 0\r\n"));
            CHECK_THAT(body, ContainsSubstring("X-Shown: 1\r\n"));
            CHECK(body.find("secret") == std::string::npos);
        }
    }
    SECTION("nonsense")
    {
        client.send(start + "Max-Forwards: some\r\n\r\n");
        CHECK_THAT(client.read_head(), StartsWith("HTTP/1.1 400 "));
    }
}

TEST_CASE("OPTIONS for a whole server is sent in asterisk-form", "[relay]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("OPTIONS http://" + origin.authority()
        + " HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(first_line(origin.accept().read_head()) == "OPTIONS * HTTP/1.1");
}

// P67, P68.
TEST_CASE("what was not meant for a proxy is told so", "[relay][P67][P68]")
{
    Proxy proxy;
    TestSocket client = proxy.connect();
    SECTION("a browser looks at the port")
    {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        CHECK(first_line(client.read_head()) == "HTTP/1.1 200 OK");
        CHECK_THAT(client.read_to_end(), ContainsSubstring("curl -x"));
        proxy.wait_for_log("answered by the proxy itself");
    }
    SECTION("another path")
    {
        client.send("GET /favicon.ico HTTP/1.1\r\nHost: h\r\n\r\n");
        CHECK(first_line(client.read_head())
            == "HTTP/1.1 400 Not A Proxy Request");
        CHECK_THAT(client.read_to_end(), ContainsSubstring("curl -x"));
    }
    SECTION("https without CONNECT")
    {
        Origin origin;
        client.send("GET https://" + origin.authority()
            + "/ HTTP/1.1\r\nHost: h\r\n\r\n");
        CHECK(first_line(client.read_head())
            == "HTTP/1.1 400 Use CONNECT For https");
        CHECK(origin.is_untouched());
    }
    SECTION("a ClientHello")
    {
        client.send(
            std::string("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 11));
        CHECK(first_line(client.read_head())
            == "HTTP/1.1 400 TLS Sent To The Plain Port");
        proxy.wait_for_log("TLS Sent To The Plain Port");
    }
    SECTION("the preface of HTTP/2")
    {
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        CHECK(first_line(client.read_head())
            == "HTTP/1.1 505 HTTP Version Not Supported");
        CHECK_THAT(client.read_to_end(), ContainsSubstring("HTTP/2.0"));
    }
}

// --- Memory -----------------------------------------------------------------

namespace {

// The most memory that the program has had in use so far, in KiB.
long peak_memory(Proxy& proxy)
{
    const std::string status
        = read_file("/proc/" + std::to_string(proxy.child().pid()) + "/status");
    return std::stol(status.substr(status.find("VmHWM:") + 6));
}

}  // namespace

// Under a sanitizer the numbers would be the sanitizer's: .ci/check leaves
// this one out there.
TEST_CASE("1 GiB up and down needs no memory", "[relay][memory]")
{
    const std::size_t gib = std::size_t{1} << 30;
    const std::string piece = some_bytes(1 << 20);
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin));  // what one exchange needs is no matter here
    {
        TestSocket server = origin.accept();
        server.read_head();
        server.send(ok);
        client.read_head();
        client.read_exactly(2);
    }
    const long before = peak_memory(proxy);

    client.send("PUT " + origin.url() + " HTTP/1.1\r\nHost: h\r\n"
        + "Content-Length: " + std::to_string(gib) + "\r\n\r\n");
    TestSocket server = origin.accept();
    server.read_head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(gib)
        + "\r\n\r\n");
    client.read_head();
    bool is_equal = true;
    Background echo{[&] {
        for (std::size_t i = 0; i < gib / piece.size(); ++i)
            server.send(server.read_exactly(piece.size()));
    }};
    Background upload{[&] {
        for (std::size_t i = 0; i < gib / piece.size(); ++i)
            client.send(piece);
    }};
    for (std::size_t i = 0; i < gib / piece.size(); ++i)
        is_equal = is_equal && client.read_exactly(piece.size()) == piece;
    upload.join();
    echo.join();
    CHECK(is_equal);
    CHECK(peak_memory(proxy) - before < 4 * 1024);
}

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

// Responses that come before the end of the request: interim ones, and final
// ones that a server sends before it has the whole body (RFC 9110 §7.5).

#include "catch.h"
#include "relay.h"

using Catch::Matchers::EndsWith;

TEST_CASE_METHOD(Relay, "interim responses arrive in their order", "[relay]")
{
    TestSocket server = send(get());
    server.send("HTTP/1.1 102 Processing\r\n\r\n");
    CHECK(status_line() == "HTTP/1.1 102 Processing");
    server.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + ok);
    CHECK(field_lines(client.read_head(), "Link").size() == 1);
    CHECK(status_line() == "HTTP/1.1 200 OK");
    CHECK(client.read_exactly(2) == "ok");
}

// RFC 9110 §10.1.1.
TEST_CASE_METHOD(Relay, "Expect: 100-continue works from end to end", "[relay]")
{
    TestSocket server
        = send(post("Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"));
    CHECK(field_lines(request_head, "Expect").size() == 1);

    SECTION("the server wants the body")
    {
        server.send("HTTP/1.1 100 Continue\r\n\r\n");
        CHECK(status_line() == "HTTP/1.1 100 Continue");
        client.send("body");
        CHECK(server.read_exactly(4) == "body");
        server.send(ok);
        CHECK(status_line() == "HTTP/1.1 200 OK");
    }
    SECTION("the server does not want it")
    {
        server.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        const std::string head = client.read_head();
        CHECK(first_line(head) == "HTTP/1.1 413 Too Large");
        CHECK(field_lines(head, "Connection").size() == 1);
        CHECK(client.is_at_end());
        CHECK_THAT(log_line(), EndsWith(" complete"));
    }
}

// RFC 9112 §9.6.
TEST_CASE_METHOD(
    Relay, "an early refusal is delivered, and stops the upload", "[relay]")
{
    TestSocket server = send(post("Content-Length: 100000000\r\n\r\nbegin"));
    CHECK(server.read_exactly(5) == "begin");
    server.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
    const std::string head = client.read_head();
    CHECK(first_line(head) == "HTTP/1.1 413 Too Large");
    CHECK(field_lines(head, "Connection").size() == 1);
    CHECK(client.read_to_end() == "big");
    CHECK(server.is_at_end());
    CHECK_THAT(log_line(), EndsWith(" complete, request body aborted"));
}

// A server may answer before it has read the body, and still want it.
TEST_CASE_METHOD(Relay, "an early acceptance lets the upload go on", "[relay]")
{
    TestSocket server = send(post("Content-Length: 10\r\n\r\nbegin"));
    server.send("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    CHECK(status_line() == "HTTP/1.1 202 Accepted");
    CHECK(client.is_at_end());
    client.send("later");
    CHECK(server.read_exactly(10) == "beginlater");
    CHECK(server.is_at_end());
    const std::string line = log_line();
    CHECK_THAT(line, ContainsSubstring(" 202 "));
    CHECK_THAT(line, EndsWith(" complete"));
}

// RFC 9112 §9.6: a close over unread bytes would be an RST.
TEST_CASE_METHOD(Relay,
    "an error is read although a large body is still being sent", "[relay]")
{
    client.send("POST http://no-such-host.invalid/ HTTP/1.1\r\nHost: h\r\n"
                "Content-Length: 10000000\r\n\r\n");
    client.send(std::string(10'000'000, 'x'));
    CHECK(status_line() == "HTTP/1.1 502 Name Not Resolved");
    CHECK_THAT(client.read_to_end(), StartsWith("forward_proxy: 502 "));
}

// Each second is counted by itself.  Time has to pass here: 120 in 1.2 s.
TEST_CASE_METHOD(
    Relay, "a hundred interim responses a second are no flood", "[relay]")
{
    const std::string interim = "HTTP/1.1 102 Processing\r\n\r\n";
    TestSocket server = send(get());
    for (int i = 0; i < 120; ++i) {
        server.send(interim);
        CHECK(status_line() == "HTTP/1.1 102 Processing");
        ::usleep(10'000);
    }
    SECTION("the response follows")
    {
        server.send(ok);
        CHECK(status_line() == "HTTP/1.1 200 OK");
    }
    SECTION("a flood may still follow")
    {
        std::string flood;
        for (int i = 0; i < 1000; ++i)
            flood += interim;
        server.send(flood + ok);
        std::string status = status_line();
        while (status == "HTTP/1.1 102 Processing")
            status = status_line();
        CHECK(status == "HTTP/1.1 502 Too Many Interim Responses");
    }
}

// The rest of the response is given up with the upload, and the proxy's own
// shutdown must not look like the end that only a server's FIN is.
TEST_CASE_METHOD(Relay,
    "a chunk that is none, while the response ends with the connection, is a "
    "reset",
    "[relay][framing]")
{
    TestSocket server = send(post("Transfer-Encoding: chunked\r\n\r\n"));
    server.send("HTTP/1.1 200 OK\r\n\r\nbegin");
    CHECK(status_line() == "HTTP/1.1 200 OK");
    CHECK(client.read_exactly(5) == "begin");
    client.send("no chunk size\r\n");
    CHECK(client.ends_with_reset());
}

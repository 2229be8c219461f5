// Where a body ends, seen from outside.  The rules are those of
// tests/framing_test.cpp; here is what happens to an exchange that breaks them.

#include "catch.h"
#include "relay.h"

namespace {

const std::string chunked = "Transfer-Encoding: chunked\r\n\r\n";
const std::string malformed = "HTTP/1.1 400 Malformed Request";

}  // namespace

// --- Refused before anything is forwarded -----------------------------------

TEST_CASE_METHOD(
    Relay, "a malformed request reaches no server", "[relay][smuggling]")
{
    client.send(post("Content-Length: 4\r\n" + chunked + "0\r\n\r\n" + get()));
    CHECK(status_line() == malformed);
    client.read_to_end();
    CHECK(origin.is_untouched());
}

TEST_CASE_METHOD(Relay,
    "a body that is broken where it is already here reaches no server",
    "[relay][smuggling]")
{
    client.send(post(chunked + "5\r\nhelloX\r\n0\r\n\r\n"));
    CHECK(status_line() == malformed);
    client.read_to_end();
    CHECK(origin.is_untouched());
}

// --- Refused on the way -----------------------------------------------------

TEST_CASE_METHOD(
    Relay, "a malformed request body is a 400", "[relay][smuggling]")
{
    TestSocket server = send(post(chunked + "5\r\nhello\r\n"));
    server.read_until("hello\r\n");
    client.send("5\r\nhelloX\r\n0\r\n\r\n");
    CHECK(status_line() == malformed);
    CHECK_THAT(
        client.read_to_end(), ContainsSubstring("not forwarded as a whole"));
    CHECK(server.read_to_end().find("0\r\n\r\n") == std::string::npos);
}

TEST_CASE_METHOD(
    Relay, "more trailer fields than a head may have are refused", "[relay]")
{
    std::string body = "2\r\nok\r\n0\r\n";
    for (std::size_t i = 0; i < 129; ++i)
        body += "A: b\r\n";
    body += "\r\n";
    SECTION("request")
    {
        client.send(post(chunked + body));
        CHECK(status_line() == "HTTP/1.1 431 Request Header Fields Too Large");
    }
    SECTION("response")
    {
        TestSocket server = send(get());
        server.send("HTTP/1.1 200 OK\r\n" + chunked + body);
        client.read_head();
        CHECK(client.read_to_end().find("0\r\n") == std::string::npos);
    }
}

TEST_CASE_METHOD(Relay,
    "a body of chunk extensions is refused in both directions", "[relay]")
{
    const std::string chunk = "1;" + std::string(4000, 'x') + "\r\nd\r\n";
    std::string body;
    for (int i = 0; i < 100; ++i)
        body += chunk;
    body += "0\r\n\r\n";
    SECTION("request")
    {
        client.send(post(chunked + body));
        CHECK(status_line() == malformed);
    }
    SECTION("response")
    {
        TestSocket server = send(get());
        const Background response{
            [&] { server.send("HTTP/1.1 200 OK\r\n" + chunked + body); }};
        client.read_head();
        CHECK(client.read_to_end().find("0\r\n\r\n") == std::string::npos);
    }
}

// --- Trailer fields ---------------------------------------------------------

// RFC 9110 §7.6.1: Connection in the head counts for the trailer section too.
TEST_CASE_METHOD(
    Relay, "nominated trailer fields are dropped in both directions", "[relay]")
{
    const std::string sent = "Connection: X-Hop\r\n" + chunked
        + "0\r\nX-Hop: 1\r\nX-Sum: 2\r\n\r\n";
    const std::string body = "0\r\nX-Sum: 2\r\n\r\n";
    TestSocket server = send(post(sent));
    CHECK(server.read_exactly(body.size()) == body);
    server.send("HTTP/1.1 200 OK\r\n" + sent);
    client.read_head();
    CHECK(client.read_exactly(body.size()) == body);
}

// A client's connection may serve many requests, each with a connection of its
// own to its server; and when it may not.

#include "brief_limits.h"
#include "catch.h"
#include "relay.h"

TEST_CASE("two hosts are reached over one client connection", "[relay]")
{
    Proxy proxy;  // its first connection is #1
    Origin first;
    Origin second;
    TestSocket client = proxy.connect();
    for (Origin* origin : {&first, &second, &first}) {
        client.send("GET " + origin->url() + " HTTP/1.1\r\nHost: h\r\n\r\n");
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

TEST_CASE_METHOD(
    Relay, "pipelined requests are answered in their order", "[relay]")
{
    client.send(request("POST", "Content-Length: 3\r\n\r\nabc", "/1")
        + request("GET", "\r\n", "/2") + request("GET", "\r\n", "/3"));
    for (const char* path : {"/1", "/2", "/3"}) {
        TestSocket server = accept();
        CHECK_THAT(request_head, ContainsSubstring(path));
        server.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + std::string{path});
        client.read_head();
        CHECK(client.read_exactly(2) == path);
    }
}

// The second request waits in the kernel, not in the buffer, while the first is
// answered; a FIN after it is no sign that the client has left.
TEST_CASE_METHOD(Relay, "a request that came before the response is pipelined",
    "[relay][half-close]")
{
    TestSocket first = send(get());
    client.send(get());
    client.finish_sending();
    first.send(ok);
    TestSocket second = accept();
    second.send(ok);
    const std::string responses = client.read_to_end();
    CHECK(responses.find("HTTP/1.1 200 OK", 1) != std::string::npos);
}

// A FIN is the end of one direction; the client may still be reading.
TEST_CASE_METHOD(Relay, "a client that has finished sending gets its response",
    "[relay][half-close]")
{
    client.send(get("Connection: close\r\n\r\n"));
    client.finish_sending();
    TestSocket server = accept();
    server.send(ok);
    CHECK_THAT(client.read_to_end(), StartsWith("HTTP/1.1 200 OK"));
}

// RFC 9112 §9.3, §9.6.
TEST_CASE_METHOD(
    Relay, "the connection closes when the client asks, and says so", "[relay]")
{
    TestSocket server = send(get("Connection: close\r\n\r\n"));
    server.send(ok);
    CHECK(field_lines(client.read_head(), "Connection")
        == std::vector<std::string>{"Connection: close"});
    CHECK(client.read_to_end() == "ok");
}

namespace {

// A request whose body has a CRLF after it, and its response.
struct CrlfAfterBody {
    explicit CrlfAfterBody(const std::vector<std::string>& options)
        : proxy{options}
    {
        TestSocket server
            = relay.send(relay.post("Content-Length: 4\r\n\r\nbody\r\n"));
        server.read_until("body");
        server.send(ok);
        relay.client.read_until("ok");
    }
    Proxy proxy;
    Relay relay{proxy};
};

}  // namespace

// RFC 9112 §2.2: old clients send it.  It is not the beginning of a request.
TEST_CASE("a CRLF after a body is skipped", "[relay]")
{
    SECTION("the client is idle after it, and gets no 408")
    {
        const auto exchange = within_limit(
            milliseconds{100}, [](milliseconds limit) {
                return std::make_unique<CrlfAfterBody>(std::vector<std::string>{
                    "--head-timeout", in_seconds(limit), "--idle-timeout",
                    in_seconds(3 * limit)});
            });
        CHECK(exchange->relay.client.is_at_end());
    }
    SECTION("a request may follow")
    {
        CrlfAfterBody exchange{{}};
        Relay& relay = exchange.relay;
        TestSocket next = relay.send(relay.get());
        next.send(ok);
        CHECK(relay.status_line() == "HTTP/1.1 200 OK");
    }
}

// A body that no server took is not mistaken for the next request.
TEST_CASE_METHOD(
    Relay, "an undeliverable body ends the connection", "[relay][smuggling]")
{
    client.send("POST http://no-such-host.invalid/ HTTP/1.1\r\nHost: h\r\n"
                "Content-Length: 5\r\n\r\nhello"
        + get());
    const std::string answer = client.read_to_end();
    CHECK_THAT(answer, StartsWith("HTTP/1.1 502 Name Not Resolved"));
    CHECK(answer.find("HTTP/1.1", 1) == std::string::npos);
    CHECK(origin.is_untouched());
}

// What the proxy answers itself, and what it sends on.  How messages look on
// the other side is in tests/relay_matrix_test.cpp, byte for byte, and which
// fields stay here in tests/forwarding_test.cpp.

#include "catch.h"
#include "relay.h"

// RFC 9110 §7.6.2.
TEST_CASE_METHOD(
    Relay, "Max-Forwards counts down for OPTIONS and TRACE", "[relay]")
{
    const auto method = GENERATE(as<std::string>{}, "OPTIONS", "TRACE");
    CAPTURE(method);
    SECTION("to the next")
    {
        send(request(method, "Max-Forwards: 10\r\n\r\n"));
        CHECK(field_lines(request_head, "Max-Forwards")
            == std::vector<std::string>{"Max-Forwards: 9"});
    }
    SECTION("no further")
    {
        const std::string start = request(method, "Max-Forwards: 0\r\n");
        client.send(start + "Cookie: secret\r\nX-Shown: 1\r\n\r\n");
        CHECK(status_line() == "HTTP/1.1 200 OK");
        const std::string body = client.read_to_end();
        CHECK(origin.is_untouched());
        if (method == "TRACE") {
            CHECK_THAT(body, StartsWith(start));
            CHECK_THAT(body, ContainsSubstring("X-Shown: 1\r\n"));
            CHECK(body.find("secret") == std::string::npos);
        }
    }
    SECTION("nonsense")
    {
        client.send(request(method, "Max-Forwards: some\r\n\r\n"));
        CHECK_THAT(status_line(), StartsWith("HTTP/1.1 400 "));
    }
}

// RFC 9110 §7.6.3.
TEST_CASE_METHOD(Relay, "a request that comes round again is a loop", "[relay]")
{
    TestSocket server = send(get());
    const std::string via = field_lines(request_head, "Via").at(0);
    server.send(ok);
    client.read_until("ok");

    const auto method = GENERATE(as<std::string>{}, "GET http://", "CONNECT ");
    client.send(method + origin.authority() + " HTTP/1.1\r\nHost: h\r\n"
        + "Via: 1.0 other (a comment), " + via.substr(5) + "\r\n\r\n");
    CHECK(status_line() == "HTTP/1.1 508 Loop Detected");
    CHECK(origin.is_untouched());
}

TEST_CASE_METHOD(Relay, "another proxy's name in Via is no loop", "[relay]")
{
    send(get("Via: 1.1 forward_proxy-0, x\r\n\r\n"));
    CHECK(field_lines(request_head, "Via").size() == 2);
}

TEST_CASE("a browser that looks at the port gets a page", "[relay]")
{
    TestSocket client = default_proxy().connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(first_line(client.read_head()) == "HTTP/1.1 200 OK");
    CHECK_THAT(client.read_to_end(), ContainsSubstring("curl -x"));
    default_proxy().wait_for_log("answered by the proxy itself");
}

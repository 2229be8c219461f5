// Upgrade: another protocol on the same connection (RFC 9110 §7.8).

#include "catch.h"
#include "relay.h"

namespace {

const std::string asking
    = "Connection: Upgrade\r\nUpgrade: chat/1, chat/2\r\n\r\n";

}  // namespace

TEST_CASE_METHOD(
    Relay, "101 turns the exchange into a tunnel", "[relay][upgrade]")
{
    TestSocket server = send(get(asking + "early"));
    CHECK(field_lines(request_head, "Upgrade")
        == std::vector<std::string>{"Upgrade: chat/1, chat/2"});
    CHECK(field_lines(request_head, "Connection")
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
    CHECK_THAT(log_line(),
        ContainsSubstring(" 101 ")
            && ContainsSubstring("protocol switched, client finished first"));
}

TEST_CASE_METHOD(
    Relay, "an upgrade that is not taken stays HTTP", "[relay][upgrade]")
{
    send(get(asking)).send(ok);
    CHECK(status_line() == "HTTP/1.1 200 OK");
    CHECK(client.read_exactly(2) == "ok");
    send(get());
    CHECK(first_line(request_head) == "GET / HTTP/1.1");
}

TEST_CASE_METHOD(
    Relay, "101 to a client that did not ask is a 502", "[relay][upgrade]")
{
    TestSocket server = send(get());
    server.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nbytes");
    CHECK(status_line() == "HTTP/1.1 502 Malformed Response");
    CHECK(client.read_to_end().find("bytes") == std::string::npos);
}

// Else --connect-ports would be got round with one field more.
TEST_CASE("an upgrade is asked for only at ports for tunnels",
    "[relay][upgrade][access]")
{
    const Origin other;
    Proxy proxy{{"--trace", "--connect-ports", other.port()}};
    Relay relay{proxy};
    TestSocket server = relay.send(relay.get(asking));
    CHECK(field_lines(relay.request_head, "Upgrade").empty());
    CHECK(field_lines(relay.request_head, "Connection")
        == std::vector<std::string>{"Connection: close"});
    CHECK_THAT(
        proxy.wait_for_log("no upgrade"), ContainsSubstring("--connect-ports"));
    SECTION("the server answers without it")
    {
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        CHECK(relay.status_line() == "HTTP/1.1 200 OK");
    }
    SECTION("the server switches all the same")
    {
        server.send("HTTP/1.1 101 Switching Protocols\r\n"
                    "Upgrade: chat/1\r\n\r\n");
        CHECK(relay.status_line() == "HTTP/1.1 502 Malformed Response");
    }
    SECTION("at another port")
    {
        TestSocket another = proxy.connect();
        another.send(
            "GET " + other.url() + " HTTP/1.1\r\nHost: h\r\n" + asking);
        CHECK(field_lines(other.accept().read_head(), "Upgrade").size() == 1);
    }
}

// The access log, as the program prints it: one line for each exchange.

#include <set>
#include <sstream>

#include "brief_limits.h"
#include "catch.h"
#include "json.h"
#include "relay.h"

namespace {

Proxy& json_proxy()
{
    static Proxy proxy{{"--log", "json"}};
    return proxy;
}

// The line about a client that has sent this, and was answered.
std::string json_line(const std::string& request)
{
    TestSocket client = json_proxy().connect();
    client.send(request);
    client.read_to_end();
    return json_proxy().wait_for_log('"' + client.address() + '"');
}

// The proxy's Via line, as an origin server gets it: sent back to the proxy, it
// is a loop.
std::string via()
{
    Relay relay{json_proxy()};
    relay.send(relay.get());
    return field_lines(relay.request_head, "Via").at(0);
}

}  // namespace

TEST_CASE_METHOD(Relay, "each exchange is one line of the log", "[log]")
{
    exchange(client, origin);
    CHECK_THAT(log_line(), ContainsSubstring(".1 "));
    exchange(client, origin);
    const std::string line = log_line();
    CAPTURE(line);
    CHECK_THAT(line, ContainsSubstring(".2 "));
    CHECK_THAT(line, ContainsSubstring("\"GET " + origin.url() + "\""));
    CHECK_THAT(line, ContainsSubstring(" " + origin.authority() + " 200 "));
    CHECK_THAT(
        line, ContainsSubstring(" up=" + std::to_string(get().size()) + " "));
    CHECK_THAT(line, ContainsSubstring("complete"));
}

TEST_CASE("--log json gives one object per line", "[log]")
{
    const std::string line = json_line(
        "GET http://no-such-host.invalid/ HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK_THAT(line, StartsWith("{\"time\":\""));
    CHECK_THAT(line, ContainsSubstring("\"server\":null,\"status\":502,"));
    CHECK(line.back() == '}');
}

TEST_CASE("--log json is JSON in UTF-8 whatever bytes come", "[log]")
{
    const auto bytes = GENERATE(as<std::string>{}, "\xff\xfe", "\xc2\x85",
        "\xc2\x9b"
        "2J",
        "\xe2\x80\xae"
        "gnp.exe",
        "\xe2\x81\xa7", "\xe2\x80\xa8", "\xd8\x9c", "\xed\xa0\x80", "\xc0\xaf",
        "\xf4\x90\x80\x80", "\xe4\xbd", "a\tb", "\"\\", "你好。。。", "🙂");
    CAPTURE(bytes);
    for (const std::string& head :
        {"GET http://h/" + bytes + " HTTP/1.1\r\nHost: h\r\n" + via(),
            "GET http://h/ HTTP/1.1\r\nHost: h\r\n" + via() + " (" + bytes
                + ")",
            bytes + " http://h/ HTTP/1.1\r\nHost: h\r\n" + via(),
            "GET http://" + bytes + "/ HTTP/1.1\r\nHost: h\r\n" + via()}) {
        const std::string line = json_line(head + "\r\n\r\n");
        CAPTURE(line);
        CHECK_NOTHROW(JsonLine{line});
    }
}

TEST_CASE("--log json keeps UTF-8, and says which byte is not", "[log]")
{
    const std::string line = json_line(
        "GET http://h/(\"你好\xff\xc2\x85\") HTTP/1.1\r\nHost: h\r\n" + via()
        + "\r\n\r\n");
    CHECK_THAT(line, ContainsSubstring(R"((\"你好\\xff\u0085\"))"));
    CHECK_THAT(
        JsonLine{line}["target"], ContainsSubstring("(\"你好\\xff\xc2\x85\")"));
}

TEST_CASE("a client cannot write its own verdict into the log", "[log]")
{
    const std::string line = json_line("GET http://h/ HTTP/1.1\r\nHost: h\r\n"
        + via() + " -> seen: the certificate has expired\r\n\r\n");
    const std::string ending = JsonLine{line}["ending"];
    CHECK_THAT(ending, StartsWith("Loop Detected: Via has forward_proxy-"));
    CHECK_THAT(ending, !ContainsSubstring("->"));
}

TEST_CASE("--log off says nothing of exchanges", "[log]")
{
    Proxy proxy{{"--log", "off"}};
    Origin origin;
    {
        TestSocket client = proxy.connect();
        exchange(client, origin);
    }
    CHECK(proxy.stop() == 0);
    CHECK(proxy.child().output()
        == "forward_proxy listening on " + proxy.authority() + "\n");
}

TEST_CASE_METHOD(Relay,
    "a client that closes without a request gets one quiet line", "[log]")
{
    client.finish_sending();
    CHECK(client.is_at_end());
    CHECK_THAT(log_line(), ContainsSubstring("closed without a request"));
}

namespace {

// A head that is refused before it is complete, and what the log says of it.
struct Refused {
    std::string bytes;
    bool fin;  // after them
    std::string status;
    std::string up;
};

std::vector<Refused> refused_heads()
{
    const std::string start = "GET http://h/ HTTP/1.1\r\nHost: h\r\n";
    return {{start, true, "400", "up=33 "}, {start, false, "408", "up=33 "},
        {"GET http://h/" + std::string(20'000, 'x'), false, "414", "up="},
        {start + "A: " + std::string(70'000, 'x'), false, "431", "up="},
        {std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", 10), false,
            "400", "up=10 "},
        {start + "no colon\r\n\r\n", false, "400", "up=45 "}};
}

// Only the head that is to be ended by the limit has a short one.
Proxy& proxy_for(const Refused& head)
{
    static Proxy impatient{{"--head-timeout", "0.2"}};
    return head.status == "408" ? impatient : default_proxy();
}

// Its bytes have been sent.
void check_refused(Relay& relay, const Refused& head, const std::string& number)
{
    if (head.fin)
        relay.client.finish_sending();
    CHECK_THAT(relay.status_line(), StartsWith("HTTP/1.1 " + head.status));
    relay.client.read_to_end();
    const std::string line = relay.log_line();
    CHECK_THAT(line,
        ContainsSubstring(number)
            && ContainsSubstring(" - - " + head.status + " ")
            && ContainsSubstring(head.up));
    const std::size_t up = std::stoul(line.substr(line.find("up=") + 3));
    CHECK(up > 0);
    CHECK(up <= head.bytes.size());
}

}  // namespace

TEST_CASE("a refused head is in the log, with its bytes", "[log]")
{
    const Refused head = GENERATE(from_range(refused_heads()));
    CAPTURE(head.status, head.bytes.substr(0, 40));
    Proxy& proxy = proxy_for(head);
    Relay relay{proxy};
    SECTION("of a first request")
    {
        relay.client = connect_and_send(proxy, head.bytes);
        check_refused(relay, head, ".1 ");
    }
    SECTION("of a second")
    {
        relay.client = connect_and_send(proxy, relay.get());
        relay.accept().send(ok);
        relay.client.read_until("\r\n\r\nok");
        relay.log_line();
        relay.client.send(head.bytes);
        check_refused(relay, head, ".2 ");
    }
}

TEST_CASE_METHOD(Relay, "half a head and a reset are in the log", "[log]")
{
    exchange(client, origin);
    log_line();
    const std::string name = " " + client.address() + " ";
    client.send("GET ");
    client.reset_on_close();
    client = proxy.connect();
    CHECK_THAT(proxy.wait_for_log(name),
        ContainsSubstring("up=4 ") && ContainsSubstring("Connection reset"));
}

// accept() overwrites the length that it is given.
TEST_CASE("clients of both families are logged in full", "[log]")
{
    Proxy proxy{{"--user", "a:b"}, "[::]:0"};
    const std::string port = proxy.authority().substr(10);
    for (const std::string host : {"::1", "127.0.0.1", "::1"}) {
        {
            const TestSocket client{dial_test(host, port).socket};
        }
        CHECK_THAT(proxy.wait_for_log("closed without a request"),
            ContainsSubstring(
                host == "::1" ? " [::1]:" : " [::ffff:127.0.0.1]:"));
    }
}

// Fifty connections at once, and each line whole.
TEST_CASE("log lines of many threads do not mix", "[log]")
{
    constexpr int clients = 50;
    Proxy proxy;
    {
        std::vector<TestSocket> sockets;
        for (int i = 0; i < clients; ++i) {
            sockets.push_back(proxy.connect());
            sockets.back().send(
                "GET /" + std::string(1000, 'x') + " HTTP/1.0\r\n\r\n");
        }
        for (TestSocket& socket : sockets)
            socket.read_to_end();
    }
    CHECK(proxy.stop() == 0);
    const std::string output = proxy.child().output();
    std::set<std::string> ids;
    std::istringstream lines{output.substr(output.find('\n') + 1)};
    for (std::string line; std::getline(lines, line);) {
        CHECK_THAT(line, ContainsSubstring("Not A Proxy Request: "));
        ids.insert(line.substr(25, line.find(' ', 25) - 25));
    }
    CHECK(ids.size() == clients);
}

TEST_CASE("a tunnel's line in the log has all its times", "[log]")
{
    std::string client;
    {
        Tunnel tunnel{json_proxy()};
        client = tunnel.client.address();
        tunnel.server.send("x");
        tunnel.client.read_exactly(1);
    }
    const std::string line = json_proxy().wait_for_log(client);
    CAPTURE(line);
    for (const std::string name :
        {"dns_ms", "connect_ms", "first_byte_ms", "total_ms"})
        CHECK_THAT(line,
            ContainsSubstring("\"" + name + "\":")
                && !ContainsSubstring("\"" + name + "\":null"));
}

TEST_CASE("a tunnel that was not made has the times of what was tried", "[log]")
{
    const std::string unknown
        = json_line(connect_request("no-such-host.invalid:443"));
    CHECK_THAT(unknown, !ContainsSubstring("\"dns_ms\":null"));
    CHECK_THAT(unknown, ContainsSubstring("\"connect_ms\":null"));
    CHECK_THAT(json_line(connect_request(ReservedPort{}.authority())),
        !ContainsSubstring("\"connect_ms\":null"));
}

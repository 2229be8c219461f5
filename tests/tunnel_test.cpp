// The tunnel, end to end, with bytes that are no TLS: the proxy does not care.

#include <filesystem>

#include "catch.h"
#include "harness.h"
#include "tunnel.h"

// RFC 9110 §9.3.6 (P1, P2).
TEST_CASE("a tunnel carries bytes both ways", "[tunnel][P1][P2]")
{
    Proxy proxy;
    Tunnel tunnel{proxy};
    const std::string bytes = std::string("\x16\x03\x01\0", 4) + "\r\n\r\n";
    tunnel.client.send(bytes);
    CHECK(tunnel.server.read_exactly(bytes.size()) == bytes);
    tunnel.server.send(bytes);
    CHECK(tunnel.client.read_exactly(bytes.size()) == bytes);
}

TEST_CASE("a tunnel's line in the log has all its times", "[tunnel][log]")
{
    Proxy proxy{{"--log", "json"}};
    {
        Tunnel tunnel{proxy};
        tunnel.server.send("x");
        tunnel.client.read_exactly(1);
    }
    const std::string line = proxy.wait_for_log("CONNECT");
    CAPTURE(line);
    for (const std::string name :
        {"dns_ms", "connect_ms", "first_byte_ms", "total_ms"})
        CHECK_THAT(line,
            ContainsSubstring("\"" + name + "\":")
                && !ContainsSubstring("\"" + name + "\":null"));
}

TEST_CASE("a tunnel that was not made has the times of what was tried",
    "[tunnel][log]")
{
    Proxy proxy{{"--log", "json"}};
    TestSocket client = proxy.connect();
    client.send(connect_request("no-such-host.invalid:443"));
    client.read_to_end();
    const std::string unknown = proxy.wait_for_log("CONNECT");
    CHECK_THAT(unknown, !ContainsSubstring("\"dns_ms\":null"));
    CHECK_THAT(unknown, ContainsSubstring("\"connect_ms\":null"));

    TestSocket other = proxy.connect();
    other.send(connect_request(Origin{}.authority()));
    other.read_to_end();
    CHECK_THAT(proxy.wait_for_log("CONNECT"),
        !ContainsSubstring("\"connect_ms\":null"));
}

TEST_CASE("200 is sent only after the server was reached", "[tunnel][P1]")
{
    Proxy proxy;
    TestSocket client = proxy.connect();
    std::string status;
    SECTION("refused")
    {
        std::string nobody;
        {
            nobody = Origin{}.authority();
        }
        client.send(connect_request(nobody));
        status = "HTTP/1.1 502 Connection Refused";
    }
    SECTION("unknown name")
    {
        client.send(connect_request("no-such-host.invalid:443"));
        status = "HTTP/1.1 502 Name Not Resolved";
    }
    const std::string head = client.read_head();
    CHECK(first_line(head) == status);
    CHECK(field_lines(head, "Connection").size() == 1);
    REQUIRE(field_lines(head, "Content-Length").size() == 1);
    CHECK(std::stoul(field_lines(head, "Content-Length")[0].substr(16))
        == client.read_to_end().size());
}

// A browser may send its ClientHello in the same segment (P3).
TEST_CASE("bytes sent behind CONNECT reach the server first", "[tunnel][P3]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(connect_request(origin.authority()) + "early");
    TestSocket server = origin.accept();
    CHECK(client.read_head() == established);
    client.send(" and late");
    CHECK(server.read_exactly(14) == "early and late");
}

TEST_CASE(
    "a server that speaks first does not come before the 200", "[tunnel][P4]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(connect_request(origin.authority()));
    TestSocket server = origin.accept();
    server.send("SSH-2.0-banner\r\n");
    CHECK(client.read_exactly(established.size() + 16)
        == established + "SSH-2.0-banner\r\n");
}

TEST_CASE("a FIN is passed on, and the other direction goes on",
    "[tunnel][half-close][P5]")
{
    Proxy proxy;
    Tunnel tunnel{proxy};
    SECTION("the client finishes first")
    {
        tunnel.client.send("request");
        tunnel.client.finish_sending();
        CHECK(tunnel.server.read_to_end() == "request");
        tunnel.server.send("a late answer");
        tunnel.server.finish_sending();
        CHECK(tunnel.client.read_to_end() == "a late answer");
        proxy.wait_for_log("client finished first");
    }
    SECTION("the server finishes first")
    {
        tunnel.server.send("greeting");
        tunnel.server.finish_sending();
        CHECK(tunnel.client.read_to_end() == "greeting");
        tunnel.client.send("a late answer");
        tunnel.client.finish_sending();
        CHECK(tunnel.server.read_to_end() == "a late answer");
        proxy.wait_for_log("server finished first");
    }
}

TEST_CASE("after one side has finished, silence ends the tunnel",
    "[tunnel][half-close][P6]")
{
    Proxy proxy{{"--idle-timeout", "0.3"}};
    Tunnel tunnel{proxy};
    tunnel.client.finish_sending();
    CHECK(tunnel.server.is_at_end());
    CHECK(tunnel.client.is_at_end());
    proxy.wait_for_log("client finished first");
}

TEST_CASE("a reset of one side ends the tunnel for both", "[tunnel][P7]")
{
    Proxy proxy;
    auto tunnel = std::make_unique<Tunnel>(proxy);
    TestSocket survivor = GENERATE(true, false)
        ? std::exchange(tunnel->client, TestSocket{socket_pair().first})
        : std::exchange(tunnel->server, TestSocket{socket_pair().first});
    tunnel->client.reset_on_close();
    tunnel->server.reset_on_close();
    tunnel.reset();
    CHECK(survivor.is_at_end());
    proxy.wait_for_log("Connection reset by peer");
}

// The idle time is that of both directions together (P9).
TEST_CASE("traffic in one direction keeps the tunnel open", "[tunnel][P9]")
{
    Proxy proxy{{"--idle-timeout", "0.4"}};
    Tunnel tunnel{proxy};
    const auto start = Clock::now();
    while (Clock::now() - start < milliseconds{1200}) {
        tunnel.server.send("x");
        tunnel.client.read_exactly(1);
        std::this_thread::sleep_for(milliseconds{50});  // this is the traffic
    }
    tunnel.client.send("y");
    CHECK(tunnel.server.read_exactly(1) == "y");
}

// It would hold two threads and two sockets for ever.
TEST_CASE("a client that never reads is given up", "[tunnel][P6]")
{
    Proxy proxy{{"--idle-timeout", "0.3"}};
    Tunnel tunnel{proxy};
    const std::string much = some_bytes(1'000'000);
    CHECK_THROWS([&] {
        for (;;)
            tunnel.server.send(much);
    }());
    CHECK_THAT(proxy.wait_for_log("CONNECT"),
        ContainsSubstring("the client: Connection timed out"));
}

// Bytes of the proxy's own would be taken for the server's (P10).
TEST_CASE("an idle tunnel ends without a word", "[tunnel][P10]")
{
    Proxy proxy{{"--idle-timeout", "0.2"}};
    Tunnel tunnel{proxy};
    CHECK(tunnel.client.is_at_end());
    CHECK(tunnel.server.is_at_end());
    CHECK_THAT(proxy.wait_for_log("CONNECT"), ContainsSubstring("timed out"));
}

TEST_CASE("megabytes pass unchanged both ways at once", "[tunnel][P12]")
{
    const std::string up = some_bytes(8'000'000);
    const std::string down = some_bytes(7'999'999);
    Proxy proxy;
    Tunnel tunnel{proxy};
    Background client_sends{[&] { tunnel.client.send(up); }};
    Background server_sends{[&] { tunnel.server.send(down); }};
    std::string arrived;
    Background server_reads{
        [&] { arrived = tunnel.server.read_exactly(up.size()); }};
    const bool down_is_equal = tunnel.client.read_exactly(down.size()) == down;
    server_reads.join();
    client_sends.join();
    server_sends.join();
    CHECK(down_is_equal);
    CHECK(arrived == up);
}

#ifdef __linux__  // where a reset leaves what came before it

// A server may answer and be gone while the client still sends (P11).
TEST_CASE("last words are read before a reset is seen", "[tunnel][P11]")
{
    const std::string last_words = some_bytes(100'000);
    const Origin origin;
    IdleTimer idle{test_deadline};
    auto [client_side, far_client] = socket_pair();
    Connection client{{std::move(client_side), "client"}, Peer::client, idle};
    TestSocket user{std::move(far_client)};
    Connection server{connect_to({"127.0.0.1", origin.port()}, test_deadline),
        Peer::server, idle};
    {
        TestSocket far_server = origin.accept();
        far_server.send(last_words);
        server.wait_to_read(nullptr);
        far_server.reset_on_close();
    }
    user.send("one more question, for nobody");
    std::string read;
    Background reader{[&] { read = user.read_to_end(); }};
    Trace trace{{}, 1};
    Exchange exchange{client, trace, 1};
    tunnel(client, server, "", exchange);
    client.socket().shut_down();
    reader.join();
    CHECK(read == last_words);
}

#endif

// A descriptor closed twice, or too early, may be somebody else's by then (P8).
TEST_CASE("tunnels that break never touch those that open", "[tunnel][P8]")
{
    Proxy proxy{{"--log", "off"}};
    std::vector<std::unique_ptr<Background>> threads;
    for (int thread = 0; thread < 8; ++thread)
        threads.push_back(std::make_unique<Background>([&proxy, thread] {
            const Origin origin;
            for (int i = 0; i < 100; ++i) {
                Tunnel tunnel{proxy, origin};
                const std::string mine
                    = std::to_string(thread * 1000 + i) + "!";
                tunnel.client.send(mine);
                if (tunnel.server.read_until("!") != mine)
                    throw std::runtime_error{"bytes of another tunnel"};
                tunnel.server.send(mine);
                if (tunnel.client.read_until("!") != mine)
                    throw std::runtime_error{"bytes of another tunnel"};
                if (i % 3 == 0)
                    tunnel.client.reset_on_close();
                if (i % 3 == 1)
                    tunnel.server.reset_on_close();
            }
        }));
    for (const auto& thread : threads)
        CHECK_NOTHROW(thread->join());
}

TEST_CASE("a malformed CONNECT is a 400", "[tunnel][P14][P16]")
{
    const auto request
        = GENERATE(as<std::string>{}, "CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n",
            "CONNECT h:0 HTTP/1.1\r\nHost: h\r\n\r\n",
            "CONNECT user@h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
            "CONNECT http://h:443/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
            "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n"
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    CAPTURE(request);
    Proxy proxy;
    TestSocket client = proxy.connect();
    client.send(request);
    CHECK(first_line(client.read_head()) == "HTTP/1.1 400 Malformed Request");
}

TEST_CASE(
    "an IPv6 literal is reached, and logged with brackets", "[tunnel][P15]")
{
    Proxy proxy;
    Origin origin{"::1"};
    Tunnel tunnel{proxy, origin};
    tunnel.client.send("x");
    CHECK(tunnel.server.read_exactly(1) == "x");
    tunnel.client.finish_sending();
    tunnel.server.finish_sending();
    CHECK_THAT(proxy.wait_for_log("CONNECT [::1]:" + origin.port()),
        ContainsSubstring(" " + origin.authority() + " "));
}

#if defined(__linux__) && !defined(PORTABLE_COPY)

namespace {

// The descriptors that the proxy has open, by what they are.
std::size_t open_pipes(Proxy& proxy)
{
    std::size_t pipes = 0;
    const std::string folder
        = "/proc/" + std::to_string(proxy.child().pid()) + "/fd";
    for (const auto& entry : std::filesystem::directory_iterator{folder}) {
        std::error_code gone;
        const auto target = std::filesystem::read_symlink(entry, gone);
        pipes += target.string().starts_with("pipe:");
    }
    return pipes;
}

}  // namespace

// A pipe holds kernel memory, and there is a quota.
TEST_CASE("a bulk direction has a pipe, and gives it back when quiet",
    "[tunnel][splice]")
{
    Proxy proxy;
    Tunnel tunnel{proxy};
    const std::size_t before = open_pipes(proxy);
    const std::string bytes = some_bytes(20'000'000);
    bool is_equal = false;
    std::size_t during = 0;
    {
        Background sender{[&] { tunnel.server.send(bytes); }};
        is_equal = tunnel.client.read_exactly(10'000'000)
            == bytes.substr(0, 10'000'000);
        during = open_pipes(proxy);
        is_equal = is_equal
            && tunnel.client.read_exactly(10'000'000)
                == bytes.substr(10'000'000);
        sender.join();
    }
    CHECK(is_equal);
    CHECK(during == before + 2);
    const auto deadline = Clock::now() + test_deadline;
    while (open_pipes(proxy) > before && Clock::now() < deadline)
        std::this_thread::yield();
    CHECK(open_pipes(proxy) == before);
    tunnel.server.send("still here");
    CHECK(tunnel.client.read_exactly(10) == "still here");
}

#endif

// Pipes can run out in the middle of a transfer; bytes must not.
TEST_CASE("without descriptors for a pipe, a buffer does", "[tunnel][splice]")
{
    // 3 standard ones, the listener, and the two sockets of the tunnel.
    const Proxy proxy{{}, "127.0.0.1:0", with_ulimit("-n 8")};
    TestSocket client = proxy.connect();
    Origin origin;
    client.send(connect_request(origin.authority()));
    TestSocket server = origin.accept();
    CHECK(client.read_head() == established);
    const std::string bytes = some_bytes(20'000'000);
    Background sender{[&] { server.send(bytes); }};
    const bool is_equal = client.read_exactly(bytes.size()) == bytes;
    sender.join();
    CHECK(is_equal);
}

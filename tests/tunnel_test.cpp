// The tunnel, end to end, with bytes that are no TLS: the proxy does not care.

#include <signal.h>
#include <sys/ioctl.h>

#include <filesystem>

#include "brief_limits.h"
#include "catch.h"
#include "harness.h"
#include "proc.h"
#include "tunnel.h"

// RFC 9110 §9.3.6.
TEST_CASE_METHOD(Tunnel, "a tunnel carries bytes both ways", "[tunnel]")
{
    const std::string bytes = std::string("\x16\x03\x01\0", 4) + "\r\n\r\n";
    client.send(bytes);
    CHECK(server.read_exactly(bytes.size()) == bytes);
    server.send(bytes);
    CHECK(client.read_exactly(bytes.size()) == bytes);
}

TEST_CASE("200 is sent only after the server was reached", "[tunnel]")
{
    const ReservedPort unused;
    TestSocket client = default_proxy().connect();
    std::string status;
    SECTION("refused")
    {
        client.send(connect_request(unused.authority()));
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

// A browser may send its ClientHello in the same segment.
TEST_CASE("bytes sent after CONNECT reach the server first", "[tunnel]")
{
    Origin origin;
    TestSocket client = default_proxy().connect();
    client.send(connect_request(origin.authority()) + "early");
    TestSocket server = origin.accept();
    CHECK(client.read_head() == established);
    client.send(" and late");
    CHECK(server.read_exactly(14) == "early and late");
}

TEST_CASE("a server that speaks first does not come before the 200", "[tunnel]")
{
    Origin origin;
    TestSocket client = default_proxy().connect();
    client.send(connect_request(origin.authority()));
    TestSocket server = origin.accept();
    server.send("SSH-2.0-banner\r\n");
    CHECK(client.read_exactly(established.size() + 16)
        == established + "SSH-2.0-banner\r\n");
}

// RFC 6093: urgent data is no other stream.
TEST_CASE_METHOD(Tunnel, "an urgent byte is one like the others", "[tunnel]")
{
    client.send("ab");
    CHECK(server.read_exactly(2) == "ab");
    client.send_urgent('!');
    client.send("cd");
    CHECK(server.read_exactly(3) == "!cd");

    const std::string half(6'000'000, 'h');
    const std::string rest(6'000'000, 'r');
    Background sender{[&] {
        server.send(half);
        server.send_urgent('!');
        server.send(rest);
        server.finish_sending();
    }};
    const std::string received = client.read_to_end();
    sender.join();
    CHECK(received.size() == half.size() + 1 + rest.size());
    CHECK((received == half + "!" + rest));
}

TEST_CASE_METHOD(Tunnel, "a FIN is passed on, and the other direction goes on",
    "[tunnel][half-close]")
{
    SECTION("the client finishes first")
    {
        client.send("request");
        client.finish_sending();
        CHECK(server.read_to_end() == "request");
        server.send("a late answer");
        server.finish_sending();
        CHECK(client.read_to_end() == "a late answer");
        CHECK_THAT(default_proxy().wait_for_log(client.address()),
            ContainsSubstring("client finished first"));
    }
    SECTION("the server finishes first")
    {
        server.send("greeting");
        server.finish_sending();
        CHECK(client.read_to_end() == "greeting");
        client.send("a late answer");
        client.finish_sending();
        CHECK(server.read_to_end() == "a late answer");
        CHECK_THAT(default_proxy().wait_for_log(client.address()),
            ContainsSubstring("server finished first"));
    }
}

TEST_CASE("after one side has finished, silence ends the tunnel",
    "[tunnel][half-close]")
{
    struct HalfClosed {
        explicit HalfClosed(milliseconds limit)
            : proxy{{"--idle-timeout", in_seconds(limit)}}
        {
            tunnel.client.finish_sending();
            server_is_at_end = tunnel.server.is_at_end();
        }
        Proxy proxy;
        Tunnel tunnel{proxy};
        bool server_is_at_end = false;
    };
    const auto half_closed = within_limit(milliseconds{300},
        [](milliseconds limit) { return std::make_unique<HalfClosed>(limit); });
    CHECK(half_closed->server_is_at_end);
    CHECK(half_closed->tunnel.client.is_at_end());
    half_closed->proxy.wait_for_log("client finished first");
}

TEST_CASE("a reset of one side ends the tunnel for both", "[tunnel]")
{
    auto tunnel = std::make_unique<Tunnel>();
    const std::string name = tunnel->client.address();
    TestSocket survivor = GENERATE(true, false)
        ? std::exchange(tunnel->client, TestSocket{socket_pair().first})
        : std::exchange(tunnel->server, TestSocket{socket_pair().first});
    tunnel->client.reset_on_close();
    tunnel->server.reset_on_close();
    tunnel.reset();
    CHECK(survivor.is_at_end());
    CHECK_THAT(default_proxy().wait_for_log(name),
        ContainsSubstring("Connection reset by peer"));
}

// The proxy sleeps until its client has sent CONNECT and is gone.
TEST_CASE("a client that is gone before the 200 leaves no tunnel", "[tunnel]")
{
    Proxy proxy;
    const Origin origin;
    std::string address;
    proxy.child().signal(SIGSTOP);
    {
        TestSocket client = proxy.connect();
        address = client.address();
        client.send(connect_request(origin.authority()));
        client.reset_on_close();
    }
    proxy.child().signal(SIGCONT);
    TestSocket server = origin.accept();
    CHECK(server.is_at_end());
    CHECK_THAT(proxy.wait_for_log(address), ContainsSubstring(" 200 "));
}

namespace {

// The server sends for three times the limit, and then the client.  False if
// this test has paused for as long as the limit: that ends a tunnel rightly.
bool traffic_keeps_open(milliseconds limit)
{
    Proxy proxy{{"--idle-timeout", in_seconds(limit)}};
    auto last = Clock::now();  // no byte has moved later
    const auto has_paused = [&] { return Clock::now() - last >= limit; };
    try {
        Tunnel tunnel{proxy};
        for (const auto end = last + 3 * limit; Clock::now() < end;) {
            const auto now = Clock::now();
            tunnel.server.send("x");
            tunnel.client.read_exactly(1);
            if (has_paused())
                return false;
            last = now;
            std::this_thread::sleep_for(limit / 8);  // this is the traffic
        }
        tunnel.client.send("y");
        CHECK(tunnel.server.read_exactly(1) == "y");
        return true;
    } catch (const std::exception&) {
        if (has_paused())
            return false;
        throw;
    }
}

}  // namespace

// The idle time is that of both directions together.
TEST_CASE("traffic in one direction keeps the tunnel open", "[tunnel]")
{
    for (milliseconds limit{400}; !traffic_keeps_open(limit); limit *= 2)
        REQUIRE(limit < test_deadline / 2);
}

// It would hold two threads and two sockets for ever.
TEST_CASE("a client that never reads is given up", "[tunnel]")
{
    Proxy proxy{{"--idle-timeout", "4"}};
    Tunnel tunnel{proxy};
    const std::string much = some_bytes(1'000'000);
    CHECK_THROWS([&] {
        for (;;)
            tunnel.server.send(much);
    }());
    CHECK_THAT(proxy.wait_for_log("CONNECT"),
        ContainsSubstring("the client: Connection timed out"));
}

// Bytes of the proxy's own would be taken for the server's.
TEST_CASE("an idle tunnel ends without a word", "[tunnel]")
{
    Proxy proxy{{"--idle-timeout", "0.2"}};
    Tunnel tunnel{proxy};
    CHECK(tunnel.client.is_at_end());
    CHECK(tunnel.server.is_at_end());
    CHECK_THAT(proxy.wait_for_log("CONNECT"), ContainsSubstring("timed out"));
}

#ifdef __linux__

// A loop that asks for bytes instead of waiting for them would run for ever.
TEST_CASE("a quiet tunnel sleeps", "[tunnel]")
{
    Proxy proxy;
    const Tunnel tunnel{proxy};
    CHECK(stays_asleep(proxy.pid()));
}

#endif

TEST_CASE_METHOD(
    Tunnel, "megabytes pass unchanged both ways at once", "[tunnel]")
{
    const std::string up = some_bytes(8'000'000);
    const std::string down = some_bytes(7'999'999);
    Background client_sends{[&] { client.send(up); }};
    Background server_sends{[&] { server.send(down); }};
    std::string arrived;
    Background server_reads{[&] { arrived = server.read_exactly(up.size()); }};
    const bool down_is_equal = client.read_exactly(down.size()) == down;
    server_reads.join();
    client_sends.join();
    server_sends.join();
    CHECK(down_is_equal);
    CHECK(arrived == up);
}

#ifdef __linux__  // where a reset leaves what came before it

// A server may answer and be gone while the client still sends.
TEST_CASE("last words are read before a reset is seen", "[tunnel]")
{
    const std::string last_words = some_bytes(100'000);
    const Origin origin;
    IdleClock idle{test_deadline};
    auto [client_side, far_client] = socket_pair();
    Connection client{{std::move(client_side), "client"}, Peer::client, idle};
    TestSocket user{std::move(far_client)};
    Connection server{
        dial_test("127.0.0.1", origin.port()), Peer::server, idle};
    {
        TestSocket far_server = origin.accept();
        far_server.send(last_words);
        REQUIRE(becomes_true([&] {  // a reset drops what is still on its way
            int here = 0;
            ::ioctl(server.socket().descriptor(), FIONREAD, &here);
            return here == static_cast<int>(last_words.size());
        }));
        far_server.reset_on_close();
    }
    user.send("one more question, which is lost");
    std::string read;
    Background reader{[&] { read = user.read_to_end(); }};
    const TraceSettings untraced;
    Trace trace{untraced, 1};
    Exchange exchange{trace, "client", true};
    tunnel(client, server, "", exchange);
    client.socket().shutdown_both();
    reader.join();
    CHECK(read == last_words);
}

#endif

// A descriptor that is closed twice, or while it is in use, may already belong
// to another connection.
TEST_CASE("tunnels that break never touch those that open", "[tunnel]")
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

TEST_CASE("a malformed CONNECT is a 400", "[tunnel]")
{
    const auto request
        = GENERATE(as<std::string>{}, "CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n",
            "CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
            "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n"
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    CAPTURE(request);
    TestSocket client = default_proxy().connect();
    client.send(request);
    CHECK(first_line(client.read_head()) == "HTTP/1.1 400 Malformed Request");
}

TEST_CASE("an IPv6 literal is reached, and logged with brackets", "[tunnel]")
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

#if defined(__linux__)

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
    const std::string bytes = some_bytes(20'000'000);
    Proxy proxy{{"--idle-timeout", "30"}};  // quiet for 0.75 s
    Tunnel tunnel{proxy};
    const std::size_t before = open_pipes(proxy);
    std::string arrived;
    bool had_pipe = false;  // on a busy machine the stream may have been quiet
    {
        Background sender{[&] { tunnel.server.send(bytes); }};
        while (arrived.size() < bytes.size()) {
            arrived += tunnel.client.read_exactly(500'000);
            had_pipe = had_pipe || open_pipes(proxy) == before + 2;
        }
        sender.join();
    }
    const bool is_equal = arrived == bytes;
    CHECK(is_equal);
    CHECK(had_pipe);
    CHECK(becomes_true([&] { return open_pipes(proxy) == before; }));
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

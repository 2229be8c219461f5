// Limits of time and number, as a client meets them.  What happens when the
// system has no more to give is in tests/scale_test.cpp.

#include <atomic>

#include "brief_limits.h"
#include "catch.h"
#include "relay.h"

TEST_CASE("a head that does not become complete is a 408", "[limits]")
{
    Proxy proxy{{"--head-timeout", "0.2"}};
    TestSocket client = connect_and_send(proxy, "x");
    std::atomic<bool> stop{false};
    // A byte now and then: each read succeeds, the total is what counts.
    Background drip{[&] {
        while (!stop) {
            try {
                client.send("x");
            } catch (const std::exception&) {
                return;
            }
            std::this_thread::sleep_for(milliseconds{20});
        }
    }};
    const std::string line = first_line(client.read_head());
    stop = true;
    drip.join();
    CHECK(line == "HTTP/1.1 408 Request Head Timeout");
}

TEST_CASE(
    "a client past the limit gets 503, and a later one is served", "[limits]")
{
    Proxy proxy{{"--max-clients", "2"}};
    Origin origin;
    auto first = std::make_unique<TestSocket>(proxy.connect());
    TestSocket second = proxy.connect();
    exchange(*first, origin);
    exchange(second, origin);

    TestSocket third = proxy.connect();
    CHECK(first_line(third.read_head()) == "HTTP/1.1 503 Too Many Clients");
    third.read_to_end();

    first.reset();
    CHECK(becomes_true([&] {  // when the thread of the first has ended
        TestSocket later = proxy.connect();
        later.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        return first_line(later.read_head()) == "HTTP/1.1 200 OK";
    }));
}

#ifdef __linux__

TEST_CASE("clients that are refused take no slot of those that are served",
    "[limits][access]")
{
    Proxy proxy{{"--allow", "127.0.0.1", "--max-clients", "2"}};
    const std::string port = proxy.authority().substr(10);
    std::vector<TestSocket> refused;
    for (int i = 0; i < 50; ++i) {
        refused.push_back(connect_from("127.0.0.2", port));
        CHECK(first_line(refused.back().read_head())
            == "HTTP/1.1 403 Client Address Not Allowed");
    }
    // They are still there, and so is the proxy's end of each.
    Origin origin;
    TestSocket first = proxy.connect();
    TestSocket second = proxy.connect();
    exchange(first, origin);
    exchange(second, origin);
    TestSocket third = proxy.connect();
    CHECK(first_line(third.read_head()) == "HTTP/1.1 503 Too Many Clients");
}

TEST_CASE("however many clients are refused, their threads are few",
    "[limits][access]")
{
    Proxy proxy{{"--allow", "127.0.0.1", "--log", "off"}};
    const std::string port = proxy.authority().substr(10);
    std::vector<TestSocket> refused;
    for (int i = 0; i < 400; ++i)
        refused.push_back(connect_from("127.0.0.2", port));
    TestSocket client = proxy.connect();  // accepted after all of them
    exchange(client, Origin{});
    CHECK(threads_of(proxy.pid()) <= 110);  // 100, and the proxy's own
}

#endif

TEST_CASE("a hundred clients are served at once", "[limits]")
{
    constexpr int clients = 100;
    const Proxy& proxy = default_proxy();
    Origin origin;
    // All requests are here before the first is answered.
    std::vector<TestSocket> sockets;
    for (int i = 0; i < clients; ++i) {
        sockets.push_back(proxy.connect());
        sockets.back().send("GET " + origin.url("/" + std::to_string(i))
            + " HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    std::vector<TestSocket> servers;
    std::vector<std::string> paths;
    for (int i = 0; i < clients; ++i) {
        servers.push_back(origin.accept());
        const std::string line = first_line(servers.back().read_head());
        paths.push_back(line.substr(4, line.rfind(' ') - 4));
    }
    for (std::size_t i = 0; i < servers.size(); ++i)
        servers[i].send("HTTP/1.1 200 OK\r\nContent-Length: "
            + std::to_string(paths[i].size()) + "\r\n\r\n" + paths[i]);
    for (int i = 0; i < clients; ++i) {
        const std::string path = "/" + std::to_string(i);
        TestSocket& client = sockets[static_cast<std::size_t>(i)];
        client.read_head();
        CHECK(client.read_exactly(path.size()) == path);
    }
}

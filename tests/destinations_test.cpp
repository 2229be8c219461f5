// Where the proxy does not connect to: itself, by whatever name.

#include <optional>

#include "catch.h"
#include "harness.h"

namespace {

const std::string loop = "HTTP/1.1 508 Loop Detected";

std::string port_of(const Proxy& proxy)
{
    return proxy.authority().substr(proxy.authority().rfind(':') + 1);
}

std::string absolute_form(
    const std::string& method, const std::string& authority_and_path)
{
    return method + " http://" + authority_and_path
        + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
}

// The status line of the answer to one request on a new connection.
std::string status_of(const Proxy& proxy, const std::string& request)
{
    TestSocket client = proxy.connect();
    client.send(request);
    return first_line(client.read_to_end());
}

// The number of the next connection: one more than the proxy has accepted.
std::string next_connection(Proxy& proxy)
{
    TestSocket client = proxy.connect();
    client.send("GET /last HTTP/1.0\r\n\r\n");
    client.read_to_end();
    const std::string line = proxy.wait_for_log("/last");
    return line.substr(line.find('#'), line.find(".1 ") - line.find('#'));
}

struct Name {
    std::string listen;
    std::string host;
};

const std::vector<Name> names_of_the_proxy{
    {"127.0.0.1:0", "127.0.0.1"},
    {"127.0.0.1:0", "localhost"},
    {"127.0.0.1:0", "[::ffff:127.0.0.1]"},
    {"127.0.0.1:0", "127.1"},
    {"127.0.0.1:0", "0.0.0.0"},
    {"localhost:0", "localhost"},
    {"0.0.0.0:0", "127.0.0.1"},
    {"0.0.0.0:0", "localhost"},
    {"[::]:0", "localhost"},
    {"[::]:0", "[::1]"},
    {"[::]:0", "[::]"},
    {"[::]:0", "127.0.0.1"},
    {"[::]:0", "[::ffff:127.0.0.1]"},
#ifdef __linux__
    {"0.0.0.0:0", "127.0.0.2"},
    {"[::]:0", "127.9.9.9"},
#endif
};

}  // namespace

TEST_CASE("a request to the proxy's own listener is a loop", "[destinations]")
{
    const auto name = GENERATE(from_range(names_of_the_proxy));
    Proxy proxy{{"--user", "a:b"}, name.listen};
    const std::string authority = name.host + ":" + port_of(proxy);
    const std::string credentials
        = "Host: h\r\nProxy-Authorization: Basic YTpi\r\n\r\n";
    CAPTURE(name.listen, name.host);

    SECTION("CONNECT")
    {
        CHECK(status_of(
                  proxy, "CONNECT " + authority + " HTTP/1.1\r\n" + credentials)
            == loop);
        CHECK_THAT(proxy.wait_for_log("#1.1"),
            ContainsSubstring("Loop Detected: ")
                && ContainsSubstring(": this proxy listens there"));
    }
    SECTION("a relay")
    {
        CHECK(status_of(proxy,
                  "POST http://" + authority + "/ HTTP/1.1\r\n" + credentials)
            == loop);
    }
    CHECK(next_connection(proxy) == "#2");
}

TEST_CASE("each listener knows the others", "[destinations]")
{
    Proxy proxy{{"--listen", "[::1]:0"}};
    const std::string line = proxy.wait_for_log("listening on [::1]:");
    const std::string other = line.substr(line.find('['));
    CHECK(status_of(proxy, connect_request(other)) == loop);
}

TEST_CASE("the same port of another address is no loop", "[destinations]")
{
    Proxy proxy;
    std::optional<NamedSocket> origin;
    std::string host;
    SECTION("IPv6")
    {
        host = "::1";
    }
#ifdef __linux__
    SECTION("IPv4")
    {
        host = "127.0.0.2";
    }
#endif
    if (host.empty())
        return;
    origin = listen_on(host, port_of(proxy));
    TestSocket client = proxy.connect();
    client.send(connect_request(origin->address));
    CHECK(client.read_head() == established);
}

// 45 KB of them, in one write, became 2,000 threads.
TEST_CASE("nested CONNECT requests take one thread", "[destinations]")
{
    Proxy proxy{{"--max-clients", "50"}};
    std::string nested;
    while (nested.size() < 45'000)
        nested += connect_request("localhost:" + port_of(proxy));
    TestSocket client = proxy.connect();
    client.send(nested);
    CHECK(first_line(client.read_head()) == loop);
#ifdef __linux__
    CHECK(threads_of(proxy.pid()) < 10);
#endif
    CHECK(next_connection(proxy) == "#2");
}

TEST_CASE("a GET of the proxy by its own name gets its page", "[destinations]")
{
    Proxy proxy{{}, "0.0.0.0:0"};
    const std::string host
        = GENERATE("127.0.0.1", "localhost", "[::ffff:127.0.0.1]");
    const std::string authority = host + ":" + port_of(proxy);
    const auto answer = [&](const std::string& request) {
        TestSocket client = proxy.connect();
        client.send(request);
        return client.read_to_end();
    };
    const std::string page = answer("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK_THAT(page, ContainsSubstring("This is forward_proxy"));
    CHECK(answer(absolute_form("GET", authority + "/")) == page);
    CHECK(answer(absolute_form("GET", authority)) == page);
    CHECK(answer(absolute_form("HEAD", authority + "/"))
        == page.substr(0, page.find("\r\n\r\n") + 4));
    CHECK(status_of(proxy, absolute_form("GET", authority + "/x")) == loop);
    CHECK(status_of(proxy, absolute_form("GET", authority + "/?x")) == loop);
    CHECK(status_of(proxy, absolute_form("OPTIONS", authority)) == loop);
}

TEST_CASE("the page asks for credentials, too", "[destinations]")
{
    Proxy proxy{{"--user", "a:b"}};
    CHECK_THAT(status_of(proxy, absolute_form("GET", proxy.authority() + "/")),
        StartsWith("HTTP/1.1 407 "));
}

// A client that is told of a loop as 407 would ask its user for a password.
TEST_CASE("a loop is found before credentials are asked for", "[destinations]")
{
    Proxy proxy{{"--user", "a:b"}};
    Origin origin;
    TestSocket client = proxy.connect();
    client.send("GET " + origin.url()
        + " HTTP/1.1\r\nHost: h\r\nProxy-Authorization: Basic YTpi\r\n\r\n");
    TestSocket server = origin.accept();
    const auto via = field_lines(server.read_head(), "Via");
    REQUIRE(via.size() == 1);
    CHECK(status_of(proxy,
              "GET " + origin.url() + " HTTP/1.1\r\nHost: h\r\n" + via.front()
                  + "\r\n\r\n")
        == loop);
}

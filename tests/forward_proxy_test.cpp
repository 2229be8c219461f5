// The program as a whole: its options, its log, its limits, its end.

#include <signal.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <set>
#include <sstream>

#include "catch.h"
#include "harness.h"

namespace {

const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

std::string get(const Origin& origin, const std::string& fields = "")
{
    return "GET " + origin.url() + " HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n";
}

// One exchange from end to end, so that the connection counts as served.
void exchange(TestSocket& client, const Origin& origin)
{
    client.send(get(origin));
    TestSocket server = origin.accept();
    server.read_head();
    server.send(ok);
    client.read_head();
    client.read_exactly(2);
}

}  // namespace

// --- The command line -------------------------------------------------------

TEST_CASE("the first line names the address", "[proxy]")
{
    Child proxy{
        {PROXY_BINARY, "--listen", "127.0.0.1:0", "--listen", "[::1]:0"}};
    CHECK_THAT(proxy.wait_for_line("listening"),
        StartsWith("forward_proxy listening on 127.0.0.1:"));
    CHECK_THAT(proxy.wait_for_line("listening"),
        StartsWith("forward_proxy listening on [::1]:"));
}

TEST_CASE("--help and --version answer and end", "[proxy]")
{
    const Finished help = run({PROXY_BINARY, "--help"});
    CHECK(help.status == 0);
    for (const char* option : {"--listen", "--user", "--max-clients",
             "--connect-timeout", "--head-timeout", "--idle-timeout", "--log"})
        CHECK_THAT(help.output, ContainsSubstring(option));
    const Finished version = run({PROXY_BINARY, "--version"});
    CHECK(version.status == 0);
    CHECK_THAT(version.output, StartsWith("forward_proxy "));
}

TEST_CASE("a bad option is named, and the status is 2", "[proxy]")
{
    struct Row {
        std::vector<std::string> arguments;
        std::string named;
    };
    const auto row = GENERATE(values<Row>({
        {{"--no-such"}, "no-such"},
        {{"stray"}, "stray"},
        {{"--listen", "127.0.0.1"}, "--listen"},
        {{"--listen", "127.0.0.1:x"}, "--listen"},
        {{"--listen", "127.0.0.1:65536"}, "--listen"},
        {{"--user", "nocolon"}, "--user"},
        {{"--max-clients", "0"}, "--max-clients"},
        {{"--max-clients", "1x"}, "--max-clients"},
        {{"--head-timeout", "-1"}, "--head-timeout"},
        {{"--idle-timeout", "soon"}, "--idle-timeout"},
        {{"--connect-timeout", "0"}, "--connect-timeout"},
        {{"--log", "xml"}, "--log"},
        {{"--allow", "somebody"}, "--allow"},
        {{"--connect-ports", "443,"}, "--connect-ports"},
        {{"--connect-ports", "0"}, "--connect-ports"},
    }));
    std::vector<std::string> command{PROXY_BINARY};
    command.insert(command.end(), row.arguments.begin(), row.arguments.end());
    const Finished finished = run(command);
    CAPTURE(finished.output);
    CHECK(finished.status == 2);
    CHECK_THAT(finished.output, ContainsSubstring(row.named));
    CHECK_THAT(finished.output, ContainsSubstring("--help"));
}

TEST_CASE("an address that cannot be listened on is named, status 1", "[proxy]")
{
    const Origin taken;
    const Finished finished
        = run({PROXY_BINARY, "--listen", taken.authority()});
    CHECK(finished.status == 1);
    CHECK_THAT(finished.output, ContainsSubstring(taken.authority()));
    CHECK_THAT(finished.output, ContainsSubstring("Address already in use"));
}

TEST_CASE("an open proxy on all addresses is warned about", "[proxy]")
{
    CHECK_THAT(Proxy({}, "0.0.0.0:0").child().output(),
        ContainsSubstring("open proxy"));
    CHECK(Proxy({"--user", "a:b"}, "0.0.0.0:0").child().output().find("open")
        == std::string::npos);
    CHECK(Proxy({"--allow", "10.0.0.0/8"}, "0.0.0.0:0")
              .child()
              .output()
              .find("open")
        == std::string::npos);
    CHECK(Proxy{}.child().output().find("open") == std::string::npos);
}

// --- Its end ----------------------------------------------------------------

TEST_CASE("SIGINT and SIGTERM end it with status 0", "[proxy][P60]")
{
    const int number = GENERATE(SIGINT, SIGTERM);
    Proxy proxy;
    Origin origin;
    TestSocket idle = proxy.connect();
    exchange(idle, origin);
    TestSocket tunnel = proxy.connect();
    tunnel.send(
        "CONNECT " + origin.authority() + " HTTP/1.1\r\nHost: h\r\n\r\n");
    TestSocket server = origin.accept();
    tunnel.read_head();
    TestSocket silent = proxy.connect();

    proxy.child().signal(number);
    CHECK(proxy.child().wait() == 0);
    CHECK(tunnel.is_at_end());
    CHECK(server.is_at_end());
    CHECK(idle.is_at_end());
}

TEST_CASE("it can be started again at once on the same port", "[proxy][P61]")
{
    Origin origin;
    std::string authority;
    {
        Proxy proxy;
        authority = proxy.authority();
        TestSocket client = proxy.connect();
        exchange(client, origin);
        CHECK(proxy.stop() == 0);
    }
    Proxy proxy{{}, authority};
    TestSocket client = proxy.connect();
    exchange(client, origin);
}

// --- The log ----------------------------------------------------------------

TEST_CASE("each exchange is one line of the log", "[proxy][log]")
{
    Proxy proxy;
    Origin origin;
    TestSocket client = proxy.connect();
    exchange(client, origin);
    exchange(client, origin);
    const std::string request = get(origin);
    const std::string line = proxy.wait_for_log("#1.2 ");
    CAPTURE(line);
    CHECK_THAT(line, ContainsSubstring("\"GET " + origin.url() + "\""));
    CHECK_THAT(line, ContainsSubstring(" " + origin.authority() + " 200 "));
    CHECK_THAT(
        line, ContainsSubstring(" up=" + std::to_string(request.size()) + " "));
    CHECK_THAT(line, ContainsSubstring("complete"));
}

TEST_CASE("--log json gives one object per line", "[proxy][log]")
{
    Proxy proxy{{"--log", "json"}};
    TestSocket client = proxy.connect();
    client.send("GET http://no-such-host.invalid/ HTTP/1.1\r\nHost: h\r\n\r\n");
    client.read_to_end();
    const std::string line = proxy.wait_for_log("{");
    CHECK_THAT(line, StartsWith("{\"time\":\""));
    CHECK_THAT(line, ContainsSubstring("\"server\":null,\"status\":502,"));
    CHECK(line.back() == '}');
}

TEST_CASE("--log off says nothing of exchanges", "[proxy][log]")
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

// Nobody reads the log any more, or the disk is full: the proxy goes on.
TEST_CASE("a log that cannot be written harms no client", "[proxy][log][P48]")
{
    std::string authority;
    {
        authority = Origin{}.authority();
    }
    std::array<int, 2> pipe{};
    REQUIRE(::pipe(pipe.data()) == 0);
    const std::string output
        = GENERATE("/dev/full", "a pipe that nobody reads");
    const std::string redirection
        = output == "/dev/full" ? output : "&" + std::to_string(pipe[1]);
    const Child child{{"sh", "-c", "exec \"$0\" \"$@\" >" + redirection,
                          PROXY_BINARY, "--listen", authority},
        {pipe[1]}};
    ::close(pipe[0]);
    ::close(pipe[1]);
    const std::string port = authority.substr(authority.rfind(':') + 1);
    const auto deadline = Clock::now() + test_deadline;
    const auto status = [&]() -> std::string {
        for (;;) {
            try {
                TestSocket client = connect_to_port(port);
                client.send("GET / HTTP/1.0\r\n\r\n");
                return first_line(client.read_head());
            } catch (const ConnectError&) {
                if (Clock::now() > deadline)
                    throw;
            }
        }
    };
    for (int i = 0; i < 5; ++i)
        CHECK(status() == "HTTP/1.1 200 OK");
}

TEST_CASE("a client that closes without a request gets one quiet line",
    "[proxy][log][P45]")
{
    Proxy proxy;
    TestSocket client = proxy.connect();
    client.finish_sending();
    CHECK(client.is_at_end());
    CHECK_THAT(proxy.wait_for_log("#1.1 "),
        ContainsSubstring("closed without a request"));
}

// --- Credentials ------------------------------------------------------------

TEST_CASE("--user asks every request for credentials", "[proxy][access][P64]")
{
    Proxy proxy{{"--user", "sam:12345678", "--user", "eve:with:colon,comma"}};
    Origin origin;
    TestSocket client = proxy.connect();

    SECTION("none")
    {
        client.send(get(origin));
        const std::string head = client.read_head();
        CHECK(first_line(head) == "HTTP/1.1 407 Proxy Authentication Required");
        CHECK(field_lines(head, "Proxy-Authenticate")
            == std::vector<std::string>{
                "Proxy-Authenticate: Basic realm=\"forward_proxy\""});
        CHECK(origin.is_untouched());
    }
    SECTION("wrong")
    {
        client.send(get(origin, "Proxy-Authorization: Basic c2FtOm5vCg==\r\n"));
        const std::string head = client.read_head();
        CHECK(first_line(head) == "HTTP/1.1 407 Proxy Credentials Rejected");
        CHECK(field_lines(head, "Proxy-Authenticate").size() == 1);
        CHECK(origin.is_untouched());
    }
    SECTION("for CONNECT")
    {
        client.send(
            "CONNECT " + origin.authority() + " HTTP/1.1\r\nHost: h\r\n\r\n");
        CHECK_THAT(client.read_head(), StartsWith("HTTP/1.1 407 "));
        CHECK(origin.is_untouched());
    }
    SECTION("right, and not forwarded")
    {
        client.send(
            get(origin, "Proxy-Authorization: bASIC c2FtOjEyMzQ1Njc4\r\n"));
        TestSocket server = origin.accept();
        CHECK(field_lines(server.read_head(), "Proxy-Authorization").empty());
        server.send(ok);
        CHECK(first_line(client.read_head()) == "HTTP/1.1 200 OK");
        client.read_exactly(2);
        client.send(get(origin));  // the next one has to bring its own
        CHECK_THAT(client.read_head(), StartsWith("HTTP/1.1 407 "));
    }
    SECTION("right, with a colon and a comma")
    {
        client.send(get(origin,
            "Proxy-Authorization: Basic ZXZlOndpdGg6Y29sb24sY29tbWE=\r\n"));
        TestSocket server = origin.accept();
        server.read_head();
        server.send(ok);
        CHECK(first_line(client.read_head()) == "HTTP/1.1 200 OK");
    }
}

// P65.
TEST_CASE("no request gets past the credentials check", "[proxy][access][P65]")
{
    const auto request = GENERATE(as<std::string>{},
        "GET http://ORIGIN/ HTTP/1.0\r\n\r\n",
        "HEAD http://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "OPTIONS http://ORIGIN HTTP/1.1\r\nHost: h\r\n\r\n",
        "TRACE http://ORIGIN/ HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n",
        "X-OWN http://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT ORIGIN HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    CAPTURE(request);
    Proxy proxy{{"--user", "sam:12345678"}};
    Origin origin;
    TestSocket client = proxy.connect();
    std::string bytes = request;
    if (const auto at = bytes.find("ORIGIN"); at != std::string::npos)
        bytes.replace(at, 6, origin.authority());
    client.send(bytes);
    CHECK_THAT(client.read_head(), StartsWith("HTTP/1.1 407 "));
    CHECK(origin.is_untouched());
}

TEST_CASE(
    "credentials are found under a name in any case", "[proxy][access][P65]")
{
    Proxy proxy{{"--user", "sam:12345678"}};
    Origin origin;
    TestSocket client = proxy.connect();
    client.send(get(origin, "pROXY-aUTHORIZATION: basic c2FtOjEyMzQ1Njc4\r\n"));
    CHECK(first_line(origin.accept().read_head()) == "GET / HTTP/1.1");
}

// --- Limits -----------------------------------------------------------------

TEST_CASE("a head that does not become complete is a 408", "[proxy][P46]")
{
    Proxy proxy{{"--head-timeout", "0.3"}};
    TestSocket client = proxy.connect();
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

TEST_CASE("a head over a limit is a 414 or 431", "[proxy][P63]")
{
    Proxy proxy;
    TestSocket client = proxy.connect();
    SECTION("request line")
    {
        client.send("GET http://h/" + std::string(20'000, 'x'));
        CHECK(first_line(client.read_head()) == "HTTP/1.1 414 URI Too Long");
    }
    SECTION("fields")
    {
        client.send("GET http://h/ HTTP/1.1\r\nA: " + std::string(70'000, 'x'));
        CHECK(first_line(client.read_head())
            == "HTTP/1.1 431 Request Header Fields Too Large");
    }
}

TEST_CASE("a client past the limit gets 503, and a later one is served",
    "[proxy][P55]")
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
    std::string status;
    do {  // until the thread of the first has ended
        TestSocket later = proxy.connect();
        later.send("GET /not-relayed HTTP/1.1\r\nHost: h\r\n\r\n");
        status = first_line(later.read_head());
    } while (status == "HTTP/1.1 503 Too Many Clients");
    CHECK(status == "HTTP/1.1 400 Not A Proxy Request");
}

TEST_CASE("a hundred clients are served at once", "[proxy][P57]")
{
    constexpr int clients = 100;
    Proxy proxy;
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

// accept() overwrites the length that it is given (P49).
TEST_CASE("clients of both families are logged in full", "[proxy][log][P49]")
{
    Proxy proxy{{"--user", "a:b"}, "[::]:0"};
    const std::string port = proxy.authority().substr(10);
    for (const std::string host : {"::1", "127.0.0.1", "::1"}) {
        {
            const TestSocket client{
                connect_to({host, port}, test_deadline).socket};
        }
        CHECK_THAT(proxy.wait_for_log("closed without a request"),
            ContainsSubstring(
                host == "::1" ? " [::1]:" : " [::ffff:127.0.0.1]:"));
    }
}

// P59: fifty connections at once, and each line whole.
TEST_CASE("log lines of many threads do not mix", "[proxy][log][P59]")
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

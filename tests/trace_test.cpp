// The story that --trace tells, read from the program's own output.

#include <algorithm>
#include <map>
#include <regex>
#include <sstream>

#include "catch.h"
#include "harness.h"
#include "support/http_message.h"

namespace {

std::vector<std::string> lines_of(const std::string& text)
{
    std::vector<std::string> lines;
    std::istringstream stream{text};
    for (std::string line; std::getline(stream, line);)
        lines.push_back(line);
    return lines;
}

// Those words, one after the other.
void check_in_order(
    const std::string& text, const std::vector<std::string>& words)
{
    std::size_t from = 0;
    for (const std::string& word : words) {
        const std::size_t found = text.find(word, from);
        if (found == std::string::npos) {
            FAIL_CHECK("not there, or not in order: " << word << "\nin\n"
                                                      << text);
            return;
        }
        from = found + word.size();
    }
}

const std::regex step_line{R"(#\d+(\.\d+)? +(\d+) +\d+\.\dms  [C ].{8}  .*)"};

// The numbers of the steps of each connection; every line must be a step, go
// on with one, be of the log, or be at the start.
std::map<std::string, std::vector<int>> steps_in(const std::string& output)
{
    std::map<std::string, std::vector<int>> steps;
    for (const std::string& line : lines_of(output)) {
        std::smatch match;
        if (std::regex_match(line, match, step_line))
            steps[line.substr(0, line.find_first_of(". "))].push_back(
                std::stoi(match[2]));
        else if (line.starts_with("#"))
            CHECK(
                std::regex_match(line, std::regex{R"(#\d+(\.\d+)? {20,}.*)"}));
        else
            CHECK((line.starts_with("20") || line.starts_with("C is the client")
                || line.starts_with("forward_proxy listening")));
    }
    return steps;
}

void check_numbered_from_one(const std::vector<int>& steps)
{
    for (std::size_t i = 0; i < steps.size(); ++i)
        CHECK(steps[i] == static_cast<int>(i) + 1);
}

// A request and its response, which the test chooses, through a proxy that
// traces; the story up to the line of the log.
std::string story_of(const std::string& request, const std::string& response,
    const std::vector<std::string>& options)
{
    Proxy proxy{options};
    Origin origin;
    std::string to_send = request;
    for (std::size_t at; (at = to_send.find("ORIGIN")) != std::string::npos;)
        to_send.replace(at, 6, origin.authority());
    TestSocket client = proxy.connect();
    client.send(to_send);
    TestSocket server = origin.accept();
    server.read_head();
    server.send(response);
    server.finish_sending();
    client.finish_sending();
    client.read_to_end();
    proxy.wait_for_log(" total=");
    return proxy.child().output();
}

}  // namespace

TEST_CASE("the story of a plain request", "[trace]")
{
    const std::string story = story_of(
        "GET http://ORIGIN/a?b=c HTTP/1.1\r\nHost: ORIGIN\r\n"
        "Proxy-Authorization: Basic c2FtOnNlY3JldA==\r\n"
        "Connection: X-Mine\r\nX-Mine: 1\r\nAccept: */*\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nKeep-Alive: timeout=5\r\n"
        "Strict-Transport-Security: max-age=9\r\n\r\nhello",
        {"--trace", "--user", "sam:secret"});
    check_in_order(story,
        {"C-->P      connected from 127.0.0.1:",
            "C-->P      GET http://127.0.0.1:", "Accept: */*",
            "the proxy credentials are right", "P-->S  looking up 127.0.0.1",
            "P-->S  found 127.0.0.1:", " ms",
            "P-->S  connecting to 127.0.0.1:", "P-->S  connected to 127.0.0.1:",
            "no body is announced (RFC 9112 §6.3, rule 7)",
            "removed Proxy-Authorization: Basic (not shown)",
            "credentials for this proxy alone (RFC 9110 §11.7.2)",
            "removed Connection: X-Mine", "hop-by-hop", "removed X-Mine: 1",
            "nominated by Connection (RFC 9110 §7.6.1)", "added Via: 1.1 ",
            "P-->S  GET /a?b=c HTTP/1.1", "P<--S  HTTP/1.1 103 Early Hints",
            "C<--P      HTTP/1.1 103 Early Hints", "P<--S  HTTP/1.1 200 Fine",
            "a body of 5 bytes: Content-Length (RFC 9112 §6.3, rule 6)",
            "ignore it (RFC 6797 §8.1)", "removed Keep-Alive: timeout=5",
            "C<--P      HTTP/1.1 200 Fine",
            "C<======S  the body is over, 5 bytes", "ended: complete",
            " bytes from the client, "});
    CHECK(story.find("c2FtOnNlY3JldA") == std::string::npos);
    check_numbered_from_one(steps_in(story).at("#1"));
}

TEST_CASE(
    "the story fits 100 columns, and is plain when nobody watches", "[trace]")
{
    const std::string story = story_of("GET http://ORIGIN/"
            + std::string(2000, 'p') + " HTTP/1.1\r\nHost: ORIGIN\r\nX: "
            + std::string(4000, 'x') + " " + std::string(50, 'y') + "\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nX: \xe4\xbd\xa0\xe5\xa5\xbd\r\n\r\n",
        {"--trace", "--log", "text"});
    for (const std::string& line : lines_of(story)) {
        if (!line.starts_with("#"))
            continue;
        const auto columns = std::count_if(line.begin(), line.end(),
            [](char c) { return (c & 0xc0) != 0x80; });
        CHECK(columns <= 100);
    }
    CHECK(story.find('\x1b') == std::string::npos);
    CHECK_THAT(story, ContainsSubstring("... (4051"));
    CHECK_THAT(story, ContainsSubstring("你好"));
}

TEST_CASE("a field value cannot drive the terminal", "[trace]")
{
    const std::string story
        = story_of("GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nX: \xc2\x9b"
                   "2J\xff\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n", {"--trace"});
    CHECK_THAT(story, ContainsSubstring("X: \\xc2\\x9b2J\\xff"));
}

TEST_CASE(
    "a refusal shows whole, and so does each attempt to connect", "[trace]")
{
    Proxy proxy{{"--trace"}};
    TestSocket client = proxy.connect();
    client.send(connect_request("127.0.0.1:1"));
    client.read_to_end();
    proxy.wait_for_log(" total=");
    check_in_order(proxy.child().output(),
        {"C-->P      CONNECT 127.0.0.1:1 HTTP/1.1",
            "no proxy credentials are asked for",
            "P-->S  connecting to 127.0.0.1:1",
            "P-->S  127.0.0.1:1: Connection refused",
            "C<--P      HTTP/1.1 502 Connection Refused", "Proxy-Status: ",
            "The host is there, but nothing listens on that port.",
            "ended: Connection Refused: "});
}

TEST_CASE("the story of a tunnel says who ended it, and how", "[trace]")
{
    Proxy proxy{{"--trace"}};
    {
        Tunnel tunnel{proxy};
        tunnel.client.send("SSH-2.0-test\r\n");
        tunnel.server.read_until("\r\n");
        tunnel.server.send("ping");
        tunnel.client.read_exactly(4);
        tunnel.client.finish_sending();
        tunnel.server.read_to_end();
        tunnel.server.reset_on_close();
    }
    proxy.wait_for_log(" total=");
    // Each direction tells its own story, and they are told at the same time.
    const std::string story = proxy.child().output();
    check_in_order(story,
        {"C<--P      HTTP/1.1 200 Connection established",
            "C======>S  first byte",
            "C======>S  bytes that are not TLS; they look like SSH",
            "C======>S  FIN: nothing more comes from this side",
            "ended: client finished first"});
    check_in_order(story,
        {"C<======S  first byte", "C<======S  bytes that are not TLS",
            "C<======S  reading from the server: Connection reset by peer"});
}

TEST_CASE(
    "fifty connections at once, and no line of theirs is mixed", "[trace]")
{
    Proxy proxy{{"--trace"}};
    Origin origin;
    {
        std::vector<std::unique_ptr<Tunnel>> tunnels;
        for (int i = 0; i < 50; ++i)
            tunnels.push_back(std::make_unique<Tunnel>(proxy, origin));
        std::vector<std::unique_ptr<Background>> talkers;
        for (auto& tunnel : tunnels)
            talkers.push_back(std::make_unique<Background>([&tunnel] {
                tunnel->client.send("hello");
                tunnel->server.send("hello, too");
                tunnel->client.read_exactly(10);
                tunnel->client.finish_sending();
                tunnel->server.finish_sending();
                tunnel->client.read_to_end();
            }));
        for (auto& talker : talkers)
            talker->join();
    }
    for (int i = 0; i < 50; ++i)
        proxy.wait_for_log(" total=");
    const auto steps = steps_in(proxy.child().output());
    CHECK(steps.size() == 50);
    for (const auto& [connection, numbers] : steps) {
        INFO(connection);
        CHECK(numbers.size() >= 15);
        check_numbered_from_one(numbers);
    }
}

TEST_CASE("each exchange of a connection goes on with its numbers", "[trace]")
{
    Proxy proxy{{"--trace"}};
    TestSocket client = proxy.connect();
    for (int n = 0; n < 2; ++n) {
        client.send("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
        if (n == 0)
            client.read_head();
    }
    client.read_to_end();
    proxy.wait_for_log(" total=");
    check_numbered_from_one(steps_in(proxy.child().output()).at("#1"));
}

TEST_CASE("--show-bodies shows text as it comes, Chinese as Chinese", "[trace]")
{
    Proxy proxy{{"--trace", "--show-bodies"}};
    Origin origin;
    TestSocket client = proxy.connect();
    const std::string greeting = "{\"a\":\"你好。。。\"}";
    client.send("POST " + origin.url() + " HTTP/1.1\r\nHost: h\r\n"
        + "Content-Length: " + std::to_string(greeting.size()) + "\r\n\r\n");
    TestSocket server = origin.accept();
    server.read_head();
    client.send(greeting.substr(0, 7));  // in the middle of a character
    proxy.wait_for_log("C======>S  {\"a\":\"");
    client.send(greeting.substr(7));
    proxy.wait_for_log("C======>S  你好。。。\"}");
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (const char* const piece : {"7\r\ndata: 1\r\n", "7\r\ndata: 2\r\n"}) {
        server.send(piece);
        proxy.wait_for_log("C<======S  " + std::string{piece}.substr(3, 7));
    }
    server.send("4\r\n\x1b[2J\r\n0\r\n\r\n");
    proxy.wait_for_log("C<======S  \\x1b[2J");
    proxy.wait_for_log("C<======S  the body is over, 18 bytes");
}

TEST_CASE(
    "--show-bodies shows no more than 4 KiB, and nothing binary", "[trace]")
{
    const auto shown = [](const std::string& body) {
        return story_of("GET http://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size())
                + "\r\n\r\n" + body,
            {"--trace", "--show-bodies"});
    };
    const std::string long_story = shown(std::string(100'000, 'b'));
    CHECK(std::count(long_story.begin(), long_story.end(), 'b') < 4096 + 1000);
    CHECK_THAT(long_story, ContainsSubstring("(and so on)"));
    CHECK_THAT(long_story, ContainsSubstring("the body is over, 100000 bytes"));

    const std::string binary = shown("\xff\xd8\xff\xe0" + std::string(50, 'j'));
    CHECK_THAT(binary, ContainsSubstring("(not UTF-8 text, and not shown)"));
    CHECK(binary.find("jjjj") == std::string::npos);
}

TEST_CASE("bodies stay in the dark without --show-bodies", "[trace]")
{
    CHECK(story_of("GET http://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n",
              "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret", {"--trace"})
              .find("secret")
        == std::string::npos);
    const Finished alone = run({PROXY_BINARY, "--show-bodies"});
    CHECK(alone.status == 2);
    CHECK_THAT(alone.output, ContainsSubstring("--show-bodies: needs --trace"));
}

TEST_CASE("a JSON log stays JSON: the trace goes to standard error", "[trace]")
{
    const TempDir dir;
    Proxy proxy{{"--trace", "--log", "json"}, "127.0.0.1:0",
        {"sh", "-c", "exec \"$@\" 2>" + dir / "trace", "sh"}};
    TestSocket client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client.read_to_end();
    proxy.wait_for_log("\"total_ms\"");
    CHECK(lines_of(proxy.child().output()).size() == 2);
    CHECK_THAT(read_file(dir / "trace"),
        ContainsSubstring("C-->P      GET / HTTP/1.1"));
}

TEST_CASE("colors are for terminals, unless NO_COLOR is set", "[trace]")
{
    // script(1) gives the program a terminal.
    const auto output_on_terminal = [](const std::string& environment) {
        Proxy proxy{{"--trace"}, "127.0.0.1:0",
            {"env", "TERM=xterm", environment, "sh", "-c",
                "exec script -qefc \"$*\" /dev/null", "sh"}};
        TestSocket client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.read_to_end();
        proxy.wait_for_log(" total=");
        return proxy.child().output();
    };
    CHECK_THAT(
        output_on_terminal("UNRELATED=1"), ContainsSubstring("\x1b[36mC-->P"));
    CHECK(output_on_terminal("NO_COLOR=1").find('\x1b') == std::string::npos);
    CHECK(output_on_terminal("TERM=dumb").find('\x1b') == std::string::npos);
}

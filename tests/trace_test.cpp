// The story that --trace tells, read from the program's own output.

#include <algorithm>
#include <map>
#include <regex>

#include "catch.h"
#include "relay.h"
#include "story.h"
#include "support/http/message.h"
#include "tls_bytes.h"

using namespace tls_bytes;

namespace {

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
    "the story fits 100 columns, and is plain without a terminal", "[trace]")
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

namespace {

// A name from the wire that would begin a line.
const std::string forged = "x\r\nforged\x1b[2J";

std::string forging_hello()
{
    const std::string entry = number(0, 1) + number(forged.size(), 2) + forged;
    const std::string protocol = number(forged.size(), 1) + forged;
    return record(22,
        client_hello(extension(0, number(entry.size(), 2) + entry)
            + extension(16, number(protocol.size(), 2) + protocol)));
}

// A ServerHello and a certificate of TLS 1.2.
std::string forging_answer()
{
    const std::string protocol = number(forged.size(), 1) + forged;
    const std::string alpn
        = extension(16, number(protocol.size(), 2) + protocol);
    const std::string name = der(0x30,
        der(0x31, der(0x30, der(0x06, "\x55\x04\x03") + der(0x0c, forged))));
    const std::string certificate = der(0x30,
        der(0x30,
            der(0x02, "1") + der(0x30, "") + name
                + der(0x30, der(0x17, forged) + der(0x17, forged)) + name));
    const std::string list = number(certificate.size(), 3) + certificate;
    return record(22,
               message(2,
                   "\x03\x03" + std::string(32, 'r') + number(0, 1) + "\xc0\x2f"
                       + number(0, 1) + number(alpn.size(), 2) + alpn))
        + record(22, message(11, number(list.size(), 3) + list));
}

}  // namespace

TEST_CASE("names in a tunnel cannot look like a line of ours", "[trace]")
{
    Proxy proxy{{"--trace"}};
    {
        Tunnel tunnel{proxy};
        const std::string hello = forging_hello();
        const std::string answer = forging_answer();
        tunnel.client.send(hello);
        tunnel.server.read_exactly(hello.size());
        tunnel.server.send(answer);
        tunnel.client.read_exactly(answer.size());
    }
    proxy.wait_for_log(" total=");
    const std::string story = proxy.child().output();
    CHECK(story.find_first_of("\r\x1b") == std::string::npos);
    int names = 0;
    for (const std::string& line : lines_of(story)) {
        const std::size_t at = line.find("forged");
        names += at != std::string::npos;
        if (at != std::string::npos)
            CHECK_THAT(line.substr(0, at), ContainsSubstring("x\\x0d\\x0a"));
    }
    CHECK(names == 7);  // SNI, ALPN twice, two names, two dates
    check_numbered_from_one(steps_in(story).at("#1"));
}

TEST_CASE("what goes on a line cannot look like a field line", "[trace]")
{
    const std::string story
        = story_of("GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n\r\n",
            "HTTP/1.1 204 " + std::string(60, 'x')
                + " Set-Cookie: forged\r\nY: z\r\n\r\n",
            {"--trace"});
    const auto indent_of = [&](const std::string& words) {
        for (const std::string& line : lines_of(story))
            if (line.ends_with(' ' + words))
                return line.size() - words.size();
        FAIL("no line ends with " << words);
        return std::size_t{0};
    };
    CHECK(indent_of("Set-Cookie: forged") > indent_of("Y: z"));
}

// Whatever the value looks like.  Only a scheme that is known is shown.
TEST_CASE(
    "no value of a field for credentials or cookies is ever shown", "[trace]")
{
    const std::string request = "GET http://ORIGIN/ HTTP/1.1\r\nHost: h\r\n"
                                "Connection: upgrade, Cookie\r\n"
                                "Upgrade: x\r\n"
                                "AUTHORIZATION: hunter2\r\n"
                                "Authorization: Basic\thunter2\r\n"
                                "Authorization: hunter2 Basic\r\n"
                                "Authorization: Bearer  hunter2\r\n"
                                "Authorization: Basichunter2 x\r\n"
                                "Proxy-Authorization: hunter2\r\n"
                                "Referer: http://user:hunter2@h/\r\n"
                                "Cookie: Basic hunter2; b=hunter2\r\n"
                                "cookie: hunter2\r\n\r\n";
    const auto status = GENERATE(as<std::string>{}, "101 Switching Protocols",
        "200 OK", "502 Bad Gateway");
    CAPTURE(status);
    const std::string story = story_of(request,
        "HTTP/1.1 103 Early Hints\r\nSet-Cookie: hunter2\r\n\r\n"
        "HTTP/1.1 "
            + status
            + "\r\nUpgrade: x\r\nConnection: upgrade\r\n"
              "Set-Cookie: a=hunter2\r\n"
              "set-cookie: Basic hunter2\r\n\r\n",
        {"--trace"});
    CHECK(story.find("hunter2") == std::string::npos);
    check_in_order(story,
        {"AUTHORIZATION: (not shown)", "Authorization: (not shown)",
            "Authorization: Bearer (not shown)", "Cookie: (not shown)",
            "C<--P      HTTP/1.1 103 Early Hints",
            "C<--P      HTTP/1.1 " + status, "Set-Cookie: (not shown)"});
}

TEST_CASE("each line of a rejected head has a mark", "[trace]")
{
    Proxy proxy{{"--trace"}};
    TestSocket client = proxy.connect();
    client.send("GET http://h/ HTTP/1.1\r\nHost: h\r\nX y: "
        + std::string(55, 'x') + " verdict, seen: forged\r\n\r\n");
    client.read_to_end();
    proxy.wait_for_log(" total=");
    const std::string story = proxy.child().output();
    check_in_order(story,
        {"no valid request head, as far as it was read:",
            "  | GET http://h/ HTTP/1.1\n", "  | Host: h\n",
            "  | X y: ", "  |       verdict, seen: forged\n", "  | \n"});
    check_numbered_from_one(steps_in(story).at("#1"));
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
            "C======>S  bytes that are not TLS; they look like SSH",
            "C======>S  FIN: nothing more comes from this side",
            "ended: client finished first"});
    check_in_order(story,
        {"C<======S  bytes that are not TLS",
            "C<======S  reading from the server: Connection reset by peer"});
}

TEST_CASE(
    "what the proxy shuts down after a reset is not shown as a FIN", "[trace]")
{
    Proxy proxy{{"--trace"}};
    Tunnel tunnel{proxy};
    tunnel.client.send("hello");
    tunnel.server.read_exactly(5);
    tunnel.client.reset_on_close();
    const auto reset = [](TestSocket) {};
    reset(std::move(tunnel.client));
    proxy.wait_for_log(" total=");
    const std::string story = proxy.child().output();
    check_in_order(story,
        {"C======>S  reading from the client: Connection reset by peer",
            "ended: reading from the client: Connection reset by peer"});
    CHECK_THAT(story, !ContainsSubstring("FIN"));
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
        CHECK(numbers.size() >= 12);
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

TEST_CASE("the story of a response that is cut short says why", "[trace]")
{
    Proxy proxy{{"--trace"}};
    Relay relay{proxy};
    {
        TestSocket server = relay.send(relay.get());
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
        CHECK(relay.status_line() == "HTTP/1.1 200 OK");
    }
    relay.log_line();
    check_in_order(proxy.child().output(),
        {"C-->P      connected from " + relay.client.address(),
            "C<--P      HTTP/1.1 200 OK",
            "C<--P      the body ended 3 bytes short", "P      ended: "});
}

// What --trace shows of bodies, where it is written, and in which colors.

#include <algorithm>

#include "catch.h"
#include "story.h"

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
    const Finished alone = run({proxy_binary(), "--show-bodies"});
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
    CHECK(proxy.stop() == 0);  // both streams are written to the end
    CHECK(lines_of(proxy.child().output()).size() == 2);
    CHECK_THAT(read_file(dir / "trace"),
        ContainsSubstring("C-->P      GET / HTTP/1.1"));
}

TEST_CASE("colors are for terminals, unless NO_COLOR is set", "[trace]")
{
    const auto output_on_terminal = [](const std::string& environment) {
        Proxy proxy{{"--trace"}, "127.0.0.1:0",
            {"env", "TERM=xterm", environment}, Child::Output::to_terminal};
        TestSocket client = proxy.connect();
        client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        client.read_to_end();
        proxy.wait_for_log(" total=");
        return proxy.child().output();
    };
    const std::string colored = output_on_terminal("UNRELATED=1");
    CHECK_THAT(colored, ContainsSubstring("\x1b[36mC-->P"));
    CHECK_THAT(colored, ContainsSubstring("\x1b[1;31m    P    "));
    CHECK(output_on_terminal("NO_COLOR=1").find('\x1b') == std::string::npos);
    CHECK(output_on_terminal("TERM=dumb").find('\x1b') == std::string::npos);
}

TEST_CASE("lines are as wide as the terminal", "[trace]")
{
    const std::string target = "/" + std::string(120, 'x');
    const auto shows_whole_target = [&](const std::string& columns) {
        Proxy proxy{{"--trace"}, "127.0.0.1:0",
            {"sh", "-c", "stty cols " + columns + " <&1; exec \"$@\"", "sh"},
            Child::Output::to_terminal};
        TestSocket client = proxy.connect();
        client.send("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n");
        client.read_to_end();
        proxy.wait_for_log(" total=");
        const auto lines = lines_of(proxy.child().output());
        return std::any_of(
            lines.begin(), lines.end(), [&](const std::string& line) {
                return line.starts_with("#")
                    && line.find("GET " + target) != std::string::npos;
            });
    };
    CHECK(shows_whole_target("200"));
    CHECK_FALSE(shows_whole_target("100"));
    CHECK_FALSE(shows_whole_target("20"));  // as if there were 80
}

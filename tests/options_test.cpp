// The command line: what is refused, and what the program says and does at its
// start.

#include "support/options.h"

#include "catch.h"
#include "harness.h"

namespace {

Options parse(const std::vector<std::string>& words)
{
    std::vector<const char*> argv{"forward_proxy"};
    for (const std::string& word : words)
        argv.push_back(word.c_str());
    return parse_command_line(static_cast<int>(argv.size()), argv.data());
}

}  // namespace

TEST_CASE("a bad option is named", "[options]")
{
    struct Row {
        std::string option, value;
    };
    const auto row = GENERATE(values<Row>({
        {"--no-such", ""},
        {"stray", ""},
        {"--listen", "127.0.0.1"},
        {"--listen", "127.0.0.1:x"},
        {"--listen", "127.0.0.1:65536"},
        {"--user", "nocolon"},
        {"--max-clients", "0"},
        {"--max-clients", "1x"},
        {"--head-timeout", "-1"},
        {"--idle-timeout", "soon"},
        {"--idle-timeout", "1e3"},
        {"--idle-timeout", "inf"},
        {"--idle-timeout", "nan"},
        {"--idle-timeout", "0x10"},
        {"--idle-timeout", "1.2.3"},
        {"--idle-timeout", " 1"},
        {"--idle-timeout", "+1"},
        {"--idle-timeout", "."},
        {"--idle-timeout", ""},
        {"--idle-timeout", "0.0009"},
        {"--idle-timeout", "1000001"},
        {"--connect-timeout", "0"},
        {"--log", "xml"},
        {"--allow", "not-an-address"},
        {"--connect-ports", "443,"},
        {"--connect-ports", "0"},
        {"--show-bodies", "--log=off"},
    }));
    CAPTURE(row.option, row.value);
    try {
        parse({row.option, row.value});
        FAIL("nothing was thrown");
    } catch (const OptionError& error) {
        CHECK_THAT(error.what(),
            ContainsSubstring(
                row.option.substr(row.option.find_first_not_of('-'))));
    }
}

TEST_CASE("seconds may have decimals", "[options]")
{
    using std::chrono::milliseconds;
    CHECK(parse({"--idle-timeout", "0.001"}).idle_timeout == milliseconds{1});
    CHECK(parse({"--idle-timeout", ".5"}).idle_timeout == milliseconds{500});
    CHECK(parse({"--idle-timeout", "5."}).idle_timeout == milliseconds{5000});
    CHECK(parse({"--idle-timeout", "1000000"}).idle_timeout
        == milliseconds{1'000'000'000});
}

TEST_CASE("a bad option ends the program with status 2", "[options]")
{
    const Finished finished = run({proxy_binary(), "--no-such"});
    CHECK(finished.status == 2);
    CHECK_THAT(finished.output, ContainsSubstring("no-such"));
    CHECK_THAT(finished.output, ContainsSubstring("; see --help\n"));
}

TEST_CASE("--help and --version answer and end", "[options]")
{
    const Finished help = run({proxy_binary(), "--help"});
    CHECK(help.status == 0);
    for (const char* option : {"--listen", "--user", "--max-clients",
             "--connect-timeout", "--head-timeout", "--idle-timeout", "--log"})
        CHECK_THAT(help.output, ContainsSubstring(option));
    const Finished version = run({proxy_binary(), "--version"});
    CHECK(version.status == 0);
    CHECK_THAT(version.output, StartsWith("forward_proxy "));
}

TEST_CASE("the first line names the address", "[options]")
{
    Child proxy{
        {proxy_binary(), "--listen", "127.0.0.1:0", "--listen", "[::1]:0"}};
    CHECK_THAT(proxy.wait_for_line("listening"),
        StartsWith("forward_proxy listening on 127.0.0.1:"));
    CHECK_THAT(proxy.wait_for_line("listening"),
        StartsWith("forward_proxy listening on [::1]:"));
}

TEST_CASE(
    "an address that cannot be listened on is named, status 1", "[options]")
{
    const Origin taken;
    const Finished finished
        = run({proxy_binary(), "--listen", taken.authority()});
    CHECK(finished.status == 1);
    CHECK_THAT(finished.output, ContainsSubstring(taken.authority()));
    CHECK_THAT(finished.output, ContainsSubstring("Address already in use"));
}

TEST_CASE("an open proxy on all addresses is warned about", "[options]")
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

TEST_CASE("only --allow-local-destinations lets other machines reach this one",
    "[options][destinations]")
{
    const auto refusal = [](const std::vector<std::string>& words) {
        return parse(words).destinations.refusal("127.0.0.1:80",
            "192.0.2.7:50000", [] { return std::vector<std::string>{}; });
    };
    CHECK(refusal({}));
    CHECK_FALSE(refusal({"--allow-local-destinations"}));
}

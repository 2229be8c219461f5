#include "support/access.h"

#include "catch.h"

namespace {

IpAddress address(const std::string& text)
{
    const auto parsed = parse_ip_address(text);
    if (!parsed)
        throw std::runtime_error{"not an address: " + text};
    return *parsed;
}

}  // namespace

TEST_CASE("an IPv4 address equals its IPv4-mapped form", "[address]")
{
    CHECK(address("127.0.0.1") == address("::ffff:127.0.0.1"));
    CHECK(address("127.0.0.1") == address("::ffff:7f00:1"));
    CHECK(address("127.0.0.1") != address("::127.0.0.1"));
    CHECK(address("0.0.0.0") != address("::"));
    CHECK(address("fe80::1") == address("fe80::1%eth0"));
    CHECK(networks::ipv4.contain(address("192.0.2.1")));
    CHECK(networks::ipv4.contain(address("::ffff:192.0.2.1")));
    CHECK_FALSE(networks::ipv4.contain(address("2001:db8::1")));
    CHECK_FALSE(networks::ipv4.contain(address("::")));
}

TEST_CASE("what is no address is not parsed", "[address]")
{
    const auto text
        = GENERATE(as<std::string>{}, "", ":", "%", "%eth0", "localhost", "1",
            "127.1", "127.0.0.1%lo", "127.0.0.256", "[::1]", "::1::", "1:2",
            std::string("127.0.0.1\0", 10), std::string("::1\0", 4));
    CAPTURE(text);
    CHECK_FALSE(parse_ip_address(text));
}

TEST_CASE("an endpoint is an address and a port", "[address]")
{
    CHECK(parse_endpoint("192.0.2.1:80")->address == address("192.0.2.1"));
    CHECK(parse_endpoint("192.0.2.1:80")->port == "80");
    CHECK(parse_endpoint("[::1]:3128")->address == address("::1"));
    CHECK(parse_endpoint("[fe80::1%eth0]:65535")->port == "65535");

    const auto text
        = GENERATE(as<std::string>{}, "", "?", ":", ":80", "192.0.2.1", "::1",
            "::1:80", "[192.0.2.1]:80", "[::1", "[]:80", "localhost:80");
    CAPTURE(text);
    CHECK_FALSE(parse_endpoint(text));
}

TEST_CASE("addresses are sorted into their ranges", "[address]")
{
    struct Row {
        std::string text;
        bool loopback;
        bool link_local;
        bool unspecified;
    };
    const auto row = GENERATE(values<Row>({
        {"127.0.0.0", true, false, false},
        {"127.0.0.1", true, false, false},
        {"127.255.255.255", true, false, false},
        {"::ffff:127.0.0.2", true, false, false},
        {"::1", true, false, false},
        {"126.255.255.255", false, false, false},
        {"128.0.0.0", false, false, false},
        {"::2", false, false, false},
        {"::127.0.0.1", false, false, false},
        {"7f00::1", false, false, false},
        {"169.254.0.0", false, true, false},
        {"169.254.169.254", false, true, false},
        {"::ffff:169.254.169.254", false, true, false},
        {"fe80::", false, true, false},
        {"fe80::1%eth0", false, true, false},
        {"febf:ffff::1", false, true, false},
        {"169.253.255.255", false, false, false},
        {"169.255.0.0", false, false, false},
        {"fe7f::1", false, false, false},
        {"fec0::1", false, false, false},
        {"0.0.0.0", false, false, true},
        {"::ffff:0.0.0.0", false, false, true},
        {"::", false, false, true},
        {"0.0.0.1", false, false, false},
        {"10.0.0.1", false, false, false},
        {"192.168.1.1", false, false, false},
        {"255.255.255.255", false, false, false},
        {"2001:db8::1", false, false, false},
        {"fd00::1", false, false, false},
    }));
    CAPTURE(row.text);
    CHECK(networks::loopback.contain(address(row.text)) == row.loopback);
    CHECK(networks::link_local.contain(address(row.text)) == row.link_local);
    CHECK(networks::unspecified.contain(address(row.text)) == row.unspecified);
}

TEST_CASE("a prefix is compared bit by bit", "[address]")
{
    const auto contains = [](const char* network, const char* text) {
        return Networks{network}.contain(address(text));
    };
    CHECK(contains("::/0", "ffff::"));
    CHECK(contains("8000::/1", "ffff::"));
    CHECK_FALSE(contains("8000::/2", "ffff::"));
    CHECK(contains("::2/127", "::3"));
    CHECK_FALSE(contains("::2/128", "::3"));
    CHECK(contains("::3/128", "::3"));
}

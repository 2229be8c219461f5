#include "support/access.h"

#include "catch.h"
#include "support/http/error.h"

TEST_CASE("base64 has padding to groups of four", "[access]")  // RFC 4648 §10
{
    CHECK(encode_base64("") == "");
    CHECK(encode_base64("f") == "Zg==");
    CHECK(encode_base64("fo") == "Zm8=");
    CHECK(encode_base64("foo") == "Zm9v");
    CHECK(encode_base64("fooba") == "Zm9vYmE=");
    CHECK(encode_base64("\xff\xef") == "/+8=");
    CHECK(encode_base64(std::string(3, '\0')) == "AAAA");
}

// RFC 7617 §2.
TEST_CASE("Basic credentials are compared whole", "[access]")
{
    const Users users{{"sam:12345678", "eve:a:b"}};
    CHECK(users.accept("Basic c2FtOjEyMzQ1Njc4"));
    CHECK(users.accept("bASIC   c2FtOjEyMzQ1Njc4"));
    CHECK(users.accept("Basic ZXZlOmE6Yg=="));

    const auto value = GENERATE(as<std::string>{}, "", "Basic", "Basic ",
        "Bearer c2FtOjEyMzQ1Njc4", "Basicc2FtOjEyMzQ1Njc4",
        "Basic c2FtOjEyMzQ1Njc=",  // sam:1234567
        "Basic c2FtOjEyMzQ1Njc4OQ==",  // sam:123456789
        "Basic c2FtOg==",  // sam:
        "Basic c2FtOjEyMzQ1Njc4c2FtOjEyMzQ1Njc4",  // the right one, twice
        "Basic ZXZlOmE=",  // eve:a
        "Basic ZXZlOmE6Yh==",  // eve:a:b with other bits left over
        "Basic ZXZlOmE6Yg=", "Basic ZXZlOmE6Yg",
        "Basic ZXZlOmE6Yg===", "Basic \tZXZlOmE6Yg==", "Basic ZXZl OmE6Yg==",
        "ZXZlOmE6Yg==", "Basic !!!!");
    CAPTURE(value);
    CHECK_FALSE(users.accept(value));
}

TEST_CASE("no credentials are accepted if there is no user", "[access]")
{
    CHECK_FALSE(Users{}.any());
    CHECK_FALSE(Users{}.accept("Basic Og=="));
}

TEST_CASE("the pseudonym is a token, and stays the same", "[access]")
{
    CHECK(is_token(pseudonym()));
    CHECK(&pseudonym() == &pseudonym());
}

// An IPv4 client that comes over an IPv6 listener is itself.
TEST_CASE("networks contain the addresses that they cover", "[access]")
{
    Networks networks;
    CHECK_FALSE(networks.any());
    CHECK(is_allowed("192.0.2.1:1", networks));
    for (const std::string text :
        {"192.168.0.0/16", "10.0.0.1", "172.16.0.0/12", "fd00::/8", "::1"})
        networks.add(text);
    CHECK(networks.any());

    SECTION("inside")
    {
        const auto client = GENERATE(as<std::string>{}, "192.168.0.0:1",
            "192.168.255.255:65535", "[::ffff:192.168.7.7]:1", "10.0.0.1:80",
            "172.31.255.255:1", "[fd12:3456::1]:1", "[fdff::%eth0]:1",
            "[::1]:1");
        CAPTURE(client);
        CHECK(is_allowed(client, networks));
    }
    SECTION("outside")
    {
        const auto client = GENERATE(as<std::string>{}, "192.169.0.0:1",
            "192.167.255.255:1", "[::ffff:192.169.0.1]:1", "10.0.0.2:80",
            "10.0.0.0:80", "172.32.0.0:1", "[fc00::1]:1", "[fe00::1]:1",
            "[::2]:1", "[::]:1", "127.0.0.1:1", "?", "");
        CAPTURE(client);
        CHECK_FALSE(is_allowed(client, networks));
    }
    SECTION("all of them")
    {
        networks.add("0.0.0.0/0");
        CHECK(is_allowed("8.8.8.8:1", networks));
        CHECK(is_allowed("[::ffff:8.8.8.8]:1", networks));
        CHECK_FALSE(is_allowed("[2001:db8::1]:1", networks));
        networks.add("::/0");
        CHECK(is_allowed("[2001:db8::1]:1", networks));
    }
    SECTION("not a network")
    {
        const auto text = GENERATE(as<std::string>{}, "", "/", "/8", "10.0.0/8",
            "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x",
            "fd00::/129", "fe80::1%eth0", "host.example", "10.0.0.1:80",
            "[::1]", " 10.0.0.1");
        CAPTURE(text);
        CHECK_THROWS_AS(networks.add(text), std::invalid_argument);
    }
}

TEST_CASE("a tunnel goes to the ports that are allowed", "[access]")
{
    CHECK(is_port_allowed({"h", "1"}, {}));
    CHECK(is_port_allowed({"h", "8443"}, {"443", "8443"}));
    CHECK_FALSE(is_port_allowed({"h", "44"}, {"443", "8443"}));
}

TEST_CASE("a proxy knows its listeners by the dialled address",
    "[access][destinations]")
{
    const auto interfaces = [] {
        return std::vector<std::string>{
            "127.0.0.1", "192.0.2.1", "::1", "fe80::1%eth0", "2001:db8::1"};
    };
    const auto is_loop
        = [&](const std::string& listener, const std::string& dialled) {
              Destinations destinations;
              destinations.add_listener(listener);
              const auto refusal = destinations.refusal(
                  dialled, "127.0.0.1:50000", interfaces);
              return refusal && refusal->kind == &error::loop
                  && refusal->address == dialled;
          };
    struct Row {
        std::string listener;
        std::string dialled;
        bool loops;
    };
    const auto row = GENERATE(values<Row>({
        {"192.0.2.1:3128", "192.0.2.1:3128", true},
        {"192.0.2.1:3128", "[::ffff:192.0.2.1]:3128", true},
        {"192.0.2.1:3128", "192.0.2.1:3129", false},
        {"192.0.2.1:3128", "192.0.2.2:3128", false},
        {"192.0.2.1:3128", "127.0.0.1:3128", false},
        {"192.0.2.1:3128", "0.0.0.0:3128", false},
        {"127.0.0.1:3128", "0.0.0.0:3128", true},
        {"127.0.0.1:3128", "127.0.0.2:3128", false},
        {"[::1]:3128", "[::]:3128", true},
        {"[::1]:3128", "127.0.0.1:3128", false},
        {"[fe80::1%eth0]:3128", "[fe80::1%eth0]:3128", true},
        {"0.0.0.0:3128", "127.255.0.1:3128", true},
        {"0.0.0.0:3128", "0.0.0.0:3128", true},
        {"0.0.0.0:3128", "192.0.2.1:3128", true},
        {"0.0.0.0:3128", "192.0.2.1:80", false},
        {"0.0.0.0:3128", "192.0.2.2:3128", false},
        {"0.0.0.0:3128", "[::1]:3128", false},
        {"0.0.0.0:3128", "[2001:db8::1]:3128", false},
        {"[::]:3128", "192.0.2.1:3128", true},
        {"[::]:3128", "127.0.0.2:3128", true},
        {"[::]:3128", "[2001:db8::1]:3128", true},
        {"[::]:3128", "[fe80::1%eth0]:3128", true},
        {"[::]:3128", "[2001:db8::2]:3128", false},
        {"[::]:3128", "?", false},
    }));
    CAPTURE(row.listener, row.dialled);
    CHECK(is_loop(row.listener, row.dialled) == row.loops);
}

TEST_CASE("interfaces are listed only where they count", "[access]")
{
    Destinations destinations;
    destinations.add_listener("192.0.2.1:3128");
    destinations.add_listener("0.0.0.0:3129");
    const auto fail = []() -> std::vector<std::string> {
        throw std::runtime_error{"listed"};
    };
    CHECK_FALSE(
        destinations.refusal("192.0.2.9:3128", "192.0.2.7:50000", fail));
    CHECK_FALSE(destinations.refusal("192.0.2.9:80", "192.0.2.7:50000", fail));
    CHECK(destinations.refusal("127.0.0.1:3129", "192.0.2.7:50000", fail));
    CHECK_THROWS(
        destinations.refusal("192.0.2.9:3129", "192.0.2.7:50000", fail));
}

TEST_CASE("clients on other machines reach no local address",
    "[access][destinations]")
{
    const auto no_interfaces = [] { return std::vector<std::string>{}; };
    Destinations destinations;
    destinations.add_listener("0.0.0.0:3128");
    const auto cause
        = [&](const std::string& dialled, const std::string& client) {
              const auto refusal
                  = destinations.refusal(dialled, client, no_interfaces);
              return refusal ? std::optional{refusal->kind} : std::nullopt;
          };
    const auto local = GENERATE(as<std::string>{}, "127.0.0.1:80",
        "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "0.0.0.0:80",
        "[::]:80", "[::ffff:0.0.0.0]:80", "169.254.169.254:80",
        "[::ffff:169.254.1.1]:80", "[fe80::1]:80", "[fe80::1%eth0]:80");
    CAPTURE(local);
    CHECK(cause(local, "192.0.2.7:50000") == &error::local_destination);
    CHECK(cause(local, "[2001:db8::7]:50000") == &error::local_destination);
    CHECK(cause(local, "169.254.1.2:50000") == &error::local_destination);
    CHECK(cause(local, "[fe80::7%eth0]:50000") == &error::local_destination);
    CHECK(cause(local, "?") == &error::local_destination);
    CHECK_FALSE(cause(local, "127.0.0.1:50000"));
    CHECK_FALSE(cause(local, "127.9.9.9:50000"));
    CHECK_FALSE(cause(local, "[::1]:50000"));
    CHECK_FALSE(cause(local, "[::ffff:127.0.0.1]:50000"));

    for (const char* other : {"192.0.2.1:80", "10.0.0.1:80", "[fd00::1]:80",
             "[2001:db8::1]:80", "[::ffff:192.168.1.1]:80"})
        CHECK_FALSE(cause(other, "192.0.2.7:50000"));

    destinations.allow_local();
    CHECK_FALSE(cause(local, "192.0.2.7:50000"));
    CHECK(cause("127.0.0.1:3128", "192.0.2.7:50000") == &error::loop);
}

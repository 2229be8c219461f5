#include "support/access.h"

#include "catch.h"
#include "support/failure.h"

// RFC 4648 §4, §10.
TEST_CASE("base64 is decoded strictly", "[access]")
{
    CHECK(decode_base64("") == "");
    CHECK(decode_base64("Zg==") == "f");
    CHECK(decode_base64("Zm8=") == "fo");
    CHECK(decode_base64("Zm9v") == "foo");
    CHECK(decode_base64("Zm9vYmE=") == "fooba");
    CHECK(decode_base64("/+8=") == "\xff\xef");

    const auto text = GENERATE(as<std::string>{}, "Z", "Zg",
        "Zg=", "Zg===", "Zh==", "Zm9=", "Zm7=", "====", "Z===", "Zm9v=", "Zm=v",
        "Zm9v\n", "Zm 9", "Zm-_");
    CAPTURE(text);
    CHECK_FALSE(decode_base64(text));
}

// RFC 7617 §2 (P64).
TEST_CASE("Basic credentials are compared whole", "[access][P64]")
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
        "Basic !!!!");
    CAPTURE(value);
    CHECK_FALSE(users.accept(value));
}

TEST_CASE("nobody is accepted where nobody is known", "[access]")
{
    CHECK_FALSE(Users{}.any());
    CHECK_FALSE(Users{}.accept("Basic Og=="));
}

TEST_CASE("the pseudonym is a token, and stays the same", "[access]")
{
    CHECK(is_token(pseudonym()));
    CHECK(&pseudonym() == &pseudonym());
}

// An IPv4 client that comes over an IPv6 listener is itself (P66).
TEST_CASE("networks contain the addresses that they cover", "[access][P66]")
{
    Networks networks;
    CHECK_FALSE(networks.any());
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
        CHECK(networks.contain(client));
    }
    SECTION("outside")
    {
        const auto client = GENERATE(as<std::string>{}, "192.169.0.0:1",
            "192.167.255.255:1", "[::ffff:192.169.0.1]:1", "10.0.0.2:80",
            "10.0.0.0:80", "172.32.0.0:1", "[fc00::1]:1", "[fe00::1]:1",
            "[::2]:1", "[::]:1", "127.0.0.1:1", "?", "");
        CAPTURE(client);
        CHECK_FALSE(networks.contain(client));
    }
    SECTION("all of them")
    {
        networks.add("0.0.0.0/0");
        CHECK(networks.contain("8.8.8.8:1"));
        CHECK(networks.contain("[::ffff:8.8.8.8]:1"));
        CHECK_FALSE(networks.contain("[2001:db8::1]:1"));
        networks.add("::/0");
        CHECK(networks.contain("[2001:db8::1]:1"));
    }
    SECTION("not a network")
    {
        const auto text = GENERATE(as<std::string>{}, "", "/", "/8", "10.0.0/8",
            "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x",
            "fd00::/129", "host.example", "10.0.0.1:80", "[::1]", " 10.0.0.1");
        CAPTURE(text);
        CHECK_THROWS_AS(networks.add(text), std::invalid_argument);
    }
}

TEST_CASE("a tunnel goes to the ports that are allowed", "[access]")
{
    CHECK_NOTHROW(check_port({"h", "1"}, {}));
    CHECK_NOTHROW(check_port({"h", "8443"}, {"443", "8443"}));
    CHECK_THROWS_AS(check_port({"h", "44"}, {"443", "8443"}), Failure);
}

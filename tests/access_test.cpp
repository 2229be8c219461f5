#include "support/access.h"

#include "catch.h"

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
        "Zg=", "Zg===", "====", "Z===", "Zm9v=", "Zm=v", "Zm9v\n", "Zm 9",
        "Zm-_");
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

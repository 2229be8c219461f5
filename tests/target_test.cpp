// Request targets: what a request line names, and what becomes of it.

#include "catch.h"
#include "heads.h"

// RFC 9112 §3.2.2: every byte of path and query is kept.
TEST_CASE("absolute-form becomes origin-form", "[target]")
{
    struct Row {
        std::string method, target, host, port, host_field, origin_form;
    };
    const auto row = GENERATE(values<Row>({
        {"GET", "http://h/", "h", "80", "h", "/"},
        {"GET", "http://h", "h", "80", "h", "/"},
        {"GET", "http://h:8080/a", "h", "8080", "h:8080", "/a"},
        {"GET", "HTTP://H.Example/", "H.Example", "80", "H.Example", "/"},
        {"GET", "http://h/a/b;p=1?x=1&y=%2F", "h", "80", "h",
            "/a/b;p=1?x=1&y=%2F"},
        {"GET", "http://h?q", "h", "80", "h", "/?q"},
        {"GET", "http://h/?", "h", "80", "h", "/?"},
        {"GET", "http://h//a/../b/./c", "h", "80", "h", "//a/../b/./c"},
        {"GET", "http://h:/a", "h", "80", "h", "/a"},
        {"GET", "http://[::1]:8080/a", "::1", "8080", "[::1]:8080", "/a"},
        {"GET", "http://[2001:db8::1]", "2001:db8::1", "80", "[2001:db8::1]",
            "/"},
        {"GET", "http://h/a@b:c", "h", "80", "h", "/a@b:c"},
        {"GET", "http://h/a|b\\c\"<d>[e]{f}^`%2%zz%?|'%", "h", "80", "h",
            "/a|b\\c\"<d>[e]{f}^`%2%zz%?|'%"},
        {"GET", "http://h/\xe6\x90\x9c?\xff", "h", "80", "h",
            "/\xe6\x90\x9c?\xff"},
        {"GET", "http://h./", "h.", "80", "h.", "/"},
        {"GET", "http://0x7f.1/", "0x7f.1", "80", "0x7f.1", "/"},
        {"GET", "http://2130706433/", "2130706433", "80", "2130706433", "/"},
        {"GET", "http://under_score/", "under_score", "80", "under_score", "/"},
        {"OPTIONS", "http://h", "h", "80", "h", "*"},
        {"OPTIONS", "http://h/", "h", "80", "h", "/"},
        {"OPTIONS", "http://h?q", "h", "80", "h", "/?q"},
    }));
    CAPTURE(row.method, row.target);
    const HttpTarget target = parse_absolute_form(row.target, row.method);
    CHECK(target.authority == Authority{row.host, row.port});
    CHECK(target.host_field == row.host_field);
    CHECK(target.origin_form == row.origin_form);
}

// A proxy that is stricter than browsers and curl only breaks them.
TEST_CASE(
    "every byte of path and query is kept that a client may send", "[target]")
{
    for (int byte = 0; byte <= 0xff; ++byte) {
        CAPTURE(byte);
        const std::string path
            = "/a" + std::string(1, static_cast<char>(byte)) + "?b";
        const auto parse = [&] {
            return parse_absolute_form("http://h" + path, "GET").origin_form;
        };
        if (byte > ' ' && byte != '#' && byte != 0x7f)
            CHECK(parse() == path);
        else
            CHECK(reason_of(parse) == error::malformed_request.reason);
    }
}

TEST_CASE("a target that is refused says why", "[target]")
{
    struct Row {
        std::string target, why;
    };
    const auto row = GENERATE(values<Row>({
        {"http://user@h/", "user information"},
        {"http", "not an absolute URI"},
        {"h:80", "not an absolute URI"},
        {"ftp://h/", "scheme is not http"},
        {"http://[::1/", "no closing bracket"},
        {"http://[::1]x/", "not followed by a colon"},
        {"http://*/", "host name"},
        {"http://h:0/", "port"},
        {"http://h/#x", "fragment"},
    }));
    CHECK_THROWS_WITH(
        parse_absolute_form(row.target, "GET"), ContainsSubstring(row.why));
}

TEST_CASE("a target outside the grammar is refused", "[target]")
{
    const auto target = GENERATE(as<std::string>{},
        "http:///path",  //
        "http://:80/",  //
        "http://user@h/",  //
        "http://user:pass@h/",  //
        "http://h:0/",  //
        "http://h:65536/",  //
        "http://h:99999999999999999999/",  //
        "http://h:+80/",  //
        "http://h:8o/",  //
        "http://[::1/",  //
        "http://[::g]/",  //
        "http://[1.2.3.4]/",  //
        "http://[::1]x/",  //
        "http://h/a#fragment",  //
        "http://h#fragment",  //
        "http://h/?a#fragment",  //
        "http://h/a b",  //
        "http://h/a\x01",  //
        "http://h/a\x7f",  //
        "http://h\\@g/",  //
        "http://h\\g/",  //
        "http://*/",  //
        "http://a*b/",  //
        "http://a!b/",  //
        "http://a$b/",  //
        "http://a&b/",  //
        "http://a'b/",  //
        "http://(a)/",  //
        "http://a+b/",  //
        "http://a,b/",  //
        "http://a;b/",  //
        "http://a=b/",  //
        "http://a~b/",  //
        "http://a%62/",  //
        "http://a|b/",  //
        "http://\xe6\x90\x9c/",  //
        "http:/h/",  //
        "http:h",  //
        "ftp://h/",  //
        "h:80",  //
        "h");
    CAPTURE(target);
    CHECK(reason_of([&] { parse_absolute_form(target, "GET"); })
        == error::malformed_request.reason);
}

TEST_CASE("targets that are not for a proxy are told apart", "[target]")
{
    CHECK(reason_of([] { parse_absolute_form("/path", "GET"); })
        == error::not_for_a_proxy.reason);
    CHECK(reason_of([] { parse_absolute_form("*", "OPTIONS"); })
        == error::not_for_a_proxy.reason);
    CHECK(reason_of([] { parse_absolute_form("https://h/", "GET"); })
        == error::use_connect.reason);
    CHECK(reason_of([] { parse_absolute_form("HTTPS://h/", "GET"); })
        == error::use_connect.reason);
}

// RFC 9110 §9.3.6: host and port, and nothing else.
TEST_CASE("a CONNECT target is host:port", "[target]")
{
    CHECK(parse_authority_form("h:443") == Authority{"h", "443"});
    CHECK(parse_authority_form("h:0443") == Authority{"h", "443"});
    CHECK(parse_authority_form("[::1]:443") == Authority{"::1", "443"});
    CHECK(to_string(parse_authority_form("[::1]:443")) == "[::1]:443");

    const auto target = GENERATE(as<std::string>{}, "h", "h:", ":443", "h:0",
        "h:65536", "h:99999", "h:-1", "h:443:443", "user@h:443", "*:443",
        "a,b:443", "h:4 43", "[::1]", "[::1]443", "::1:443", "http://h:443",
        "h:443/", "/", "", std::string("[::1\0]:443", 10),
        std::string("[::1\0x@h]:443", 13));
    CAPTURE(target);
    CHECK(reason_of([&] { parse_authority_form(target); })
        == error::malformed_request.reason);
}

// RFC 9112 §3.2.2: the Host beside it does not count.
TEST_CASE("an absolute-form target becomes origin-form and Host", "[target]")
{
    RequestHead request{"GET", "http://h.example:81/a?b", Version::http_1_1,
        {{"host", "evil.example"}, {"Accept", "*/*"}, {"Host", "x"}}};
    make_origin_form(request);
    CHECK(request.target == "/a?b");
    CHECK(to_string(request)
        == "GET /a?b HTTP/1.1\r\nAccept: */*\r\nHost: h.example:81\r\n\r\n");
}

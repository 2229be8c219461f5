#include "support/http_message.h"

#include "catch.h"

namespace {

using Kind = BodyFraming::Kind;

Problem problem_of(auto call)
{
    try {
        call();
    } catch (const MessageError& error) {
        return error.problem;
    }
    FAIL("nothing was thrown");
    return {};
}

RequestHead request(const std::string& fields, const char* version = "1.1")
{
    return parse_request_head("POST http://h/ HTTP/" + std::string{version}
        + "\r\n" + (version == std::string{"1.1"} ? "Host: h\r\n" : "") + fields
        + "\r\n");
}

ResponseHead response(int status, const std::string& fields)
{
    return parse_response_head(
        "HTTP/1.1 " + std::to_string(status) + " Fine\r\n" + fields + "\r\n");
}

}  // namespace

// --- Heads ------------------------------------------------------------------

TEST_CASE("a request head is taken apart", "[message]")
{
    const RequestHead head
        = parse_request_head("GET http://h/a?b=c HTTP/1.1\r\n"
                             "Host: h\r\n"
                             "accept:text/html\r\n"
                             "X-Empty:\r\n"
                             "X-Blanks: \t a  b \t \r\n"
                             "\r\n");
    CHECK(head.method == "GET");
    CHECK(head.target == "http://h/a?b=c");
    CHECK(head.version == Version::http_1_1);
    CHECK(head.fields
        == Fields{{"Host", "h"}, {"accept", "text/html"}, {"X-Empty", ""},
            {"X-Blanks", "a  b"}});
}

TEST_CASE("a response head is taken apart", "[message]")
{
    const ResponseHead head
        = parse_response_head("HTTP/1.0 404 Not  here \xe4\r\n"
                              "Set-Cookie: a=1\r\n"
                              "Set-Cookie: b=2\r\n"
                              "\r\n");
    CHECK(head.version == Version::http_1_0);
    CHECK(head.status == 404);
    CHECK(head.reason == "Not  here \xe4");
    CHECK(head.fields == Fields{{"Set-Cookie", "a=1"}, {"Set-Cookie", "b=2"}});
}

TEST_CASE("a head printed again is the head that was read", "[message]")
{
    const std::string request_text = "PUT http://h/ HTTP/1.1\r\n"
                                     "hOST: h\r\n"
                                     "A: 1\r\n"
                                     "a: 2\r\n"
                                     "\r\n";
    CHECK(to_string(parse_request_head(request_text)) == request_text);

    const std::string response_text = "HTTP/1.1 200 OK then\r\n"
                                      "Z: 1\r\n"
                                      "A: 2\r\n"
                                      "\r\n";
    CHECK(to_string(parse_response_head(response_text)) == response_text);
}

// RFC 9112 §4: the reason phrase is optional.
TEST_CASE("a status line may lack its reason phrase", "[message]")
{
    const auto line = GENERATE(
        as<std::string>{}, "HTTP/1.1 200 \r\n\r\n", "HTTP/1.1 200\r\n\r\n");
    CAPTURE(line);
    const ResponseHead head = parse_response_head(line);
    CHECK(head.status == 200);
    CHECK(head.reason.empty());
}

TEST_CASE("a malformed request line is refused", "[message]")
{
    const auto line = GENERATE(as<std::string>{},
        "GET http://h/",  //
        "GET",  //
        "",  //
        " GET http://h/ HTTP/1.1",  //
        "GET  http://h/ HTTP/1.1",  //
        "GET http://h/  HTTP/1.1",  //
        "GET http://h/ HTTP/1.1 ",  //
        "GET\thttp://h/\tHTTP/1.1",  //
        "GET http://h/ /x HTTP/1.1",  //
        "G(T http://h/ HTTP/1.1",  //
        "GET http://h/\x01 HTTP/1.1",  //
        "GET http://h/\x7f HTTP/1.1",  //
        "GET http://h/\xc3\xa4 HTTP/1.1",  //
        "GET http://h/ http/1.1",  //
        "GET http://h/ HTTP/1.2",  //
        "GET http://h/ HTTP/0.9",  //
        "GET http://h/ HTTP/01.1",  //
        "GET http://h/ HTTP/1.1x",  //
        "GET http://h/ HTTP/1,1",  //
        "GET http://h/\r HTTP/1.1");
    CAPTURE(line);
    CHECK(problem_of([&] { parse_request_head(line + "\r\nHost: h\r\n\r\n"); })
        == Problem::malformed);
}

TEST_CASE("HTTP/2 and later are another matter than nonsense", "[message]")
{
    const auto version = GENERATE(as<std::string>{}, "HTTP/2.0", "HTTP/3.1");
    CHECK(problem_of([&] {
        parse_request_head("GET http://h/ " + version + "\r\n\r\n");
    }) == Problem::version_not_supported);
}

TEST_CASE("a malformed status line is refused", "[message]")
{
    const auto line = GENERATE(as<std::string>{},
        "HTTP/1.1",  //
        "HTTP/1.1 ",  //
        "HTTP/1.1 20",  //
        "HTTP/1.1 2000 OK",  //
        "HTTP/1.1 099 Low",  //
        "HTTP/1.1 600 High",  //
        "HTTP/1.1 +20 OK",  //
        "HTTP/1.1  200 OK",  //
        "HTTP/1.1\t200 OK",  //
        "HTTP/1.1 200\tOK",  //
        "HTTP/1.1 200 O\x01K",  //
        "HTTP/1.1 200 O\rK",  //
        "ICY 200 OK");
    CAPTURE(line);
    CHECK(problem_of([&] { parse_response_head(line + "\r\n\r\n"); })
        == Problem::malformed);
}

// RFC 9112 §5, §5.1, §5.2; RFC 9110 §5.5.  One grammar for both directions.
TEST_CASE("a malformed field line is refused in both directions", "[message]")
{
    const auto line = GENERATE(as<std::string>{},
        "Name : value",  //
        "Name\t: value",  //
        ": value",  //
        "Name",  //
        "Na me: value",  //
        "Na(me: value",  //
        "N\xc3\xa4me: value",  //
        " folded",  //
        "\tfolded",  //
        "Name: va\rlue",  //
        "Name: va\x01lue",  //
        "Name: va\x7flue",  //
        "Content_Length: 5",  //
        "Content*Length: 5",  //
        "TRANSFER~ENCODING: x",  //
        "transfer_encoding: chunked");
    CAPTURE(line);
    CHECK(problem_of([&] { request("A: b\r\n" + line + "\r\n"); })
        == Problem::malformed);
    CHECK(problem_of([&] { response(200, "A: b\r\n" + line + "\r\n"); })
        == Problem::malformed);
}

TEST_CASE("NUL in a field value is refused", "[message]")
{
    const std::string field("Name: va\0lue\r\n", 14);
    CHECK(problem_of([&] { request(field); }) == Problem::malformed);
    CHECK(problem_of([&] { response(200, field); }) == Problem::malformed);
}

// RFC 9112 §3.2.
TEST_CASE("Host must be there once, and valid", "[message]")
{
    const auto fields = GENERATE(as<std::string>{},
        "",  //
        "Host: h\r\nHost: h\r\n",  //
        "Host: h\r\nhost: g\r\n",  //
        "Host: h, g\r\n",  //
        "Host: a b\r\n",  //
        "Host: user@h\r\n",  //
        "Host: h/path\r\n",  //
        "Host: h:port\r\n",  //
        "Host: [::1\r\n");
    CAPTURE(fields);
    CHECK(problem_of([&] {
        parse_request_head("GET http://h/ HTTP/1.1\r\n" + fields + "\r\n");
    }) == Problem::malformed);
}

TEST_CASE(
    "an HTTP/1.0 request may lack Host, and Host may be empty", "[message]")
{
    CHECK_NOTHROW(parse_request_head("GET http://h/ HTTP/1.0\r\n\r\n"));
    CHECK_NOTHROW(
        parse_request_head("GET http://h/ HTTP/1.1\r\nHost:\r\n\r\n"));
    CHECK_NOTHROW(
        parse_request_head("GET http://h/ HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"));
}

// --- Where a head ends ------------------------------------------------------

TEST_CASE("a head is found however it is cut into pieces", "[message]")
{
    const std::string head = "GET / HTTP/1.1\r\nA: b\r\n\r\n";
    HeadScanner scanner;
    for (std::size_t n = 0; n < head.size(); ++n)
        REQUIRE_FALSE(scanner.find_end(head.substr(0, n)));
    CHECK(scanner.find_end(head + "body\r\n\r\n") == head.size());
}

// RFC 9112 §2.2.
TEST_CASE("one empty line before a request is skipped", "[message]")
{
    const std::string head = "\r\nGET http://h/ HTTP/1.0\r\n\r\n";
    CHECK(HeadScanner{}.find_end(head) == head.size());
    CHECK(parse_request_head(head).method == "GET");
    CHECK_THROWS_AS(parse_request_head("\r\n" + head), MessageError);
    CHECK_THROWS_AS(
        parse_response_head("\r\nHTTP/1.1 200 OK\r\n\r\n"), MessageError);
}

TEST_CASE("LF alone is refused as soon as it is seen", "[message]")
{
    const auto head = GENERATE(as<std::string>{}, "GET / HTTP/1.1\n", "\n",
        "GET / HTTP/1.1\r\nA: b\n", "GET / HTTP/1.1\r\n\n");
    CAPTURE(head);
    CHECK(problem_of([&] { HeadScanner{}.find_end(head); })
        == Problem::malformed);
}

TEST_CASE("the limits of a head hold while it is being read", "[message]")
{
    const std::string line = "GET / HTTP/1.1\r\n";
    const std::string field = "A: " + std::string(997, 'b') + "\r\n";

    SECTION("first line")
    {
        const std::string longest(max_start_line - 2, 'x');
        CHECK_FALSE(HeadScanner{}.find_end(longest + "\r\n"));
        CHECK(problem_of([&] { HeadScanner{}.find_end(longest + "xxx"); })
            == Problem::target_too_long);
    }
    SECTION("bytes")
    {
        std::string head = line;
        while (head.size() + field.size() <= max_head)
            head += field;
        CHECK_FALSE(HeadScanner{}.find_end(head));
        CHECK(problem_of([&] { HeadScanner{}.find_end(head + field); })
            == Problem::head_too_large);
    }
    SECTION("field lines")
    {
        std::string head = line;
        for (std::size_t i = 0; i < max_field_lines; ++i)
            head += "A: b\r\n";
        CHECK(HeadScanner{}.find_end(head + "\r\n") == head.size() + 2);
        CHECK(problem_of([&] { HeadScanner{}.find_end(head + "A: b\r\n\r\n"); })
            == Problem::head_too_large);
    }
}

// P67.
TEST_CASE("TLS is known by its first two bytes", "[message][P67]")
{
    CHECK_FALSE(HeadScanner{}.find_end("\x16"));
    CHECK(problem_of([] { HeadScanner{}.find_end("\x16\x03"); })
        == Problem::looks_like_tls);
}

// --- Field values -----------------------------------------------------------

TEST_CASE("field names and tokens are compared without case", "[message]")
{
    const Fields fields{
        {"Connection", "close, X-Foo"}, {"cONNECTION", ",TE ,"}};
    CHECK(combined_value(fields, "connection") == "close, X-Foo, ,TE ,");
    CHECK(has_token(fields, "Connection", "CLOSE"));
    CHECK(has_token(fields, "Connection", "x-foo"));
    CHECK(has_token(fields, "Connection", "te"));
    CHECK_FALSE(has_token(fields, "Connection", "X-Fo"));
    CHECK_FALSE(combined_value(fields, "Via"));
    CHECK_FALSE(equal_ignoring_case("@", "`"));  // 0x20 apart, no letters
}

// --- Request targets --------------------------------------------------------

// RFC 9112 §3.2.2: every byte of path and query is kept (P27).
TEST_CASE("absolute-form becomes origin-form", "[message][P27]")
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

TEST_CASE("a target outside the grammar is refused", "[message]")
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
        "http://h/a%2",  //
        "http://h/a%zz",  //
        "http://h/a\"b",  //
        "http://h/<a>",  //
        "http://h/a|b",  //
        "http://h/a\\b",  //
        "http://h\\@g/",  //
        "http:/h/",  //
        "http:h",  //
        "ftp://h/",  //
        "h:80",  //
        "h");
    CAPTURE(target);
    CHECK(problem_of([&] { parse_absolute_form(target, "GET"); })
        == Problem::malformed);
}

TEST_CASE("targets that are not for a proxy are told apart", "[message]")
{
    CHECK(problem_of([] { parse_absolute_form("/path", "GET"); })
        == Problem::not_for_a_proxy);
    CHECK(problem_of([] { parse_absolute_form("*", "OPTIONS"); })
        == Problem::not_for_a_proxy);
    CHECK(problem_of([] { parse_absolute_form("https://h/", "GET"); })
        == Problem::needs_connect);
    CHECK(problem_of([] { parse_absolute_form("HTTPS://h/", "GET"); })
        == Problem::needs_connect);
}

// RFC 9110 §9.3.6: host and port, and nothing else (P14, P15).
TEST_CASE("a CONNECT target is host:port", "[message][P14][P15]")
{
    CHECK(parse_authority_form("h:443") == Authority{"h", "443"});
    CHECK(parse_authority_form("[::1]:443") == Authority{"::1", "443"});
    CHECK(to_string(parse_authority_form("[::1]:443")) == "[::1]:443");

    const auto target = GENERATE(as<std::string>{}, "h", "h:", ":443", "h:0",
        "h:65536", "h:99999", "h:-1", "h:443:443", "user@h:443", "h:4 43",
        "[::1]", "[::1]443", "::1:443", "http://h:443", "h:443/", "/", "",
        std::string("[::1\0]:443", 10), std::string("[::1\0x@h]:443", 13));
    CAPTURE(target);
    CHECK(problem_of([&] { parse_authority_form(target); })
        == Problem::malformed);
}

// --- Where a body ends: RFC 9112 §6.3 ---------------------------------------

TEST_CASE("the body of a request ends where its fields say", "[message]")
{
    CHECK(request_framing(request("")) == BodyFraming{Kind::none});
    CHECK(request_framing(request("Content-Length: 0\r\n")).kind == Kind::none);
    CHECK(
        request_framing(request("Content-Length: 00\r\n")).kind == Kind::none);
    CHECK(request_framing(request("Content-Length: 007\r\n"))
        == BodyFraming{Kind::length, 7});
    CHECK(request_framing(request("content-length: 18446744073709551615\r\n"))
        == BodyFraming{Kind::length, 18446744073709551615u});
    CHECK(request_framing(request("Transfer-Encoding: chunked\r\n")).kind
        == Kind::chunked);
    CHECK(request_framing(request("transfer-encoding: ChunkeD\r\n")).kind
        == Kind::chunked);
}

TEST_CASE("the body of a response ends where its fields say", "[message]")
{
    const std::string length = "Content-Length: 5\r\n";
    const std::string chunked = "Transfer-Encoding: chunked\r\n";
    struct Row {
        std::string method;
        int status;
        std::string fields;
        BodyFraming framing;
    };
    const auto row = GENERATE_REF(values<Row>({
        {"GET", 200, length, {Kind::length, 5}},
        {"GET", 200, "Content-Length: 0\r\n", {Kind::length, 0}},
        {"GET", 200, chunked, {Kind::chunked}},
        {"GET", 200, "", {Kind::until_close}},
        {"GET", 404, "", {Kind::until_close}},
        {"HEAD", 200, length, {Kind::none}},
        {"HEAD", 200, chunked, {Kind::none}},
        {"GET", 204, length, {Kind::none}},
        {"GET", 304, length, {Kind::none}},
        {"GET", 304, chunked, {Kind::none}},
        {"GET", 100, "", {Kind::none}},
        {"GET", 103, length, {Kind::none}},
    }));
    CAPTURE(row.method, row.status, row.fields);
    CHECK(response_framing(row.method, response(row.status, row.fields))
        == row.framing);
}

// RFC 9112 §6.1, §6.3, §11.2; RFC 9110 §8.6 (P18).
TEST_CASE("ambiguous framing is refused in both directions",
    "[message][smuggling][P18]")
{
    const auto fields = GENERATE(as<std::string>{},
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",  //
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",  //
        "Content-Length: 5\r\nContent-Length: 6\r\n",  //
        "Content-Length: 5\r\nContent-Length: 5\r\n",  //
        "Content-Length: 5, 5\r\n",  //
        "Content-Length:\r\n",  //
        "Content-Length: +5\r\n",  //
        "Content-Length: -5\r\n",  //
        "Content-Length: 5 5\r\n",  //
        "Content-Length: 0x5\r\n",  //
        "Content-Length: 5;\r\n",  //
        "Content-Length: 18446744073709551616\r\n",  //
        "Transfer-Encoding:\r\n",  //
        "Transfer-Encoding: chunked,\r\n",  //
        "Transfer-Encoding: ,chunked\r\n",  //
        "Transfer-Encoding: xchunked\r\n",  //
        "Transfer-Encoding: \"chunked\"\r\n",  //
        "Transfer-Encoding: chunked;a=b\r\n",  //
        "Transfer-Encoding: chunked, gzip\r\n",  //
        "Transfer-Encoding: chunked, chunked\r\n",  //
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",  //
        "Transfer-Encoding: identity\r\n",  //
        "Transfer-Encoding: gzip\r\n");
    CAPTURE(fields);
    CHECK(problem_of([&] { request_framing(request(fields)); })
        == Problem::malformed);
    CHECK(problem_of([&] { response_framing("GET", response(200, fields)); })
        == Problem::malformed);
}

TEST_CASE("an unknown coding below chunked is understood, but not supported",
    "[message]")
{
    CHECK(problem_of([] {
        request_framing(request("Transfer-Encoding: gzip, chunked\r\n"));
    }) == Problem::coding_not_supported);
}

// RFC 9112 §6.1.
TEST_CASE("Transfer-Encoding in HTTP/1.0 is refused", "[message][smuggling]")
{
    CHECK(problem_of([] {
        request_framing(request("Transfer-Encoding: chunked\r\n", "1.0"));
    }) == Problem::malformed);
}

// --- The chunked coding: RFC 9112 §7.1 --------------------------------------

namespace {

// Feeds the body in two pieces, cut at `cut`; what follows the body is left.
struct Decoded {
    std::string data;
    std::string rest;
    Fields trailer;
};

Decoded decode(const std::string& body, std::size_t cut)
{
    ChunkedDecoder decoder;
    Decoded decoded;
    for (std::string piece : {body.substr(0, cut), body.substr(cut)}) {
        const auto [data, consumed] = decoder.decode(piece);
        decoded.data += piece.substr(0, data);
        decoded.rest += piece.substr(consumed);
    }
    REQUIRE(decoder.finished());
    decoded.trailer = decoder.trailer();
    return decoded;
}

}  // namespace

TEST_CASE(
    "a chunked body is decoded however it is cut", "[message][P19][P20][P21]")
{
    const std::string body = "5\r\nhello\r\n"
                             "00a;name=\"va;lue\" ; other\r\n0\r\n\r\nWORLD\r\n"
                             "1 \t\r\n!\r\n"
                             "0;last\r\n"
                             "X-Sum: 1\r\n"
                             "X-Sum: 2\r\n"
                             "\r\n";
    for (std::size_t cut = 0; cut <= body.size(); ++cut) {
        CAPTURE(cut);
        const Decoded decoded = decode(body + "GET / HTTP/1.1", cut);
        CHECK(decoded.data == "hello0\r\n\r\nWORLD!");
        CHECK(decoded.trailer == Fields{{"X-Sum", "1"}, {"X-Sum", "2"}});
        if (cut == body.size())
            CHECK(decoded.rest == "GET / HTTP/1.1");
    }
}

TEST_CASE("an empty chunked body ends at once", "[message]")
{
    const Decoded decoded = decode("0\r\n\r\nnext", 0);
    CHECK(decoded.data.empty());
    CHECK(decoded.rest == "next");
}

TEST_CASE("a malformed chunked body is refused", "[message][smuggling][P19]")
{
    const auto body = GENERATE(as<std::string>{},
        "\r\n",  //
        "g\r\n",  //
        "0x5\r\nhello\r\n",  //
        "-5\r\nhello\r\n",  //
        "+5\r\nhello\r\n",  //
        " 5\r\nhello\r\n",  //
        "5 x\r\nhello\r\n",  //
        "5\nhello\r\n",  //
        "5\rhello\r\n",  //
        "5\r\nhello\n",  //
        "5\r\nhelloX",  //
        "5\r\nhello\rX",  //
        "5;a\x01\r\nhello\r\n",  //
        "5;\r\nhello\r\n",  //
        "5;;a\r\nhello\r\n",  //
        "5;a=\r\nhello\r\n",  //
        "5;a b\r\nhello\r\n",  //
        "5;\"a\"\r\nhello\r\n",  //
        "5;a=\"b\r\nhello\r\n",  //
        "10000000000000000\r\n",  //
        "0\r\nbad trailer\r\n\r\n",  //
        "0\r\n folded: x\r\n\r\n",  //
        "0\r\nA: b\n\r\n",  //
        "0\r\nContent-Length: 5\r\n\r\n",  //
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",  //
        "0\r\nHost: h\r\n\r\n");
    CAPTURE(body);
    std::string bytes = body;
    CHECK_THROWS_AS(ChunkedDecoder{}.decode(bytes), MessageError);
}

TEST_CASE("chunk-size lines and trailers have a limit", "[message]")
{
    std::string extension = "5;" + std::string(5000, 'x');
    CHECK_THROWS_AS(ChunkedDecoder{}.decode(extension), MessageError);
    std::string trailer = "0\r\nA: " + std::string(70'000, 'x');
    CHECK_THROWS_AS(ChunkedDecoder{}.decode(trailer), MessageError);
}

TEST_CASE(
    "chunk sizes are hexadecimal in any case, up to 64 bits", "[message][P19]")
{
    CHECK(parse_chunk_size("0") == 0);
    CHECK(parse_chunk_size("aF") == 175);
    CHECK(parse_chunk_size("000000000000000000010") == 16);
    CHECK(parse_chunk_size("ffffffffffffffff") == 18446744073709551615u);
}

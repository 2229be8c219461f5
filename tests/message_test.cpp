#include "support/http/message.h"

#include <optional>

#include "catch.h"
#include "heads.h"

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
        "GET http://h/ http/1.1",  //
        "GET http://h/ HTTP/1.2",  //
        "GET http://h/ HTTP/0.9",  //
        "GET http://h/ HTTP/01.1",  //
        "GET http://h/ HTTP/1.1x",  //
        "GET http://h/ HTTP/1,1",  //
        "GET http://h/\r HTTP/1.1");
    CAPTURE(line);
    CHECK(reason_of([&] { parse_request_head(line + "\r\nHost: h\r\n\r\n"); })
        == error::malformed_request.reason);
}

TEST_CASE("HTTP/2 and later are another matter than nonsense", "[message]")
{
    const auto version = GENERATE(as<std::string>{}, "HTTP/2.0", "HTTP/3.1");
    CHECK(reason_of([&] {
        parse_request_head("GET http://h/ " + version + "\r\n\r\n");
    }) == error::version_not_supported.reason);
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
    CHECK(reason_of([&] { parse_response_head(line + "\r\n\r\n"); })
        == error::malformed_request.reason);
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
    CHECK(reason_of([&] { request("A: b\r\n" + line + "\r\n"); })
        == error::malformed_request.reason);
    CHECK(reason_of([&] { response(200, "A: b\r\n" + line + "\r\n"); })
        == error::malformed_request.reason);
}

TEST_CASE("a field line that is refused says why", "[message]")
{
    struct Row {
        std::string line, why;
    };
    const auto row = GENERATE(values<Row>({
        {" folded", "obs-fold"},
        {"\tfolded", "obs-fold"},
        {"Name", "no colon"},
        {"Name : value", "not a token"},
        {"Name: va\x01lue", "control character"},
        {"Content_Length: 5", "imitates framing"},
    }));
    CHECK_THROWS_WITH(
        request("A: b\r\n" + row.line + "\r\n"), ContainsSubstring(row.why));
}

TEST_CASE("NUL in a field value is refused", "[message]")
{
    const std::string field("Name: va\0lue\r\n", 14);
    CHECK(
        reason_of([&] { request(field); }) == error::malformed_request.reason);
    CHECK(reason_of([&] { response(200, field); })
        == error::malformed_request.reason);
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
    CHECK(reason_of([&] {
        parse_request_head("GET http://h/ HTTP/1.1\r\n" + fields + "\r\n");
    }) == error::malformed_request.reason);
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

namespace {

// Reads lines as a connection gives them; the size of the whole head, or
// nothing if its end is not there.
std::optional<std::size_t> end_of_head(
    std::string_view bytes, HeadLines::Of what = HeadLines::Of::head)
{
    HeadLines lines{what};
    for (std::size_t read = 0; read < bytes.size();) {
        const auto rest = bytes.substr(read, lines.limit());
        const auto line = rest.substr(0, rest.find('\n') + 1);
        read += line.empty() ? rest.size() : line.size();
        if (lines.add(line.empty() ? rest : line))
            return read;
    }
    return std::nullopt;
}

}  // namespace

TEST_CASE("a head ends with its empty line", "[message]")
{
    const std::string head = "GET / HTTP/1.1\r\nA: b\r\n\r\n";
    CHECK(end_of_head(head + "body\r\n\r\n") == head.size());
    CHECK_FALSE(end_of_head("GET / HTTP/1.1\r\nA: b\r\n"));
}

// RFC 9112 §2.2.
TEST_CASE("one empty line before a request is skipped", "[message]")
{
    const std::string head = "\r\nGET http://h/ HTTP/1.0\r\n\r\n";
    CHECK(end_of_head(head) == head.size());
    CHECK(end_of_head("\r\n" + head) == 4);
    CHECK(parse_request_head(head).method == "GET");
    CHECK_THROWS_AS(parse_request_head("\r\n" + head), MessageError);
    CHECK_THROWS_AS(
        parse_response_head("\r\nHTTP/1.1 200 OK\r\n\r\n"), MessageError);
}

TEST_CASE("a trailer section may be an empty line", "[message]")
{
    CHECK(end_of_head("\r\nnext", HeadLines::Of::trailer) == 2);
    CHECK(end_of_head("A: b\r\n\r\nnext", HeadLines::Of::trailer) == 8);
}

TEST_CASE("a head that is cut short is refused", "[message]")
{
    const auto head = GENERATE(
        as<std::string>{}, "G", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\nA: b");
    CAPTURE(head);
    CHECK(reason_of([&] { end_of_head(head); })
        == error::request_cut_short.reason);
}

TEST_CASE("a parser refuses a line without its end", "[message]")
{
    for (const auto parse : {+[] { parse_request_head("GET / HTTP/1.1"); },
             +[] { parse_response_head("HTTP/1.1 200 OK"); },
             +[] { parse_field_lines("A: b"); }})
        CHECK_THROWS_WITH(parse(), "a line does not end in CRLF");
}

TEST_CASE("LF alone is refused as soon as it is seen", "[message]")
{
    const auto head = GENERATE(as<std::string>{}, "GET / HTTP/1.1\n", "\n",
        "GET / HTTP/1.1\r\nA: b\n", "GET / HTTP/1.1\r\n\n");
    CAPTURE(head);
    CHECK(reason_of([&] { end_of_head(head); })
        == error::malformed_request.reason);
}

TEST_CASE("the limits of a head hold while it is being read", "[message]")
{
    const std::string line = "GET / HTTP/1.1\r\n";

    SECTION("first line")
    {
        const std::string longest(max_start_line - 2, 'x');
        CHECK_FALSE(end_of_head(longest + "\r\n"));
        CHECK(reason_of([&] { end_of_head(longest + "x\r\n"); })
            == error::target_too_long.reason);
        CHECK(reason_of([&] { end_of_head(longest + "xxx"); })
            == error::target_too_long.reason);
    }
    SECTION("bytes")
    {
        std::string head = line + "A: ";
        head.append(max_head - head.size() - 4, 'b');
        CHECK(end_of_head(head + "\r\n\r\n") == max_head);
        CHECK(reason_of([&] { end_of_head(head + "b\r\n\r\n"); })
            == error::head_too_large.reason);
        CHECK(reason_of([&] { end_of_head(head + std::string(70'000, 'b')); })
            == error::head_too_large.reason);
    }
    SECTION("field lines")
    {
        std::string fields;
        for (std::size_t i = 0; i < max_field_lines; ++i)
            fields += "A: b\r\n";
        const std::string head = line + fields;
        CHECK(end_of_head(head + "\r\n") == head.size() + 2);
        CHECK(reason_of([&] { end_of_head(head + "A: b\r\n\r\n"); })
            == error::head_too_large.reason);
        CHECK(end_of_head(fields + "\r\n", HeadLines::Of::trailer)
            == fields.size() + 2);
        CHECK(reason_of([&] {
            end_of_head(fields + "A: b\r\n\r\n", HeadLines::Of::trailer);
        }) == error::head_too_large.reason);
    }
}

TEST_CASE("the options of Connection have a limit", "[message]")
{
    const auto connection = [](std::size_t n, const std::string& option) {
        std::string fields = "Connection: " + option + "\r\nConnection: ";
        for (std::size_t i = 1; i < n; ++i)
            fields += option + (i + 1 < n ? "," : "\r\n");
        return fields;
    };
    const auto option = GENERATE(as<std::string>{}, "a", "");
    CAPTURE(option);
    CHECK_NOTHROW(request(connection(128, option)));
    CHECK_NOTHROW(response(200, connection(128, option)));
    CHECK(reason_of([&] { request(connection(129, option)); })
        == error::head_too_large.reason);
    CHECK(reason_of([&] { response(200, connection(129, option)); })
        == error::head_too_large.reason);
}

TEST_CASE("TLS is known by its first two bytes", "[message]")
{
    CHECK_NOTHROW(check_first_bytes("\x16"));
    CHECK_NOTHROW(check_first_bytes("GET "));
    CHECK(reason_of([] { check_first_bytes("\x16\x03"); })
        == error::tls_to_plain_port.reason);
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

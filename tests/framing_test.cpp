#include "support/http/framing.h"

#include "catch.h"
#include "heads.h"

namespace {

using Kind = BodyFraming::Kind;

}  // namespace

// --- Where a body ends: RFC 9112 §6.3 ---------------------------------------

TEST_CASE("the body of a request ends where its fields say", "[framing]")
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

TEST_CASE("the body of a response ends where its fields say", "[framing]")
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

// RFC 9112 §6.1, §6.3, §11.2; RFC 9110 §8.6.
TEST_CASE(
    "ambiguous framing is refused in both directions", "[framing][smuggling]")
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
    CHECK(reason_of([&] { request_framing(request(fields)); })
        == error::malformed_request.reason);
    const auto [method, status] = GENERATE(
        table<std::string, int>({{"GET", 200}, {"HEAD", 200}, {"GET", 304}}));
    CAPTURE(method, status);
    CHECK(reason_of([&, &method = method, &status = status] {
        response_framing(method, response(status, fields));
    }) == error::malformed_request.reason);
}

TEST_CASE("an unknown coding below chunked is understood, but not supported",
    "[framing]")
{
    CHECK(reason_of([] {
        request_framing(request("Transfer-Encoding: gzip, chunked\r\n"));
    }) == error::coding_not_supported.reason);
}

// RFC 9112 §6.1.
TEST_CASE("Transfer-Encoding in HTTP/1.0 is refused", "[framing][smuggling]")
{
    CHECK(reason_of([] {
        request_framing(request("Transfer-Encoding: chunked\r\n", "1.0"));
    }) == error::malformed_request.reason);
}

// --- The chunked coding: RFC 9112 §7.1 --------------------------------------

TEST_CASE("chunk sizes are hexadecimal in any case, up to 64 bits", "[framing]")
{
    CHECK(parse_chunk_size("0\r\n") == 0);
    CHECK(parse_chunk_size("aF\r\n") == 175);
    CHECK(parse_chunk_size("000000000000000000010\r\n") == 16);
    CHECK(parse_chunk_size("ffffffffffffffff\r\n") == 18446744073709551615u);
}

TEST_CASE("chunk extensions and blanks after a size are dropped", "[framing]")
{
    const auto line
        = GENERATE(as<std::string>{}, "5 \t\r\n", "5;last\r\n", "5;a=b\r\n",
            "5;a;b\r\n", "5 ; a = b ; c\r\n", "5;name=\"va;lue\" ; other\r\n",
            "5;a=\"b\\\"c\"\r\n", "5;a=\"\"\r\n", "5;a=\"\xff\"\r\n");
    CAPTURE(line);
    CHECK(parse_chunk_size(line) == 5);
}

TEST_CASE("a malformed chunk-size line is refused", "[framing][smuggling]")
{
    const auto line = GENERATE(as<std::string>{},
        "",  //
        "5",  //
        "5\r",  //
        "\r\n",  //
        "g\r\n",  //
        "0x5\r\n",  //
        "-5\r\n",  //
        "+5\r\n",  //
        " 5\r\n",  //
        "5 x\r\n",  //
        "5\n",  //
        "5\r\r\n",  //
        "5;a\x01\r\n",  //
        "5;\r\n",  //
        "5;;a\r\n",  //
        "5;a=\r\n",  //
        "5;a b\r\n",  //
        "5;\"a\"\r\n",  //
        "5;a=\"b\r\n",  //
        "5;a=\"b\\\"\r\n",  //
        "5;a=\"b\"c\r\n",  //
        "10000000000000000\r\n");
    CAPTURE(line);
    CHECK(reason_of([&] { parse_chunk_size(line); })
        == error::malformed_request.reason);
}

TEST_CASE("a chunk ends with an empty line", "[framing][smuggling]")
{
    CHECK_NOTHROW(check_chunk_end("\r\n"));
    const auto line = GENERATE(as<std::string>{}, "", "\n", "\r", "X", "\rX");
    CAPTURE(line);
    CHECK(reason_of([&] { check_chunk_end(line); })
        == error::malformed_request.reason);
}

TEST_CASE("chunk extensions may not outweigh the data for long", "[framing]")
{
    ChunkOverhead overhead;
    SECTION("extensions without data")
    {
        for (int i = 0; i < 4; ++i)
            CHECK_NOTHROW(overhead.add(4096, 1));
        CHECK(reason_of([&] { overhead.add(4096, 1); })
            == error::malformed_request.reason);
    }
    SECTION("as much data as extensions")
    {
        for (int i = 0; i < 1000; ++i)
            CHECK_NOTHROW(overhead.add(4096, 4096));
    }
    SECTION("chunks of one byte each")
    {
        for (int i = 0; i < 100'000; ++i)
            CHECK_NOTHROW(overhead.add(3, 1));
    }
    SECTION("data before them does not count as credit")
    {
        overhead.add(3, 1'000'000'000);
        CHECK_THROWS_AS(
            [&] {
                for (int i = 0; i < 5; ++i)
                    overhead.add(4096, 1);
            }(),
            MessageError);
    }
}

TEST_CASE("a trailer section is a list of fields", "[framing]")
{
    CHECK(parse_trailer("\r\n").empty());
    CHECK(parse_trailer("X-Sum: 1\r\nX-Sum: 2\r\n\r\n")
        == Fields{{"X-Sum", "1"}, {"X-Sum", "2"}});
}

TEST_CASE("a trailer section cannot change the head", "[framing][smuggling]")
{
    const auto lines = GENERATE(as<std::string>{},
        "bad trailer\r\n\r\n",  //
        " folded: x\r\n\r\n",  //
        "A: b\n\r\n",  //
        "A: b\r\n\r\nrest",  //
        "Content-Length: 5\r\n\r\n",  //
        "transfer-encoding: chunked\r\n\r\n",  //
        "Content_Length: 5\r\n\r\n",  //
        "Connection: close\r\n\r\n",  //
        "Proxy-Authorization: Basic Og==\r\n\r\n",  //
        "A: b\r\nHost: h\r\n\r\n");
    CAPTURE(lines);
    CHECK(reason_of([&] { parse_trailer(lines); })
        == error::malformed_request.reason);
}

TEST_CASE("a first chunk is not judged before it is here", "[framing]")
{
    const std::string body = "5;a=b\r\nhello\r\n0\r\n\r\n";
    for (std::size_t size = 0; size <= body.size(); ++size)
        CHECK_NOTHROW(check_chunks(body.substr(0, size)));
    CHECK_NOTHROW(check_chunks("ffffffffffffffff\r\nhello"));
    CHECK_NOTHROW(check_chunks("0\r\n"));
    CHECK_NOTHROW(
        check_chunks("5;" + std::string(max_chunk_size_line - 3, 'a')));
}

TEST_CASE("chunks that are here already may not be mostly extensions",
    "[framing][smuggling]")
{
    const std::string chunk = "1;x=" + std::string(200, 'y') + "\r\na\r\n";
    std::string few;
    std::string many;
    for (int i = 0; i < 50; ++i)
        few += chunk;
    for (int i = 0; i < 200; ++i)
        many += chunk;
    CHECK_NOTHROW(check_chunks(few));
    CHECK_THROWS_AS(check_chunks(many), MessageError);
}

TEST_CASE("a broken first chunk is refused", "[framing][smuggling]")
{
    const auto body = GENERATE(as<std::string>{},
        "g\r\n",  //
        "5\nhello\r\n",  //
        "\r\n5\r\nhello\r\n",  //
        "5\r\nhelloX",  //
        "5\r\nhello\rX",  //
        "5\r\nhello\n",  //
        "5;a\x01\r\n",  //
        "-1\r\n",  //
        "\n",  //
        "1\r\na\r\n0\r\nbad trailer\r\n\r\n",  //
        "0\r\nContent-Length: 5\r\n\r\n",  //
        "10000000000000000\r\n");
    CAPTURE(body);
    CHECK(reason_of([&] { check_chunks(body); })
        == error::malformed_request.reason);
    CHECK_THROWS_AS(
        check_chunks("5;" + std::string(max_chunk_size_line - 2, 'a')),
        MessageError);
}

#include "support/http_io.h"

#ifdef __linux__
#include <linux/tcp.h>
#endif
#include <netinet/in.h>

#include <vector>

#include "catch.h"
#include "ends.h"

namespace {

using namespace std::chrono_literals;
using Kind = BodyFraming::Kind;

const TraceSettings nobody_listens;

// far_from -> [from -> to] -> far_to; the brackets hold what the proxy has.
struct Path {
    IdleClock idle{20s};
    Ends source{idle, Peer::server};
    Ends sink{idle, Peer::client};
    Trace trace{nobody_listens, 1};
    std::atomic<bool> has_read_all{false};
    Fields head;
    std::string failure;

    // What arrives of `sent` when it is copied.
    std::string copy(const std::string& sent, BodyFraming framing,
        Delimiting delimiting = Delimiting::as_received)
    {
        Background sender{[&] {
            source.far.send(sent);
            source.far.finish_sending();
        }};
        Background copier{[&] {
            try {
                copy_body(source.near, sink.near, head, framing, delimiting,
                    trace, [&] { has_read_all = true; });
            } catch (const MessageError& error) {
                failure = error.what();
            }
            sink.near.socket().shutdown_write();
        }};
        std::string arrived = sink.far.read_to_end();
        sender.join();
        copier.join();
        return arrived;
    }
};

bool read_head(Connection& from, std::string& head)
{
    return read_head(from, head, {20s, error::head_timeout},
        [](milliseconds) { return true; });
}

std::string_view reason_of(auto call)
{
    try {
        call();
    } catch (const Failure& failure) {
        return failure.kind().reason;
    }
    return "nothing was thrown";
}

}  // namespace

// --- Heads ------------------------------------------------------------------

TEST_CASE("a head is read and nothing after it", "[http_io]")
{
    IdleClock idle{20s};
    Ends ends{idle};
    const std::string head = "GET / HTTP/1.1\r\nA: b\r\n\r\n";
    ends.far.send(head + "body");
    std::string read;
    CHECK(read_head(ends.near, read));
    CHECK(read == head);
    CHECK(ends.near.read_some(100) == "body");
}

TEST_CASE(
    "the end of the stream may come before a head, not in it", "[http_io]")
{
    IdleClock idle{20s};
    Ends ends{idle};
    std::string head;
    SECTION("before")
    {
        ends.far.finish_sending();
        CHECK_FALSE(read_head(ends.near, head));
        CHECK(head.empty());
    }
    SECTION("in it")
    {
        const auto part = GENERATE("G", "GET / HTTP/1.1\r\n");
        ends.far.send(part);
        ends.far.finish_sending();
        CHECK(reason_of([&] { read_head(ends.near, head); })
            == error::request_cut_short.reason);
        CHECK((head == part || head.empty()));
    }
}

// The supported_groups extension of every ClientHello has number 10, which is
// an LF.
TEST_CASE("a TLS hello is known with and without an LF in it", "[http_io]")
{
    IdleClock idle{20s};
    Ends ends{idle};
    const auto hello = GENERATE(as<std::string>{}, "\x16\x03\x01\x02",
        "\x16\x03\x01\x02\n\x01", "\x16\x03\x01\x02\r\n");
    ends.far.send(hello);
    std::string head;
    CHECK(reason_of([&] { read_head(ends.near, head); })
        == error::tls_to_plain_port.reason);
}

TEST_CASE("a head without end is refused at its limit", "[http_io]")
{
    IdleClock idle{20s};
    Ends ends{idle};
    std::string head;
    SECTION("first line")
    {
        ends.far.send(std::string(max_start_line + 1, 'x'));
        CHECK(reason_of([&] { read_head(ends.near, head); })
            == error::target_too_long.reason);
    }
    SECTION("fields")
    {
        ends.far.send("GET / HTTP/1.1\r\n" + std::string(max_head - 15, 'x'));
        CHECK(reason_of([&] { read_head(ends.near, head); })
            == error::head_too_large.reason);
    }
}

TEST_CASE("a request has a deadline, and so has the wait for it", "[http_io]")
{
    IdleClock idle{60ms};
    Ends ends{idle};
    Trace trace{nobody_listens, 1};
    const bool is_first = GENERATE(true, false);
    Exchange exchange{trace, "192.0.2.1:1", is_first};
    const auto read = [&](milliseconds head_timeout) {
        read_request(ends.near, head_timeout, exchange);
    };
    SECTION("nothing came")
    {
        const milliseconds head_timeout = is_first ? 50ms : 1h;
        const auto error = net_error_of([&] { read(head_timeout); });
        REQUIRE(error);
        CHECK(error->error == ETIMEDOUT);
        CHECK_THAT(error->what(),
            ContainsSubstring(" the client: Connection timed out"));
    }
    SECTION("a part came")
    {
        ends.far.send("GET ");
        const auto taken = time_of([&] {
            CHECK(
                reason_of([&] { read(150ms); }) == error::head_timeout.reason);
        });
        CHECK(taken >= 150ms);
        CHECK(taken < 5s);
    }
    SECTION("the client closed")
    {
        ends.far.finish_sending();
        CHECK_FALSE(read_request(ends.near, 10s, exchange));
    }
}

TEST_CASE("a request after another's end is pipelined", "[http_io]")
{
    IdleClock idle{20s};
    Ends ends{idle};
    Trace trace{nobody_listens, 1};
    const std::string head = "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n";
    ends.far.send(head + head);
    Exchange first{trace, "c", true};
    Exchange second{trace, "c", false};
    CHECK(read_request(ends.near, 10s, first)->method == "GET");
    CHECK(read_request(ends.near, 10s, second)->target == "http://h/");
    CHECK_FALSE(first.is_pipelined);
    CHECK(second.is_pipelined);
}

// --- Bodies -----------------------------------------------------------------

TEST_CASE("a body is copied up to its end and no further", "[http_io]")
{
    const std::string chunks = "2\r\nab\r\n3;x=y\r\ncde\r\n0;z\r\nT: 1\r\n\r\n";
    struct Row {
        std::string sent;
        BodyFraming framing;
        Delimiting delimiting;
        std::string arrived, rest;
    };
    const auto row = GENERATE_REF(values<Row>({
        {"next", {Kind::none}, Delimiting::as_received, "", "next"},
        {"hellonext", {Kind::length, 5}, Delimiting::as_received, "hello",
            "next"},
        {"next", {Kind::length, 0}, Delimiting::as_received, "", "next"},
        {chunks + "next", {Kind::chunked}, Delimiting::as_received,
            "2\r\nab\r\n3\r\ncde\r\n0\r\nT: 1\r\n\r\n", "next"},
        {chunks + "next", {Kind::chunked}, Delimiting::by_close, "abcde",
            "next"},
        {"0\r\n\r\nnext", {Kind::chunked}, Delimiting::as_received, "0\r\n\r\n",
            "next"},
        {"all of it", {Kind::until_close}, Delimiting::as_received, "all of it",
            ""},
    }));
    CAPTURE(row.sent);
    Path path;
    CHECK(path.copy(row.sent, row.framing, row.delimiting) == row.arrived);
    CHECK(path.failure.empty());
    CHECK(path.source.near.read_some(100) == row.rest);
}

TEST_CASE("large bodies arrive unchanged", "[http_io]")
{
    const std::string bytes = some_bytes(5'000'000);
    const auto kind = GENERATE(Kind::length, Kind::until_close);
    Path path;
    CHECK((path.copy(bytes, {kind, bytes.size()}) == bytes));
    CHECK(path.has_read_all == (kind == Kind::length));
}

TEST_CASE("a large chunk is passed on in pieces", "[http_io]")
{
    const std::string bytes = some_bytes(1'000'000);
    Path path;
    CHECK((path.copy("f4240\r\n" + bytes + "\r\n0\r\n\r\n", {Kind::chunked},
               Delimiting::by_close)
        == bytes));
    CHECK(path.failure.empty());
    CHECK(path.has_read_all);
}

TEST_CASE("a body cut short is an error, after what came of it", "[http_io]")
{
    Path path;
    SECTION("length")
    {
        CHECK(path.copy("half", {Kind::length, 8}) == "half");
        CHECK(path.failure
            == "the body ended 4 bytes short of its Content-Length");
    }
    SECTION("chunked")
    {
        const auto end = GENERATE(as<std::string>{}, "", "\r\n", "\r\n0",
            "\r\n0\r\n", "\r\n0\r\nA: b\r\n");
        CAPTURE(end);
        const std::string arrived
            = path.copy("4\r\nhalf" + end, {Kind::chunked});
        CHECK(arrived == "4\r\nhalf\r\n");
        CHECK(path.failure == "the body ended before its last chunk");
    }
    SECTION("malformed")
    {
        CHECK(path.copy("4\r\nhalfXX", {Kind::chunked}) == "4\r\nhalf\r\n");
        CHECK(path.failure == "a chunk is longer than its size says");
    }
    CHECK_FALSE(path.has_read_all);
}

TEST_CASE("chunk-size lines and trailers have a limit", "[http_io]")
{
    Path path;
    SECTION("size line")
    {
        path.copy("5;" + std::string(5000, 'x'), {Kind::chunked});
        CHECK(path.failure == "a chunk-size line is too long or cut short");
    }
    SECTION("trailer")
    {
        path.copy("0\r\nA: " + std::string(70'000, 'x'), {Kind::chunked});
        CHECK_THAT(path.failure, StartsWith("more than 65536 bytes"));
    }
    SECTION("extensions")
    {
        std::string body;
        for (int i = 0; i < 6; ++i)
            body += "1;" + std::string(4000, 'x') + "\r\ny\r\n";
        path.copy(body, {Kind::chunked});
        CHECK_THAT(path.failure, ContainsSubstring("extensions"));
    }
    CHECK_FALSE(path.failure.empty());
}

// RFC 9110 §7.6.1 counts trailer fields among them.
TEST_CASE("a trailer field that Connection nominates is dropped", "[http_io]")
{
    Path path;
    path.head = {{"Connection", "x-hop"}};
    CHECK(path.copy("0\r\nX-Hop: 1\r\nX-Sum: 2\r\n\r\n", {Kind::chunked})
        == "0\r\nX-Sum: 2\r\n\r\n");
}

TEST_CASE("a body stops when its receiver has left", "[http_io]")
{
    Path path;
    Blocked copier{[&] {
        copy_body(path.source.near, path.sink.near, path.head,
            {Kind::length, 5}, Delimiting::as_received, path.trace);
    }};
    REQUIRE(copier.is_asleep());
    path.sink.far.reset_on_close();
    {
        const TestSocket closed = std::move(path.sink.far);
    }
    CHECK(copier.join().value().whose == Peer::client);
}

#ifdef __linux__

namespace {

// How many packets with data the connection has sent.
unsigned packets_sent(const Connection& connection)
{
    tcp_info info{};
    socklen_t length = sizeof info;
    ::getsockopt(connection.socket().descriptor(), IPPROTO_TCP, TCP_INFO, &info,
        &length);
    return info.tcpi_data_segs_out;
}

// Leaves it in the buffer of `from`.
void buffer(Path& path, const std::string& bytes)
{
    path.source.far.send("-" + bytes);
    path.source.near.read_line(1);
    REQUIRE(path.source.near.buffered() == bytes);
}

}  // namespace

TEST_CASE("a head and a body that is here share a packet", "[http_io]")
{
    Path path;
    buffer(path, "body");
    write_head(path.sink.near, "head ", path.source.near, {Kind::length, 4});
    path.sink.near.write_all("body");
    CHECK(path.sink.far.read_exactly(9) == "head body");
    CHECK(packets_sent(path.sink.near) == 1);
}

TEST_CASE("a head does not wait for a body that is not here", "[http_io]")
{
    Path path;
    BodyFraming body{Kind::length, 4};
    SECTION("none has arrived") { }
    SECTION("there will be none")
    {
        buffer(path, "the next request");
        body = {Kind::none};
    }
    SECTION("it is empty")
    {
        buffer(path, "the next request");
        body = {Kind::length, 0};
    }
    SECTION("it may be the beginning of a chunk's head")
    {
        buffer(path, "1");
        body = {Kind::chunked};
    }
    write_head(path.sink.near, "head", path.source.near, body);
    CHECK(packets_sent(path.sink.near) == 1);
    CHECK(path.sink.far.read_exactly(4) == "head");
}

#endif

#include "support/copy.h"

#include <sys/socket.h>

#include <algorithm>
#include <vector>

#include "catch.h"
#include "harness.h"

namespace {

using namespace std::chrono_literals;
using Kind = BodyFraming::Kind;

// far_from -> [from -> to] -> far_to; what stands in brackets is the proxy's.
struct Path {
    explicit Path(std::pair<Socket, Socket> first = socket_pair(),
        std::pair<Socket, Socket> second = socket_pair())
        : far_from{std::move(first.first)}, from{{std::move(first.second),
                                                     "from"},
                                                Peer::server, idle},
          to{{std::move(second.first), "to"}, Peer::client, idle},
          far_to{std::move(second.second)}
    {
    }

    // What arrives of `sent` when it is copied so.
    std::string copy(const std::string& sent, BodyFraming framing,
        Delimiting delimiting = Delimiting::as_received)
    {
        Background sender{[&] {
            far_from.send(sent);
            far_from.finish_sending();
        }};
        Background copier{[&] {
            try {
                copy_body(from, to, framing, delimiting);
            } catch (const std::exception& error) {
                failure = error.what();
            }
            to.socket().finish_sending();
        }};
        std::string arrived = far_to.read_to_end();
        sender.join();
        copier.join();
        return arrived;
    }

    std::string rest()
    {
        std::array<char, 100> buffer;
        return {buffer.data(), from.read_some(buffer, to)};
    }

    IdleTimer idle{20s};
    TestSocket far_from;
    Connection from;
    Connection to;
    TestSocket far_to;
    std::string failure;
};

}  // namespace

TEST_CASE("a body is copied up to its end and no further", "[copy]")
{
    struct Row {
        std::string sent;
        BodyFraming framing;
        Delimiting delimiting;
        std::string arrived, rest;
    };
    const auto row = GENERATE(values<Row>({
        {"next", {Kind::none}, Delimiting::as_received, "", "next"},
        {"hellonext", {Kind::length, 5}, Delimiting::as_received, "hello",
            "next"},
        {"next", {Kind::length, 0}, Delimiting::as_received, "", "next"},
        {"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nT: 1\r\n\r\nnext", {Kind::chunked},
            Delimiting::as_received, "5\r\nabcde\r\n0\r\nT: 1\r\n\r\n", "next"},
        {"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nT: 1\r\n\r\nnext", {Kind::chunked},
            Delimiting::by_close, "abcde", "next"},
        {"0\r\n\r\nnext", {Kind::chunked}, Delimiting::as_received, "0\r\n\r\n",
            "next"},
        {"all of it", {Kind::until_close}, Delimiting::as_received, "all of it",
            ""},
    }));
    Path path;
    CHECK(path.copy(row.sent, row.framing, row.delimiting) == row.arrived);
    CHECK(path.failure.empty());
    CHECK(path.rest() == row.rest);
}

TEST_CASE("large bodies arrive unchanged", "[copy]")
{
    const std::string bytes = some_bytes(1'000'000);
    const auto kind = GENERATE(Kind::length, Kind::until_close);
    Path path;
    const bool is_equal = path.copy(bytes, {kind, bytes.size()}) == bytes;
    CHECK(is_equal);
}

TEST_CASE("a large chunk is passed on in pieces", "[copy]")
{
    const std::string bytes = some_bytes(1'000'000);
    Path path;
    const bool is_equal = path.copy("f4240\r\n" + bytes + "\r\n0\r\n\r\n",
                              {Kind::chunked}, Delimiting::by_close)
        == bytes;
    CHECK(is_equal);
    CHECK(path.failure.empty());
}

TEST_CASE("a body cut short is an error, after what came of it", "[copy]")
{
    Path path;
    SECTION("length")
    {
        CHECK(path.copy("half", {Kind::length, 8}) == "half");
        CHECK(path.failure
            == "the body ended 4 bytes short of its "
               "Content-Length");
    }
    SECTION("chunked")
    {
        CHECK(path.copy("8\r\nhalf", {Kind::chunked}) == "4\r\nhalf\r\n");
        CHECK(path.failure == "the body ended before its last chunk");
    }
    SECTION("malformed")
    {
        CHECK(path.copy("4\r\nhalfX", {Kind::chunked}).empty());
        CHECK(path.failure == "a chunk is longer than its size says");
    }
}

// Each write to such a socket stays one packet, and so tells its size (P13).
TEST_CASE("a stream starts small, and moves much at a time when it is much",
    "[copy][P13]")
{
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends.data()) == 0);
    const Socket packets{ends[1]};
    Path path{socket_pair(), {Socket{ends[0]}, socket_pair().first}};
    const std::string bytes = some_bytes(150'000);
    Background sender{[&] {
        path.far_from.send(bytes);
        path.far_from.finish_sending();
    }};
    Background copier{[&] {
        copy_to_end(path.from, path.to);
        path.to.socket().finish_sending();
    }};
    std::vector<char> buffer(bytes.size());
    std::string arrived;
    std::size_t largest = 0;
    while (const auto n = packets.receive(buffer, test_deadline)) {
        if (*n == 0)
            break;
        if (arrived.empty())
            CHECK(*n <= 1024);
        largest = std::max(largest, *n);
        arrived.append(buffer.data(), *n);
    }
    sender.join();
    copier.join();
    CHECK(arrived == bytes);
    CHECK(largest >= 16 * 1024);
}

#include "support/connection.h"

#ifdef __linux__
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#endif

#include <array>
#include <cerrno>

#include "catch.h"
#include "harness.h"
#include "support/failure.h"

namespace {

using namespace std::chrono_literals;

// A Connection and the other end of it.
struct Ends {
    explicit Ends(milliseconds idle_limit = 20s)
        : Ends{idle_limit, socket_pair()}
    {
    }
    Ends(milliseconds idle_limit, std::pair<Socket, Socket> sockets)
        : idle{idle_limit}, near{{std::move(sockets.first), "near"},
                                Peer::client, idle},
          far{std::move(sockets.second)}
    {
    }
    IdleTimer idle;
    Connection near;
    TestSocket far;
};

std::string read_some(Connection& connection)
{
    std::array<char, 100> buffer;
    return {buffer.data(), connection.read_some(buffer, connection)};
}

}  // namespace

// A browser may send its ClientHello in the same segment (P3).
TEST_CASE("bytes behind a head are read first", "[connection][P3]")
{
    Ends ends;
    ends.far.send("CONNECT h:1 HTTP/1.1\r\n\r\nearly");
    CHECK(ends.near.read_request_head(10s) == "CONNECT h:1 HTTP/1.1\r\n\r\n");
    CHECK(ends.near.unread_size() == 5);
    CHECK(read_some(ends.near) == "early");
    ends.far.send("late");
    CHECK(read_some(ends.near) == "late");
    CHECK(ends.near.bytes_read() == 24 + 9);
}

TEST_CASE("bytes put back are read again, and counted once", "[connection]")
{
    Ends ends;
    ends.far.send("abc");
    CHECK(read_some(ends.near) == "abc");
    ends.near.unread("bc");
    CHECK(ends.near.bytes_read() == 1);
    CHECK(read_some(ends.near) == "bc");
    CHECK(ends.near.bytes_read() == 3);
}

TEST_CASE(
    "the end of the stream is no error where a head may begin", "[connection]")
{
    Ends ends;
    ends.far.finish_sending();
    CHECK_FALSE(ends.near.read_request_head(10s));
}

TEST_CASE("the end of the stream within a head is one", "[connection]")
{
    Ends ends;
    ends.far.send("GET ");
    ends.far.finish_sending();
    CHECK_THROWS_AS(ends.near.read_request_head(10s), MessageError);
}

TEST_CASE("a head has a deadline, and so has the wait for it", "[connection]")
{
    Ends ends;
    SECTION("nothing came")
    {
        CHECK_THROWS_AS(ends.near.read_request_head(1ms), PeerError);
    }
    SECTION("a part came")
    {
        ends.far.send("GET ");
        CHECK_THROWS_AS(ends.near.read_request_head(50ms), Failure);
    }
}

TEST_CASE("silence after a request is an ordinary end", "[connection]")
{
    Ends ends{50ms};
    ends.far.send("GET / HTTP/1.1\r\n\r\n");
    CHECK(ends.near.read_request_head(10s));
    CHECK_FALSE(ends.near.read_request_head(10s));
}

TEST_CASE("silence anywhere else names the peer", "[connection]")
{
    Ends ends{1ms};
    try {
        read_some(ends.near);
        FAIL("read from silence");
    } catch (const PeerError& error) {
        CHECK(error.peer == Peer::client);
        CHECK(error.error == ETIMEDOUT);
        CHECK_THAT(error.what(), StartsWith("reading from the client: "));
    }
}

TEST_CASE("reading stops when the receiver has hung up", "[connection]")
{
    Ends from;
    Ends to;
    to.near.socket().shut_down();
    std::array<char, 10> buffer;
    CHECK_THROWS_AS(from.near.read_some(buffer, to.near), PeerError);
    CHECK_THROWS_AS(from.near.read_response_head(to.near), PeerError);
}

// A wake-up for another reason, here the FIN, is not the end of the patience.
TEST_CASE("waiting goes on when the receiver has only finished",
    "[connection][half-close]")
{
    Ends from;
    Ends to;
    to.far.finish_sending();
    CHECK_FALSE(from.near.wait_to_read(&to.near, 10ms));
    CHECK(to.idle.is_half_closed() == false);
    CHECK(from.idle.is_half_closed());
    Background sender{[&] { from.far.send("x"); }};
    CHECK(from.near.wait_to_read(&to.near));
    sender.join();
    CHECK(read_some(from.near) == "x");
}

// A slow reader loses nothing (P12).
TEST_CASE(
    "everything is written, however slowly it is read", "[connection][P12]")
{
    Ends ends;
    const std::string bytes = some_bytes(3'000'000);
    const std::string_view all = bytes;
    Background writer{[&] {
        ends.near.write_all({all.substr(0, 1), all.substr(1, 999'999), "",
            all.substr(1'000'000)});
    }};
    const bool is_equal = ends.far.read_exactly(bytes.size()) == bytes;
    writer.join();
    CHECK(is_equal);
    CHECK(ends.near.bytes_written() == bytes.size());
}

TEST_CASE("a reader that never reads ends the wait", "[connection]")
{
    Ends ends{50ms};
    CHECK_THROWS_AS(
        ends.near.write_all({std::string(10'000'000, 'x')}), PeerError);
}

// P9, P6.
TEST_CASE("the idle timer starts anew with each byte", "[connection][P6][P9]")
{
    IdleTimer idle{1h};
    CHECK_FALSE(idle.has_expired());
    CHECK(idle.patience() <= IdleTimer::half_closed_limit);
    IdleTimer brief{1ms};
    while (!brief.has_expired()) { }
    CHECK(brief.patience() == 0ms);
    brief.bytes_moved();
    CHECK(brief.patience() > 0ms);

    IdleTimer half_closed{1h};
    half_closed.one_direction_ended();
    CHECK(half_closed.is_half_closed());
    CHECK(half_closed.patience() <= IdleTimer::half_closed_limit);
    half_closed.exchange_begins();
    CHECK_FALSE(half_closed.is_half_closed());
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

std::pair<Socket, Socket> tcp_pair()
{
    const NamedSocket listener = listen_on({"127.0.0.1", "0"});
    Socket first
        = connect_to(parse_authority_form(listener.address), 10s).socket;
    return {std::move(first), accept_from(listener.socket).socket};
}

}  // namespace

TEST_CASE("a head and a body that is here share a packet", "[connection]")
{
    Ends to{20s, tcp_pair()};
    Ends from;
    from.near.unread("body");
    to.near.write_head("head ", from.near, {BodyFraming::Kind::length, 4});
    to.near.write_all({"body"});
    CHECK(to.far.read_exactly(9) == "head body");
    CHECK(packets_sent(to.near) == 1);
}

TEST_CASE("a head does not wait for a body that is not here", "[connection]")
{
    using Kind = BodyFraming::Kind;
    Ends to{20s, tcp_pair()};
    Ends from;
    SECTION("none has arrived")
    {
        to.near.write_head("head", from.near, {Kind::length, 4});
    }
    SECTION("there will be none")
    {
        from.near.unread("the next request");
        to.near.write_head("head", from.near, {Kind::none, 0});
    }
    SECTION("it may be the beginning of a chunk's head")
    {
        from.near.unread("1");
        to.near.write_head("head", from.near, {Kind::chunked, 0});
    }
    CHECK(packets_sent(to.near) == 1);
    CHECK(to.far.read_exactly(4) == "head");
}

#endif

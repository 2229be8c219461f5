#include "support/pipe.h"

#include <array>
#include <string>

#include "catch.h"

#if defined(__linux__) && !defined(PORTABLE_COPY)

namespace {

using namespace std::chrono_literals;

void send(const Socket& socket, std::string_view bytes)
{
    REQUIRE(socket.send_some({&bytes, 1}, 10s) == bytes.size());
}

std::string receive(const Socket& socket)
{
    std::array<char, 100> buffer;
    return {buffer.data(), socket.receive(buffer, 10s).value()};
}

}  // namespace

TEST_CASE("a pipe takes what is there, and gives it on", "[pipe]")
{
    const auto [far_from, from] = socket_pair();
    const auto [to, far_to] = socket_pair();
    auto pipe = Pipe::open();
    REQUIRE(pipe);
    CHECK_FALSE(pipe->fill(from, 100));

    send(far_from, "hello, world");
    CHECK(pipe->fill(from, 5) == 5);
    CHECK(pipe->drain(to, 5, 10s) == 5);
    CHECK(receive(far_to) == "hello");
    CHECK(pipe->fill(from, 100) == 7);
    CHECK(pipe->drain(to, 7, 10s) == 7);
    CHECK(receive(far_to) == ", world");

    far_from.finish_sending();
    CHECK(pipe->fill(from, 100) == 0);
}

TEST_CASE("a pipe keeps what the receiver does not take", "[pipe]")
{
    const auto [far_from, from] = socket_pair();
    const auto [to, far_to] = socket_pair();
    const std::string_view much{"................................"};
    while (to.send_some({&much, 1}, 0ms)) { }
    auto pipe = Pipe::open();
    REQUIRE(pipe);
    send(far_from, "x");
    CHECK(pipe->fill(from, 100) == 1);
    CHECK_FALSE(pipe->drain(to, 1, 1ms));
}

#else

TEST_CASE("where pipes are of no use, there are none", "[pipe]")
{
    CHECK_FALSE(Pipe::open());
}

#endif

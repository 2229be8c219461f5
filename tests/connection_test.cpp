#include "support/net/connection.h"

#include <cerrno>
#include <memory>

#include "catch.h"
#include "ends.h"

namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t all = UINT64_MAX;

std::string read_line(Connection& connection, std::size_t limit)
{
    return std::string{connection.read_line(limit)};
}

}  // namespace

// --- Reading ----------------------------------------------------------------

TEST_CASE("bytes after a line are read first", "[connection]")
{
    IdleClock idle{20s};
    Ends ends{idle};
    ends.far.send("CONNECT h:1 HTTP/1.1\r\nearly");
    CHECK(read_line(ends.near, 100) == "CONNECT h:1 HTTP/1.1\r\n");
    CHECK(becomes_true([&] { return ends.near.has_bytes_waiting(); }));
    CHECK(ends.near.read_some(2) == "ea");
    CHECK(ends.near.read_some(3) == "rly");
    ends.far.send("late");
    ends.far.finish_sending();
    CHECK(ends.near.read_some(all) == "late");
    CHECK(ends.near.read_some(all).empty());
    CHECK(ends.near.bytes_read() == 22 + 9);
}

TEST_CASE("lines are found however the bytes are split", "[connection]")
{
    const std::string bytes = "one\r\n\r\ntwo\nthree";
    IdleClock idle{20s};
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        CAPTURE(cut);
        Ends ends{idle};
        ends.far.send(bytes.substr(0, cut));
        bool sent_rest = false;
        const Wait wait = [&] {
            if (ends.near.buffered().size() + ends.near.bytes_read() == cut
                && !std::exchange(sent_rest, true)) {
                ends.far.send(bytes.substr(cut));
                ends.far.finish_sending();
            }
            return true;
        };
        for (const std::string line : {"one\r\n", "\r\n", "two\n", "three", ""})
            CHECK(ends.near.read_line(100, wait) == line);
        CHECK(ends.near.bytes_read() == bytes.size());
    }
}

// 64 KiB is what the buffer holds at first, a head and a byte 64 KiB + 1.
TEST_CASE("a line ends at its limit at the latest", "[connection]")
{
    const std::size_t limit
        = GENERATE(2U, 1000U, 1024U, 1025U, 65536U, 65537U, 66'000U);
    CAPTURE(limit);
    IdleClock idle{20s};
    Ends ends{idle};
    const std::string line = std::string(limit - 1, 'x') + "\n";
    Background sender{[&] {
        ends.far.send(line);
        ends.far.send("x" + line);
    }};
    CHECK((read_line(ends.near, limit) == line));
    CHECK((read_line(ends.near, limit) == std::string(limit, 'x')));
    CHECK(read_line(ends.near, limit) == "\n");
    sender.join();
}

TEST_CASE("a CRLF is not a request that waits", "[connection]")
{
    IdleClock idle{20s};
    Ends ends{idle};
    CHECK_FALSE(ends.near.has_bytes_waiting());
    const auto has_bytes = [&](const char* bytes) {
        ends.far.send(bytes);
        ends.near.wait_to_read(nullptr, false, test_deadline);
        return ends.near.has_bytes_waiting();
    };
    SECTION("in the kernel")
    {
        CHECK_FALSE(has_bytes("\r\n"));
        CHECK(has_bytes("G"));
    }
    SECTION("partly in the buffer")
    {
        ends.far.send("1\r");
        CHECK(ends.near.read_some(1) == "1");
        CHECK(becomes_true([&] { return ends.near.has_bytes_waiting(); }));
        CHECK_FALSE(has_bytes("\n"));
        CHECK(has_bytes("G"));
    }
    SECTION("no CRLF")
    {
        CHECK(has_bytes("\n"));
    }
}

// --- Waiting ----------------------------------------------------------------

TEST_CASE("waiting for one side, the other's end is noticed", "[connection]")
{
    using Ready = Connection::Ready;
    IdleClock idle{20s};
    Ends from{idle, Peer::server};
    Ends to{idle, Peer::client};
    const auto wait = [&](bool notice_fin, milliseconds timeout) {
        return from.near.wait_to_read(&to.near, notice_fin, timeout);
    };
    CHECK(wait(true, 1ms) == Ready::nothing);
    SECTION("a FIN")
    {
        to.far.finish_sending();
        CHECK(wait(true, test_deadline) == Ready::other_finished);
        CHECK(wait(false, 1ms) == Ready::nothing);
        CHECK(time_of([&] { wait(false, 100ms); }) >= 100ms);
        from.far.send("x");
        CHECK(wait(false, test_deadline) == Ready::to_read);
    }
    SECTION("a reset")
    {
        Blocked waiting{[&] { wait(false, test_deadline); }};
        REQUIRE(waiting.is_asleep());
        to.far.reset_on_close();
        {
            const TestSocket closed = std::move(to.far);
        }
        const auto error = waiting.join();
        REQUIRE(error);
        CHECK(error->whose == Peer::client);
        CHECK(error->error == ECONNRESET);
    }
    SECTION("our own shutdown")
    {
        Blocked waiting{[&] { from.near.wait_unless_gone(to.near); }};
        REQUIRE(waiting.is_asleep());
        to.near.socket().shutdown_both();
        CHECK(waiting.join().value().whose == Peer::client);
    }
    SECTION("the sender's end is something to read")
    {
        from.far.finish_sending();
        CHECK(wait(false, test_deadline) == Ready::to_read);
    }
}

TEST_CASE("a body's wait ends with the idle limit", "[connection]")
{
    {
        IdleClock hour{1h, 1h, 1ms};
        Ends from{hour, Peer::server};
        Ends to{hour, Peer::client};
        CHECK_FALSE(from.near.wait_unless_gone(to.near));  // one slice
    }
    IdleClock idle{50ms};
    Ends from{idle, Peer::server};
    Ends to{idle, Peer::client};
    const auto error = net_error_of([&] {
        from.near.read_some(
            all, [&] { return from.near.wait_unless_gone(to.near); });
    });
    REQUIRE(error);
    CHECK(error->whose == Peer::server);
    CHECK(error->error == ETIMEDOUT);
}

// --- Writing ----------------------------------------------------------------

TEST_CASE(
    "all pieces are written, however slowly they are read", "[connection]")
{
    IdleClock idle{20s};
    Ends ends{idle, Peer::client, {8192, 8192}};
    const std::string bytes = some_bytes(3'000'000);
    const std::string_view whole = bytes;
    Background writer{[&] {
        ends.near.write_all(whole.substr(0, 1), true);
        ends.near.write_all(whole.substr(1, 999'999), true);
        ends.near.write_all("");
        ends.near.write_all(whole.substr(1'000'000));
        ends.near.write_all(whole);
    }};
    CHECK((ends.far.read_exactly(bytes.size()) == bytes));
    CHECK((ends.far.read_exactly(bytes.size()) == bytes));
    writer.join();
    CHECK(ends.near.bytes_written() == 2 * bytes.size());
}

TEST_CASE(
    "writing to a closed connection is an error, and no signal", "[connection]")
{
    IdleClock idle{20s};
    Ends ends{idle};
    ends.near.socket().shutdown_both();
    const auto error = net_error_of([&] { ends.near.write_all("x"); });
    REQUIRE(error);
    CHECK(error->error == EPIPE);
    CHECK_THAT(error->what(), StartsWith("writing to the client: "));
}

TEST_CASE("a lingering close lets the last answer be read", "[connection]")
{
    IdleClock idle{20s};
    std::pair<Socket, Socket> sockets = tcp_pair();
    auto near = std::make_unique<Connection>(
        NamedSocket{std::move(sockets.first), "near"}, Peer::client, idle);
    TestSocket far{std::move(sockets.second)};
    far.send(some_bytes(10'000));  // a request that is never read
    near->write_all("no");
    Background closer{[&] {
        near->lingering_close();
        near.reset();
    }};
    CHECK(far.read_to_end() == "no");
    far.send(some_bytes(10'000));
    far.finish_sending();
    closer.join();
    CHECK_FALSE(far.ends_with_reset());
}

TEST_CASE("a lingering close does not wait for ever", "[connection]")
{
    IdleClock idle{20s};
    Ends ends{idle};
    const auto silent = time_of([&] { ends.near.lingering_close(); });
    CHECK(silent >= 1900ms);
    CHECK(silent < 15s);
    CHECK(ends.far.is_at_end());

    Clock::duration taken{};  // where nothing more can come: 20 s, or none
    for (int i = 0; i < 10; ++i) {
        Ends ended{idle};
        ended.far.finish_sending();
        CHECK(ended.near.read_some(all).empty());
        taken += time_of([&] { ended.near.lingering_close(); });
    }
    CHECK(taken < 15s);
}

#include "support/net/idle_clock.h"

#include <sys/ioctl.h>
#ifdef __linux__
#include <linux/sockios.h>
#endif

#include <array>
#include <cerrno>

#include "catch.h"
#include "ends.h"
#include "support/net/transfer.h"

#ifdef __linux__

using namespace std::chrono_literals;

// --- The idle clock ---------------------------------------------------------

TEST_CASE("a slice is a fortieth of the limit, 15 s at most", "[idle]")
{
    CHECK(IdleClock{600s}.slice() == 15s);
    CHECK(IdleClock{100s}.slice() == 2500ms);
    CHECK(IdleClock{1s}.slice() == 25ms);
    CHECK(IdleClock{1ms}.slice() == 1ms);  // 0 would be for ever
}

TEST_CASE("the time starts anew with each byte", "[idle]")
{
    IdleClock idle{5ms};
    CHECK(becomes_true([&] { return idle.has_expired(); }));
    IdleClock hour{1h, 5ms};
    CHECK_FALSE(hour.has_expired());
    hour.half_close();
    CHECK(hour.is_half_closed());
    CHECK(becomes_true([&] { return hour.has_expired(); }));
    hour.restart();
    CHECK_FALSE(hour.is_half_closed());
    CHECK_FALSE(hour.has_expired());
    IdleClock brief{5ms, 1h};
    brief.half_close();  // makes no limit longer
    CHECK(becomes_true([&] { return brief.has_expired(); }));
}

TEST_CASE("silence names the peer", "[idle]")
{
    IdleClock idle{20ms};
    Ends ends{idle};
    const auto error = net_error_of([&] { ends.near.read_some(UINT64_MAX); });
    REQUIRE(error);
    CHECK(error->whose == Peer::client);
    CHECK(error->error == ETIMEDOUT);
    CHECK_THAT(error->what(), StartsWith("reading from the client: "));
}

TEST_CASE("a blocked thread learns of the other side's FIN", "[idle]")
{
    IdleClock idle{1h, 300ms, 20ms};
    Ends ends{idle};
    Blocked reader{[&] { ends.near.read_some(UINT64_MAX); }};
    REQUIRE(reader.is_asleep());
    const auto taken = time_of([&] {
        idle.half_close();
        CHECK(reader.join().value().error == ETIMEDOUT);
    });
    CHECK(taken >= 300ms);
    CHECK(taken < test_deadline);  // else it is an hour
}

// --- Slow and stalled readers -----------------------------------------------

namespace {

enum class Gear { buffer, pipe };

struct Limits {
    milliseconds idle;
    milliseconds half_closed = 60s;
    milliseconds longest_slice = 15s;
};

// An endless stream to a reader that the test slows down, and the quiet other
// direction of the same tunnel.
class Stream {
public:
    Stream(Gear gear, const Limits& limits, int send_buffer = 200'000)
        : Stream{gear, limits, tcp_pair({send_buffer, 8192})}
    {
    }
    ~Stream()
    {
        from_.far.finish_sending();  // wakes the sender
        from_.near.socket().shutdown_both();
        to_.socket().shutdown_both();
    }

    bool is_alive() const { return !writer_.is_done() && !quiet_.is_done(); }
    bool is_in_pipe() const { return in_pipe_; }
    ssize_t read(std::size_t most)
    {
        static std::array<char, 100'000> bytes;
        return ::recv(reader_.descriptor(), bytes.data(), most, MSG_DONTWAIT);
    }
    int unacknowledged() const
    {
        int bytes = 0;
        ::ioctl(to_.socket().descriptor(), SIOCOUTQ, &bytes);
        return bytes;
    }
    /// The error of the writer, when both directions have ended.
    int error()
    {
        quiet_.join();
        const auto error = writer_.join();
        return error ? error->error : 0;
    }

private:
    Stream(Gear gear, const Limits& limits, std::pair<Socket, Socket> sockets)
        : idle_{limits.idle, limits.half_closed, limits.longest_slice},
          from_{idle_, Peer::server}, to_{{std::move(sockets.first), "to"},
                                          Peer::client, idle_},
          reader_{std::move(sockets.second)},
          sender_{[this] { send_for_ever(from_.far); }}, writer_{[this, gear] {
              gear == Gear::pipe ? splice() : write();
          }},
          quiet_{[this] { to_.read_some(1); }}
    {
    }
    void write()
    {
        for (const std::string bytes = some_bytes(100'000);;)
            to_.write_all(bytes);
    }
    void splice()
    {
        for (Transfer transfer{from_.near, to_};;) {
            const Piece piece = transfer.read();
            in_pipe_ = in_pipe_ || piece.bytes.empty();
            transfer.write(piece);
        }
    }

    IdleClock idle_;
    Ends from_;
    Connection to_;
    Socket reader_;
    std::atomic<bool> in_pipe_{false};
    Background sender_;
    Blocked writer_;
    Blocked quiet_;
};

}  // namespace

namespace {

// Three ways to be slow.  The first take little at a time; receive buffers are
// small, because a kernel with a large one does not tell of each byte that was
// read.  The next take all that is here, so that each time a part of a call is
// sent.  The last take some in each slice, so that splice(2) need not return.
struct SlowReaders {
    static constexpr Limits limits{1s};
    Stream steady[2]{{Gear::buffer, limits, 4096}, {Gear::pipe, limits, 4096}};
    Stream bursts[2]{{Gear::buffer, limits}, {Gear::pipe, limits}};
    Stream narrow[2]{{Gear::buffer, limits, 4096}, {Gear::pipe, limits, 4096}};

    // False if one of them does not in two seconds, or has ended: a kernel may
    // hold the update of a small window back for longer than the limit.
    bool all_reach_the_pipe()
    {
        bool all_in_pipe = false;
        const auto give_up = Clock::now() + 2s;
        return becomes_true([&] {
            all_in_pipe = true;
            for (Stream* const streams : {steady, bursts, narrow}) {
                streams[0].read(1000);
                streams[1].read(100'000);
                all_in_pipe = all_in_pipe && streams[1].is_in_pipe();
            }
            return all_in_pipe || !all_alive() || Clock::now() > give_up;
        }) && all_in_pipe;
    }
    void read(int tick)
    {
        for (int i = 0; i < 2; ++i) {
            narrow[i].read(4000);
            if (tick % 4 == 0)
                steady[i].read(2000);
            if (tick % 24 == 0)
                for (int k = 0; k < 300 && bursts[i].read(100'000) > 0; ++k) { }
        }
    }
    bool all_alive() const
    {
        bool alive = true;
        for (const Stream* const streams : {steady, bursts, narrow})
            alive = alive && streams[0].is_alive() && streams[1].is_alive();
        return alive;
    }
};

}  // namespace

TEST_CASE(
    "a slow but steady reader keeps both directions alive", "[idle][alone]")
{
    // The bursts are the rarest reads, one in 0.6 s.  A reader whose bursts
    // came too close to the limit was not steady, and that attempt says
    // nothing.
    bool is_steady = false;
    bool all_alive = false;
    for (int attempt = 0; attempt < 10 && !is_steady; ++attempt) {
        SlowReaders readers;
        is_steady = readers.all_reach_the_pipe();
        auto last_burst = Clock::now();
        for (int tick = 0; tick < 100 && is_steady; ++tick) {
            if (tick % 24 == 0)
                last_burst = Clock::now();
            readers.read(tick);
            std::this_thread::sleep_for(25ms);
            all_alive = readers.all_alive();
            is_steady = Clock::now() - last_burst < 850ms;
        }
    }
    REQUIRE(is_steady);
    CHECK(all_alive);
}

namespace {

// How long it lived after the last byte that moved: between two looks at it, of
// which `at_most` counts from the first and `at_least` from the second.
struct Silence {
    milliseconds at_most;
    milliseconds at_least;
};

Silence silence_of(Gear gear, const Limits& limits)
{
    Stream stream{gear, limits};
    int held = 0;
    auto last_look = Clock::now();
    auto before_move = last_look;
    auto after_move = last_look;
    CHECK(becomes_true([&] {
        const auto now = Clock::now();
        if (std::exchange(held, stream.unacknowledged()) != held) {
            before_move = last_look;
            after_move = now;
        }
        last_look = now;
        return !stream.is_alive();
    }));
    const auto end = Clock::now();
    CHECK(stream.error() == ETIMEDOUT);
    return {std::chrono::floor<milliseconds>(end - before_move),
        std::chrono::floor<milliseconds>(end - after_move)};
}

}  // namespace

// As for 2 s, and as for 600 s with all constants divided by 200.  A tenth is
// what four slices take, so a machine that is busy makes it longer: the best of
// ten counts, and nearly always the first is good enough.
TEST_CASE("a stalled reader ends a stream within a tenth of the limit",
    "[idle][alone]")
{
    const Gear gear = GENERATE(Gear::buffer, Gear::pipe);
    const bool is_scaled = GENERATE(false, true);
    const milliseconds limit = is_scaled ? 3000ms : 2000ms;
    const Limits limits
        = is_scaled ? Limits{limit, 300ms, 75ms} : Limits{limit};
    milliseconds best = 1h;
    for (int i = 0; i < 10 && best > limit * 11 / 10; ++i) {
        const Silence silence = silence_of(gear, limits);
        CHECK(silence.at_most >= limit - 5ms);
        best = std::min(best, silence.at_least);
    }
    CHECK(best <= limit * 11 / 10);
}

#endif

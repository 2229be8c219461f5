#include "support/net/transfer.h"

#include <signal.h>
#include <sys/wait.h>

#ifdef __linux__
#include <malloc.h>
#endif

#include <array>
#include <cerrno>

#include "catch.h"
#include "ends.h"

#if defined(__linux__)

namespace {

using namespace std::chrono_literals;

constexpr KernelBuffers small{8192, 8192};

// far_from -> [from -> to] -> far_to; the brackets hold what the proxy has.
struct Path {
    explicit Path(IdleClock& clock, KernelBuffers buffers = {})
        : idle{clock}, source{clock, Peer::server}, sink{clock, Peer::client,
                                                        tcp_pair(buffers)}
    {
    }
    IdleClock& idle;
    Ends source;
    Ends sink;
};

// As a pump of a tunnel does.
void copy_to_end(Connection& from, Connection& to,
    std::atomic<bool>& was_in_pipe, const Wait& wait = nullptr)
{
    for (Transfer transfer{from, to};;) {
        const Piece piece = transfer.read(UINT64_MAX, wait);
        if (piece.size == 0)
            break;
        was_in_pipe = was_in_pipe || piece.bytes.empty();
        transfer.write(piece);
    }
    to.socket().shutdown_write();
}

// So many bytes, from one end of a path to the other.
void pass(std::size_t size, const Socket& source, const Socket& sink)
{
    static std::array<char, 64 * 1024> sent;
    static std::array<char, 64 * 1024> received;
    std::size_t left_to_send = size;
    std::size_t left_to_receive = size;
    while (left_to_receive > 0) {
        const ssize_t out = ::send(source.descriptor(), sent.data(),
            std::min(sent.size(), left_to_send), MSG_DONTWAIT | MSG_NOSIGNAL);
        left_to_send -= static_cast<std::size_t>(std::max<ssize_t>(out, 0));
        pollfd readable{sink.descriptor(), POLLIN, 0};
        poll_for({&readable, 1}, 1ms);
        const ssize_t in = ::recv(sink.descriptor(), received.data(),
            std::min(received.size(), left_to_receive), MSG_DONTWAIT);
        left_to_receive -= static_cast<std::size_t>(std::max<ssize_t>(in, 0));
    }
}

std::size_t heap_in_use()
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;  // their malloc(3) does not tell
#else
    const struct mallinfo2 info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
#endif
}

}  // namespace

// --- Pipes ------------------------------------------------------------------

TEST_CASE("a pipe takes what is there, and gives it on", "[pipe]")
{
    IdleClock idle{20s};
    Path path{idle};
    auto pipe = Pipe::open();
    REQUIRE(pipe);
    path.source.far.send("hello, world");
    const auto fill = [&](std::size_t limit) {
        return path.source.near.splice_into(pipe->write_end, limit, nullptr);
    };
    CHECK(fill(5) == 5);
    path.sink.near.splice_from(pipe->read_end, 5);
    CHECK(path.sink.far.read_exactly(5) == "hello");
    CHECK(fill(100) == 7);
    path.sink.near.splice_from(pipe->read_end, 7);
    CHECK(path.sink.far.read_exactly(7) == ", world");
    CHECK(path.source.near.bytes_read() == 12);
    CHECK(path.sink.near.bytes_written() == 12);
    path.source.far.finish_sending();
    CHECK(fill(100) == 0);
}

TEST_CASE("where no descriptor is left there is no pipe", "[pipe]")
{
    const NoDescriptors none;
    CHECK_FALSE(Pipe::open());
}

// --- A transfer -------------------------------------------------------------

TEST_CASE(
    "a transfer starts small, and uses a pipe once it is bulk", "[transfer]")
{
    IdleClock idle{20s};
    Path path{idle};
    const std::string bytes = some_bytes(8'000'000);
    const bool has_descriptors = GENERATE(true, false);
    CAPTURE(has_descriptors);
    std::optional<NoDescriptors> none;
    if (!has_descriptors)
        none.emplace();
    Background sender{[&] {
        path.source.far.send(bytes);
        path.source.far.finish_sending();
    }};
    std::atomic<bool> was_in_pipe{false};
    Background copier{
        [&] { copy_to_end(path.source.near, path.sink.near, was_in_pipe); }};
    const std::string arrived = path.sink.far.read_to_end();
    sender.join();
    copier.join();
    CHECK((arrived == bytes));
    CHECK(was_in_pipe == has_descriptors);
    CHECK(path.source.near.bytes_read() == bytes.size());
    CHECK(path.sink.near.bytes_written() == bytes.size());
}

TEST_CASE("the first read of a transfer is small", "[transfer]")
{
    IdleClock idle{20s};
    Path path{idle};
    path.source.far.send(some_bytes(100'000));
    Transfer transfer{path.source.near, path.sink.near};
    CHECK(transfer.read().size <= 1024);
    CHECK(transfer.read(10).size == 10);
    CHECK(transfer.read().size > 1024);
}

TEST_CASE("a limit holds in the pipe too", "[transfer]")
{
    IdleClock idle{20s};
    Path path{idle};
    Background sender{[&] { send_for_ever(path.source.far); }};
    Background reader{[&] { path.sink.far.read_to_end(); }};
    Transfer transfer{path.source.near, path.sink.near};
    bool was_in_pipe = false;
    for (int i = 0; i < 10'000 && !was_in_pipe; ++i) {
        const Piece piece = transfer.read();
        transfer.write(piece);
        was_in_pipe = piece.bytes.empty();
    }
    CHECK(was_in_pipe);
    CHECK(transfer.read(7).size <= 7);
    path.source.far.finish_sending();
    path.source.near.socket().shutdown_both();
    path.sink.near.socket().shutdown_both();
    sender.join();
    reader.join();
}

// Until then it had both.  Bytes go through raw sockets here, since the buffers
// of the test must not grow.
TEST_CASE("a transfer that was bulk gives pipe and buffer back", "[transfer]")
{
    ::mallopt(M_MMAP_THRESHOLD, 64 * 1024);  // as main() does
    IdleClock idle{1h, 1h, 100ms};
    auto [near_source, source] = tcp_pair();
    auto [near_sink, sink] = tcp_pair();
    Connection from{{std::move(near_source), "from"}, Peer::server, idle};
    Connection to{{std::move(near_sink), "to"}, Peer::client, idle};
    const auto descriptors = count_descriptors();
    std::atomic<bool> was_in_pipe{false};
    Wait wait;  // none, as in a tunnel, or one that ends, as a body has
    if (GENERATE(false, true))
        wait = [&] {
            pollfd readable{from.socket().descriptor(), POLLIN, 0};
            return poll_for({&readable, 1}, 100ms);
        };
    Blocked copier{[&] { copy_to_end(from, to, was_in_pipe, wait); }};
    REQUIRE(copier.is_asleep());
    for (int round = 0; round < 2; ++round) {
        was_in_pipe = false;
        const std::size_t heap = heap_in_use();
        CHECK(becomes_true([&, &here = source, &there = sink] {
            pass(1'000'000, here, there);
            return was_in_pipe.load();
        }));
        CHECK(becomes_true([&] { return count_descriptors() == descriptors; }));
        CHECK(becomes_true([&] { return heap_in_use() < heap + 16 * 1024; }));
    }
    source.shutdown_write();
    CHECK_FALSE(copier.join());
}

// --- Wake-up and signals ----------------------------------------------------

namespace {

// Each of the calls that a pump can be blocked in.
enum class In { recv, send, splice_in, splice_out };

void block(In call, Path& path)
{
    auto pipe = Pipe::open();
    const auto fill = [&](std::size_t limit) {
        return path.source.near.splice_into(pipe->write_end, limit, nullptr);
    };
    const std::string bytes(100'000, 'x');
    switch (call) {
    case In::recv:
        path.source.near.read_some(100);
        break;
    case In::send:
        for (;;)
            path.sink.near.write_all(bytes);
    case In::splice_in:
        while (!fill(100)) { }
        break;
    case In::splice_out:
        path.sink.near.write_all(std::string(30'000, 'x'));
        for (;;)
            if (fill(65536) != 0)
                path.sink.near.splice_from(pipe->read_end, 1);
    }
}

}  // namespace

TEST_CASE("shutdown wakes a thread in any call", "[transfer]")
{
    const In call = GENERATE(In::recv, In::send, In::splice_in, In::splice_out);
    CAPTURE(static_cast<int>(call));
    IdleClock idle{1h, 1h, 90s};  // a slice is far longer than the wake-up
    Path path{idle, small};
    std::optional<Background> sender;
    if (call == In::splice_out)
        sender.emplace([&] { send_for_ever(path.source.far); });
    Blocked blocked{[&] { block(call, path); }};
    REQUIRE(blocked.is_asleep());
    const auto taken = time_of([&] {
        path.source.near.socket().shutdown_both();
        path.sink.near.socket().shutdown_both();
        path.source.far.finish_sending();
        const auto error = blocked.join();
        const bool writes = call == In::send || call == In::splice_out;
        CHECK(error.has_value() == writes);
        if (error)
            CHECK(error->error == EPIPE);
    });
    CHECK(taken < test_deadline);
}

// A handler with SA_RESTART makes no difference: calls with a time-out are not
// restarted (signal(7)).
TEST_CASE("a signal does not end a call", "[transfer]")
{
    const In call = GENERATE(In::recv, In::send, In::splice_in, In::splice_out);
    const int flags = GENERATE(0, SA_RESTART);
    CAPTURE(static_cast<int>(call), flags);
    static std::atomic<int> signals;
    signals = 0;
    struct sigaction before { };
    struct sigaction counting { };
    counting.sa_handler = [](int) { ++signals; };
    counting.sa_flags = flags;
    ::sigaction(SIGUSR1, &counting, &before);
    IdleClock idle{20s};
    Path path{idle, small};
    std::optional<Background> sender;
    if (call == In::splice_out)
        sender.emplace([&] { send_for_ever(path.source.far); });
    {
        Blocked blocked{[&] { block(call, path); }};
        REQUIRE(blocked.is_asleep());
        for (int i = 1; i <= 3; ++i) {
            blocked.signal(SIGUSR1);
            CHECK(becomes_true([&] { return signals == i; }));
            CHECK(blocked.is_asleep());
            CHECK_FALSE(blocked.is_done());
        }
        if (call == In::recv || call == In::splice_in)
            path.source.far.send("x");
        else
            path.sink.near.socket().shutdown_both();
        blocked.join();
    }
    path.source.far.finish_sending();
    ::sigaction(SIGUSR1, &before, nullptr);
}

// As Ctrl-Z and fg do: no handler runs, and the call fails with EINTR.
TEST_CASE("a stopped process goes on where it was", "[transfer]")
{
    IdleClock idle{20s};
    Ends ends{idle};
    const pid_t child = ::fork();
    if (child == 0) {
        const auto error = net_error_of([&] {
            ends.near.read_some(1);
            ends.near.write_all("y");
        });
        ::_exit(error ? 1 : 0);
    }
    const auto is = [&](char state) {
        std::string line
            = read_file("/proc/" + std::to_string(child) + "/stat");
        return line[line.rfind(") ") + 2] == state;
    };
    CHECK(becomes_true([&] { return is('S'); }));
    ::kill(child, SIGSTOP);
    CHECK(becomes_true([&] { return is('T'); }));
    ::kill(child, SIGCONT);
    CHECK(becomes_true([&] { return is('S'); }));
    ends.far.send("x");
    CHECK(ends.far.read_exactly(1) == "y");
    int status = -1;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}

#endif

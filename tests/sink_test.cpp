// The queue between those who have something to say and a reader who may not
// read.

#include "support/log/sink.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <sstream>

#include "catch.h"
#include "harness.h"

namespace {

using namespace std::chrono_literals;

// A pipe that is full at the start.
class FullPipe {
public:
    FullPipe()
    {
        std::array<int, 2> ends{};
        REQUIRE(::pipe(ends.data()) == 0);
        read_end_ = ends[0];
        write_end = ends[1];
        ::fcntl(write_end, F_SETFL, O_NONBLOCK);
        const std::string filling(4096, '.');
        while (::write(write_end, filling.data(), filling.size()) > 0)
            filled_ += filling.size();
        ::fcntl(write_end, F_SETFL, 0);
    }
    ~FullPipe()
    {
        ::close(read_end_);
        ::close(write_end);
    }
    FullPipe(const FullPipe&) = delete;

    // The bytes that arrive while the sink writes all that it has.
    std::string read_while_flushed(Sink& sink)
    {
        std::string bytes;
        Background flush{[&] {
            if (!sink.flush(Clock::now() + test_deadline)
                || ::write(write_end, "\0", 1) != 1)
                throw std::runtime_error{"not flushed"};
        }};
        std::array<char, 64 * 1024> buffer;
        pollfd waiting{read_end_, POLLIN, 0};
        while (!bytes.ends_with('\0') && ::poll(&waiting, 1, 30'000) > 0)
            bytes.append(buffer.data(),
                static_cast<std::size_t>(std::max<ssize_t>(
                    ::read(read_end_, buffer.data(), buffer.size()), 0)));
        flush.join();
        bytes.pop_back();
        bytes.erase(0, std::exchange(filled_, 0));
        return bytes;
    }

    int write_end = -1;

private:
    int read_end_ = -1;
    std::size_t filled_ = 0;
};

// A sink lives for ever, as its thread does.
Sink& new_sink(int descriptor, Sink* complaints = nullptr)
{
    return *new Sink{descriptor, format_dropped, complaints};
}

std::vector<std::string> lines_of(const std::string& text)
{
    std::vector<std::string> lines;
    std::istringstream stream{text};
    for (std::string line; std::getline(stream, line);)
        lines.push_back(line);
    return lines;
}

// About a KiB, in two lines.
std::string event(const std::string& name, int number)
{
    return name + " " + std::to_string(number) + " " + std::string(500, 'x')
        + "\n  " + std::to_string(number) + " " + std::string(500, 'y') + "\n";
}

struct Read {
    int events = 0;
    int dropped = 0;
    int gaps = 0;
    bool in_order = true;
    bool is_whole = true;
};

// The events of a name among the lines, and what is said about a gap.
Read find(const std::vector<std::string>& lines, const std::string& name,
    const std::string& dropped)
{
    Read read;
    int last = -1;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (lines[i].find(dropped) != std::string::npos) {
            read.dropped += std::stoi(lines[i].substr(lines[i].find(' ')));
            ++read.gaps;
        }
        if (!lines[i].starts_with(name + " "))
            continue;
        const int number = std::stoi(lines[i].substr(name.size()));
        const std::string both = lines[i] + "\n"
            + (i + 1 < lines.size() ? lines[i + 1] : "") + "\n";
        read.is_whole = read.is_whole && both == event(name, number);
        read.in_order = read.in_order && number > std::exchange(last, number);
        ++read.events;
    }
    return read;
}

}  // namespace

TEST_CASE("the trace is dropped before the log is", "[sink]")
{
    FullPipe pipe;
    Sink& sink = new_sink(pipe.write_end);
    // More than the trace may have, then as much of the log as there is room.
    for (int i = 0; i < 10'000; ++i)
        sink.write(LineKind::trace, event("step", i));
    for (int i = 0; i < 15'000; ++i)
        sink.write(LineKind::log, event("line", i));
    const auto lines = lines_of(pipe.read_while_flushed(sink));

    const Read log = find(lines, "line", "log lines were dropped");
    CHECK(log.events == 15'000);
    CHECK(log.in_order);
    CHECK(log.is_whole);
    CHECK(log.gaps == 0);
    const Read trace = find(lines, "step", "steps of the trace were dropped");
    CHECK(trace.events + trace.dropped == 10'000);
    CHECK(trace.dropped > 0);
    CHECK(trace.in_order);
    CHECK(trace.is_whole);
    CHECK(trace.gaps == 1);
}

TEST_CASE(
    "log lines that were dropped are told once, where they were", "[sink]")
{
    FullPipe pipe;
    Sink& sink = new_sink(pipe.write_end);
    for (int i = 0; i < 20'000; ++i)
        sink.write(LineKind::log, event("line", i));
    const auto before = lines_of(pipe.read_while_flushed(sink));
    const Read log = find(before, "line", "log lines were dropped");
    CHECK(log.events + log.dropped == 20'000);
    CHECK(log.events * 1000 > 15'000'000);
    CHECK(log.gaps == 1);
    CHECK(log.in_order);
    CHECK(log.is_whole);
    CHECK_THAT(before.back(),
        StartsWith("forward_proxy: ") && ContainsSubstring(" were dropped"));

    sink.write(LineKind::log, "after\n");
    sink.write(LineKind::trace, "a step\n");
    CHECK(pipe.read_while_flushed(sink) == "after\na step\n");
}

TEST_CASE("lines of many threads are all written, and whole", "[sink]")
{
    const TempDir folder;
    const int file = ::open((folder / "log").c_str(), O_CREAT | O_WRONLY, 0600);
    Sink& sink = new_sink(file);
    {
        std::vector<std::unique_ptr<Background>> threads;
        for (const std::string name : {"a", "b", "c", "d"})
            threads.push_back(std::make_unique<Background>([&sink, name] {
                for (int i = 0; i < 3000; ++i)
                    sink.write(LineKind::log, event(name, i));
            }));
    }
    CHECK(sink.flush(Clock::now() + test_deadline));
    ::close(file);
    const auto lines = lines_of(read_file(folder / "log"));
    for (const std::string name : {"a", "b", "c", "d"}) {
        const Read log = find(lines, name, "dropped");
        CHECK(log.events == 3000);
        CHECK(log.in_order);
        CHECK(log.is_whole);
        CHECK(log.gaps == 0);
    }
}

TEST_CASE("a write that fails is complained of once", "[sink]")
{
    FullPipe said;
    Sink& complaints = new_sink(said.write_end);
    int descriptor = -1;
    std::string reason;
    SECTION("a full disk")
    {
        descriptor = ::open("/dev/full", O_WRONLY);
        reason = "No space left on device";
    }
    SECTION("a pipe without a reader")
    {
        std::array<int, 2> ends{};
        REQUIRE(::pipe(ends.data()) == 0);
        ::close(ends[0]);
        descriptor = ends[1];
        reason = "Broken pipe";
    }
    Sink& sink = new_sink(descriptor, &complaints);
    for (int i = 0; i < 3; ++i) {
        sink.write(LineKind::log, "lost\n");
        CHECK(sink.flush(Clock::now() + test_deadline));
    }
    ::close(descriptor);
    CHECK(said.read_while_flushed(complaints)
        == "forward_proxy: standard output: " + reason
            + "; lines that cannot be written are lost\n");
}

// RLIMIT_FSIZE is a disk of any size.
TEST_CASE("when a full disk has room again a new line begins", "[sink]")
{
    const TempDir folder;
    const int file = ::open((folder / "log").c_str(), O_CREAT | O_WRONLY, 0600);
    Sink& sink = new_sink(file);
    rlimit before{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{10, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
    sink.write(LineKind::log, "the first line\n");
    sink.flush(Clock::now() + test_deadline);
    ::setrlimit(RLIMIT_FSIZE, &before);
    sink.write(LineKind::log, "the second line\n");
    sink.flush(Clock::now() + test_deadline);
    ::close(file);
    CHECK(read_file(folder / "log") == "the first \nthe second line\n");
}

TEST_CASE("a flush ends when its time is over", "[sink]")
{
    FullPipe pipe;
    Sink& sink = new_sink(pipe.write_end);
    sink.write(LineKind::log, "a line\n");
    CHECK_FALSE(sink.flush(Clock::now() + 50ms));
    CHECK(pipe.read_while_flushed(sink) == "a line\n");
}

// A descriptor may come to us non-blocking; another process uses it as well.
TEST_CASE("a non-blocking descriptor is waited for", "[sink]")
{
    FullPipe pipe;
    ::fcntl(pipe.write_end, F_SETFL, O_NONBLOCK);
    Sink& sink = new_sink(pipe.write_end);
    for (int i = 0; i < 200; ++i)
        sink.write(LineKind::log, event("line", i));
    const auto lines = lines_of(pipe.read_while_flushed(sink));
    CHECK(find(lines, "line", "dropped").events == 200);
}

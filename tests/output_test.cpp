// Where the log, the trace and the complaints go: standard output and error
// that are closed, full, broken, or read too slowly.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>

#include "catch.h"
#include "json.h"
#include "story.h"

namespace {

using Strings = std::vector<std::string>;

// A proxy with redirections of the shell.  Its output is of no use then to tell
// the port or the end: the port is reserved before, and descriptor 3 is held
// open until the end.
class RedirectedProxy {
public:
    explicit RedirectedProxy(
        const std::string& redirections, const Strings& options = {})
        : child_{command(redirections, options)}
    {
    }

    // It may not listen yet.
    TestSocket connect() const
    {
        const auto deadline = Clock::now() + test_deadline;
        for (;;) {
            try {
                return connect_to_port(port_.port());
            } catch (const ConnectError&) {
                if (Clock::now() > deadline)
                    throw;
                std::this_thread::yield();
            }
        }
    }
    std::string get_own_page() const
    {
        TestSocket client = connect();
        client.send("GET / HTTP/1.0\r\n\r\n");
        return client.read_to_end();
    }
    int stop()
    {
        child_.signal(SIGTERM);
        return child_.wait();
    }

private:
    Strings command(const std::string& redirections, const Strings& options)
    {
        Strings words{"sh", "-c", "exec \"$0\" \"$@\" 3>&1 " + redirections,
            proxy_binary(), "--listen", port_.authority()};
        words.insert(words.end(), options.begin(), options.end());
        return words;
    }

    ReservedPort port_;
    Child child_;
};

// A named pipe, and its reader, who does not read unless it is told to.
class Reader {
public:
    explicit Reader(std::string path) : path_{std::move(path)}
    {
        REQUIRE(::mkfifo(path_.c_str(), 0600) == 0);
        descriptor_ = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
    ~Reader() { close(); }
    Reader(const Reader&) = delete;

    const std::string& path() const { return path_; }
    void close()
    {
        if (descriptor_ >= 0)
            ::close(std::exchange(descriptor_, -1));
    }
    // All that was read so far, which contains the text.
    const std::string& read_until(const std::string& text)
    {
        std::size_t from = 0;
        while (bytes_.find(text, from) == std::string::npos) {
            from = bytes_.size() - std::min(bytes_.size(), text.size());
            if (!read_more())
                throw std::runtime_error{
                    "no \"" + text + "\" in: " + bytes_.substr(0, 2000)};
        }
        return bytes_;
    }
    const std::string& read_to_end()
    {
        while (read_more()) { }
        return bytes_;
    }

private:
    bool read_more()
    {
        pollfd waiting{descriptor_, POLLIN, 0};
        if (::poll(&waiting, 1, static_cast<int>(test_deadline.count())) <= 0)
            throw std::runtime_error{"waited in vain for output"};
        std::array<char, 64 * 1024> buffer;
        const ssize_t n = ::read(descriptor_, buffer.data(), buffer.size());
        bytes_.append(
            buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
        return n > 0;
    }

    std::string path_;
    int descriptor_ = -1;
    std::string bytes_;
};

// The number in a line that says how many events were dropped.
std::size_t dropped(const std::string& text, const std::string& words)
{
    const std::size_t start = text.rfind(' ', text.find(words) - 1);
    return std::stoul(text.substr(start));
}

// A request whose head fills 12 KiB of the trace, and 8 KiB of the log.
const std::string long_request = [] {
    std::string request = "GET /" + std::string(8000, 'x') + " HTTP/1.0\r\n";
    for (int i = 0; i < 60; ++i)
        request
            += "X-" + std::to_string(i) + ": " + std::string(180, 'y') + "\r\n";
    return request + "\r\n";
}();

void make_requests(const RedirectedProxy& proxy, int n)
{
    for (int i = 0; i < n; ++i) {
        TestSocket client = proxy.connect();
        client.send(long_request);
        REQUIRE_THAT(client.read_to_end(), StartsWith("HTTP/1.1 400 "));
    }
}

}  // namespace

// --- A reader who pauses ----------------------------------------------------

TEST_CASE("a reader who pauses stops no client and no stop", "[output][alone]")
{
    const auto redirections = GENERATE(as<std::string>{}, ">$READER 2>&1",
        ">$READER 2>/dev/null", "2>$READER >/dev/null");
    // The promise of 1.5 s must hold; a machine under load gets three tries.
    Clock::duration fastest = Clock::duration::max();
    for (int i = 0; i < 3 && fastest > milliseconds{1500}; ++i) {
        const TempDir folder;
        const Reader reader{folder / "reader"};
        std::string command = redirections;
        command.replace(command.find("$READER"), 7, reader.path());
        RedirectedProxy proxy{command,
            command.starts_with("2") ? Strings{"--trace", "--log", "json"}
                                     : Strings{"--trace"}};
        make_requests(proxy, 100);
        const auto start = Clock::now();
        CHECK(proxy.stop() == 0);
        fastest = std::min(fastest, Clock::now() - start);
    }
    CHECK(fastest <= milliseconds{1500});
}

TEST_CASE("a reader who pauses misses steps of the trace, and no log line",
    "[output]")
{
    const TempDir folder;
    Reader reader{folder / "reader"};
    RedirectedProxy proxy{">" + reader.path() + " 2>&1", {"--trace"}};
    constexpr int requests = 1000;
    constexpr std::size_t steps_of_own_page = 4;  // a refusal has more
    make_requests(proxy, requests);
    reader.read_until(" steps of the trace were dropped here");
    proxy.get_own_page();
    reader.read_until("\"GET /\" ");
    CHECK(proxy.stop() == 0);
    const std::string& output = reader.read_to_end();

    // "#12.1   4    3.1ms  C-->P      ..."
    const auto begins_step = [](const std::string& line) {
        const std::size_t end = line.find("ms  ");
        return line.starts_with("#") && end < 25
            && std::isdigit(static_cast<unsigned char>(line[end - 1])) != 0;
    };
    std::size_t steps = 0;
    std::size_t log_lines = 0;
    std::size_t steps_of_one = 0;
    for (const std::string& line : lines_of(output)) {
        log_lines += line.find(" total=") != std::string::npos;
        const bool is_step = begins_step(line);
        steps += is_step;
        steps_of_one += is_step
            && (line.starts_with("#1 ") || line.starts_with("#1.1 "));
        if (!is_step && !line.starts_with("#"))
            CHECK((line.starts_with("20") || line.starts_with("C is")
                || line.starts_with("forward_proxy")));
    }
    CHECK(log_lines == requests + 1);
    CHECK(count(output, " were dropped") == 1);
    CHECK(steps + dropped(output, " steps of the trace were dropped")
        == requests * steps_of_one + steps_of_own_page);
}

TEST_CASE("a reader of JSON is told in JSON what it missed", "[output]")
{
    const TempDir folder;
    Reader reader{folder / "reader"};
    RedirectedProxy proxy{
        ">" + reader.path() + " 2>" + folder / "errors", {"--log", "json"}};
    constexpr std::size_t requests = 2500;
    make_requests(proxy, requests);
    reader.read_until("\"dropped_log_lines\":");
    proxy.get_own_page();
    CHECK(proxy.stop() == 0);
    std::size_t lines = 0;
    std::size_t gaps = 0;
    for (const std::string& line : lines_of(reader.read_to_end())) {
        if (line.starts_with("forward_proxy listening"))
            continue;
        const JsonLine json{line};
        if (json.has("dropped_log_lines")) {
            lines += std::stoul(json["dropped_log_lines"]);
            ++gaps;
        } else {
            CHECK(json.has("ending"));
            ++lines;
        }
    }
    CHECK(lines == requests + 1);
    CHECK(gaps == 1);
    CHECK(read_file(folder / "errors").empty());
}

TEST_CASE(
    "the trace is text beside a log in JSON, and so are its gaps", "[output]")
{
    const TempDir folder;
    Reader reader{folder / "reader"};
    RedirectedProxy proxy{
        ">" + reader.path() + " 2>&1", {"--trace", "--log", "json"}};
    make_requests(proxy, 1000);
    reader.read_until(" steps of the trace were dropped here");
    CHECK(proxy.stop() == 0);
    CHECK(count(reader.read_to_end(), "dropped_log_lines") == 0);
}

TEST_CASE("the log does not wait for a reader of standard error", "[output]")
{
    const TempDir folder;
    const Reader reader{folder / "reader"};
    const auto device = GENERATE(as<std::string>{}, "", "/dev/full");
    RedirectedProxy proxy{">" + folder / "log" + " 2>"
            + (device.empty() ? reader.path() : device),
        {"--trace", "--log", "json"}};
    constexpr int requests = 100;
    make_requests(proxy, requests);
    CHECK(proxy.stop() == 0);
    CHECK(count(read_file(folder / "log"), "\"ending\":") == requests);
}

// --- No reader --------------------------------------------------------------

TEST_CASE("output that cannot be written is complained of once", "[output]")
{
    const TempDir folder;
    Reader reader{folder / "reader"};
    const bool is_full = GENERATE(true, false);
    const std::string path = is_full ? "/dev/full" : reader.path();
    RedirectedProxy proxy{">" + path + " 2>" + folder / "errors"};
    if (!is_full)
        reader.read_until("listening on ");
    reader.close();
    make_requests(proxy, 20);
    CHECK(proxy.stop() == 0);
    CHECK(read_file(folder / "errors")
        == "forward_proxy: standard output: "
            + std::string{is_full ? "No space left on device" : "Broken pipe"}
            + "; lines that cannot be written are lost\n");
}

TEST_CASE("both outputs may be full, or without a reader", "[output]")
{
    const TempDir folder;
    Reader reader{folder / "reader"};
    const bool is_full = GENERATE(true, false);
    const std::string path = is_full ? "/dev/full" : reader.path();
    RedirectedProxy proxy{">" + path + " 2>&1", {"--trace"}};
    if (!is_full)
        reader.read_until("listening on ");
    reader.close();
    make_requests(proxy, 20);
    CHECK(proxy.stop() == 0);
}

// --- No descriptors ---------------------------------------------------------

// The first descriptors that a program opens are those that are free.
TEST_CASE("a client never becomes a standard descriptor", "[output]")
{
    const auto closed = GENERATE(as<std::string>{}, "<&-", ">&-", "2>&-",
        "<&- >&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-");
    CAPTURE(closed);
    RedirectedProxy proxy{closed, {"--trace"}};
    // Of these, the first is descriptor 1 if the listener is 0.
    std::vector<TestSocket> clients;
    for (int i = 0; i < 3; ++i)
        clients.push_back(proxy.connect());
    for (int i = 0; i < 3; ++i)
        proxy.get_own_page();
    for (TestSocket& client : clients) {
        client.send("GET / HTTP/1.0\r\n\r\n");
        const std::string answer = client.read_to_end();
        CHECK_THAT(answer, StartsWith("HTTP/1.1 200 "));
        CHECK(answer.find("#") == std::string::npos);
    }
    CHECK(proxy.stop() == 0);
}

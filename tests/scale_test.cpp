// Crowds of clients, and what is left when they have gone; and what happens
// when the system has no more to give.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "catch.h"
#include "harness.h"
#include "proc.h"

namespace {

using Strings = std::vector<std::string>;

std::string proc(const Proxy& proxy, const std::string& file)
{
    return "/proc/" + std::to_string(proxy.pid()) + "/" + file;
}

// The number after a word in a file of /proc.
long number_in(
    const Proxy& proxy, const std::string& file, const std::string& word)
{
    const std::string text = read_file(proc(proxy, file));
    return std::stol(text.substr(text.find(word) + word.size()));
}

// What the program has in use.
struct InUse {
    long threads, descriptors, kib;
};

InUse in_use(const Proxy& proxy)
{
    const auto entries = std::filesystem::directory_iterator{proc(proxy, "fd")};
    return {number_in(proxy, "status", "\nThreads:"),
        std::distance(begin(entries), end(entries)),
        number_in(proxy, "smaps_rollup", "\nPss:")};
}

// main(), the accept loop, and the thread that writes.
const InUse idle{3, 6, 0};

// Measures again and again until it is as it should be, or time is up.
InUse in_use_when(
    const Proxy& proxy, const std::function<bool(const InUse&)>& good)
{
    const auto deadline = Clock::now() + test_deadline;
    InUse now = in_use(proxy);
    while (!good(now) && Clock::now() < deadline) {
        std::this_thread::yield();
        now = in_use(proxy);
    }
    return now;
}

// Threads end a moment after their connection does.
InUse in_use_when_done(const Proxy& proxy, const InUse& before)
{
    return in_use_when(proxy, [&](const InUse& now) {
        return now.threads <= before.threads
            && now.descriptors <= before.descriptors;
    });
}

void get_own_page(const Proxy& proxy)
{
    TestSocket client = proxy.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.read_to_end();
}

void echo(Tunnel& tunnel)
{
    tunnel.client.send("?");
    tunnel.server.send(tunnel.server.read_exactly(1));
    tunnel.client.read_exactly(1);
}

}  // namespace

TEST_CASE("ten thousand connections leave nothing behind", "[limits][scale]")
{
    Proxy proxy{{"--log", "off"}};
    const auto connections = [&](int n) {
        for (int i = 0; i < n; ++i)
            get_own_page(proxy);
    };
    connections(1000);  // the allocator has to find its size first
    const InUse before = in_use_when_done(proxy, idle);
    connections(10'000);
    const InUse after = in_use_when_done(proxy, before);
    CHECK(after.threads <= before.threads);
    CHECK(after.descriptors <= before.descriptors);
    CHECK(after.kib - before.kib < 1024);
}

TEST_CASE(
    "a thousand aborted connections leave nothing behind", "[limits][scale]")
{
    Proxy proxy{{"--log", "off"}};
    const Origin origin;
    get_own_page(proxy);
    const InUse before = in_use_when_done(proxy, idle);
    for (int i = 0; i < 1000; ++i) {
        if (i % 3 == 0) {
            Tunnel tunnel{proxy, origin};
            tunnel.client.reset_on_close();
            continue;
        }
        TestSocket client = proxy.connect();
        if (i % 3 == 1)
            client.send("GET " + origin.url() + " HT");
        client.reset_on_close();
    }
    const InUse after = in_use_when_done(proxy, before);
    CHECK(after.threads <= before.threads);
    CHECK(after.descriptors <= before.descriptors);
    CHECK(after.kib - before.kib < 1024);
}

// notes/16-what-it-leaves-out.md has the number.
TEST_CASE("an unfinished head holds its bytes and 32 KiB", "[limits][memory]")
{
    constexpr long n = 200;
    Proxy proxy{{"--log", "off"}};
    get_own_page(proxy);
    const InUse before = in_use_when_done(proxy, idle);
    std::string head = "GET http://h/ HTTP/1.1\r\n";
    while (head.size() < 64'000)
        head += "X: " + std::string(1000, 'x') + "\r\n";
    std::vector<TestSocket> clients;
    for (long i = 0; i < n; ++i) {
        clients.push_back(proxy.connect());
        clients.back().send(head);
    }
    const long bytes = static_cast<long>(head.size()) / 1024 * n;
    const InUse during = in_use_when(proxy, [&](const InUse& now) {
        return now.threads == before.threads + n
            && now.kib - before.kib >= bytes;
    });
    CHECK(during.kib - before.kib >= bytes);
    CHECK(during.kib - before.kib <= bytes + 48 * n);
    clients.clear();
    CHECK(in_use_when_done(proxy, before).threads <= before.threads);
}

// 18,000 threads.  An fd_set would have ended at descriptor 1024.
TEST_CASE("nine thousand idle tunnels answer, and leave nothing behind",
    "[limits][scale]")
{
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const std::size_t n
        = std::min<std::size_t>(9000, (limit.rlim_cur - 100) / 2);
    Proxy proxy{{"--log", "off", "--idle-timeout", "120"}};
    const Origin origin;
    get_own_page(proxy);
    const InUse before = in_use_when_done(proxy, idle);
    {
        std::vector<Tunnel> tunnels;
        for (std::size_t i = 0; i < n; ++i) {
            tunnels.emplace_back(proxy, origin);
            echo(tunnels.back());
        }
        // After a fortieth of that limit a tunnel keeps two pages for each
        // thread.
        const long limit_kib = before.kib + static_cast<long>(18 * n);
        const InUse during = in_use_when(
            proxy, [&](const InUse& now) { return now.kib <= limit_kib; });
        CHECK(during.threads == before.threads + static_cast<long>(2 * n));
        CHECK(during.kib <= limit_kib);
        for (Tunnel& tunnel : tunnels)
            echo(tunnel);
    }
    const InUse after = in_use_when_done(proxy, before);
    CHECK(after.threads <= before.threads);
    CHECK(after.descriptors <= before.descriptors);
    CHECK(after.kib - before.kib < 4096);
}

TEST_CASE("without descriptors it waits, says so, and recovers", "[limits]")
{
    Proxy proxy{{}, "127.0.0.1:0", with_ulimit("-n 20")};
    const auto start = Clock::now();
    std::vector<TestSocket> clients;
    for (int i = 0; i < 30; ++i)
        clients.push_back(proxy.connect());
    CHECK_THAT(proxy.wait_for_log("accept"),
        ContainsSubstring("accept: Too many open files: no descriptor is left "
                          "for this process (RLIMIT_NOFILE, see ulimit -n"));

    CHECK(stays_asleep(proxy.pid()));  // and does not spin
    clients.clear();
    TestSocket later = proxy.connect();
    later.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(first_line(later.read_head()) == "HTTP/1.1 200 OK");
    const auto periods = static_cast<std::size_t>(
        (Clock::now() - start) / std::chrono::seconds{5});
    CHECK(count(proxy.child().output(), "accept: ") <= 1 + periods);
}

TEST_CASE("without a descriptor for the server it is a 503", "[limits]")
{
    // 3 standard ones, the listener, and the client.
    const Proxy proxy{{}, "127.0.0.1:0", with_ulimit("-n 5")};
    const Origin origin;
    TestSocket client = proxy.connect();
    client.send(connect_request(origin.authority()));
    CHECK(first_line(client.read_head())
        == "HTTP/1.1 503 Proxy Out Of Resources");
    CHECK_THAT(client.read_to_end(),
        ContainsSubstring("no descriptor is left for this process "
                          "(RLIMIT_NOFILE"));
}

#ifdef __linux__

namespace {

// RLIMIT_NPROC does not bind root, so the proxy runs as a user without name,
// who may not enter our folder and has a copy.
std::function<Strings(std::string)> nobody_with(const TempDir& folder)
{
    std::filesystem::permissions(folder / "", std::filesystem::perms{0755});
    std::filesystem::copy(proxy_binary(), folder / "forward_proxy");
    const std::string copy = folder / "forward_proxy";
    return [copy](const std::string& threads) {
        // A user of this process alone: the limit counts all that a user has.
        const std::string user = std::to_string(20'000 + ::getpid() % 40'000);
        return Strings{"setpriv", "--reuid=" + user, "--regid=" + user,
            "--clear-groups", "prlimit", "--nproc=" + threads,
            // the binary is the next word; its copy is the one to run
            "sh", "-c", "exec " + copy + " \"$@\""};
    };
}

}  // namespace

TEST_CASE("without threads it says so, and goes on", "[limits][root]")
{
    if (::getuid() != 0) {
        WARN("needs root, for a user who has no other threads");
        return;
    }
    const TempDir folder;
    const auto as_nobody = nobody_with(folder);
    long threads = 0;
    {
        const Proxy proxy{{}, "127.0.0.1:0", as_nobody("1000")};
        get_own_page(proxy);
        threads = in_use_when_done(proxy, idle).threads;
    }

    // Room for the client's thread, but not for the second one of a tunnel.
    Proxy proxy{{}, "127.0.0.1:0", as_nobody(std::to_string(threads + 1))};
    const Origin origin;
    const std::string limit
        = "no thread is left for this user (RLIMIT_NPROC, see ulimit -u)";
    {
        TestSocket client = proxy.connect();
        client.send(connect_request(origin.authority()));
        CHECK(first_line(client.read_head())
            == "HTTP/1.1 503 Proxy Out Of Resources");
        CHECK_THAT(client.read_to_end(), ContainsSubstring(limit));
    }
    in_use_when_done(proxy, {threads, 6, 0});

    // No other client is served as long as the first one stays.
    TestSocket first = proxy.connect();
    first.send("GET ");
    TestSocket second = proxy.connect();
    CHECK(first_line(second.read_head())
        == "HTTP/1.1 503 Proxy Out Of Resources");
    CHECK_THAT(second.read_to_end(), ContainsSubstring(limit));
    CHECK_THAT(proxy.wait_for_log("forward_proxy: "), ContainsSubstring(limit));
    CHECK_THAT(proxy.wait_for_log(" 503 "), ContainsSubstring(limit));

    // Not one is left without an answer, and that is said once in 5 s.
    const auto start = Clock::now();
    for (int i = 0; i < 60; ++i) {
        TestSocket client = proxy.connect();
        client.send("GET / HTTP/1.0\r\n\r\n");
        CHECK(first_line(client.read_head())
            == "HTTP/1.1 503 Proxy Out Of Resources");
        proxy.wait_for_log(" 503 ");
    }
    const auto periods = static_cast<std::size_t>(
        (Clock::now() - start) / std::chrono::seconds{5});
    CHECK(count(proxy.child().output(), "\nforward_proxy: ") <= 2 + periods);
    first.send("/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(first_line(first.read_head()) == "HTTP/1.1 200 OK");
    first.read_to_end();
    in_use_when_done(proxy, {threads, 6, 0});
    TestSocket third = proxy.connect();
    third.send("GET / HTTP/1.0\r\n\r\n");
    CHECK(first_line(third.read_head()) == "HTTP/1.1 200 OK");
}

// What the first accept loop uses must live as long as its thread.
TEST_CASE(
    "without a thread for the second listener it ends", "[limits][root][scale]")
{
    if (::getuid() != 0) {
        WARN("needs root, for a user who has no other threads");
        return;
    }
    const TempDir folder;
    const auto as_nobody = nobody_with(folder);
    Strings command = as_nobody(std::to_string(idle.threads));
    command.insert(command.end(),
        {proxy_binary(), "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"});
    const Finished finished = run(command);
    CAPTURE(finished.output);
    CHECK(finished.status == 1);
    CHECK(count(finished.output, "forward_proxy listening on ") == 2);
    CHECK_THAT(finished.output, ContainsSubstring("no thread is left"));
}

#endif

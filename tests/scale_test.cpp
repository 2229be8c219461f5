// Crowds of clients, and what is left when they have gone; and what happens
// when the system has no more to give.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "catch.h"
#include "harness.h"

namespace {

std::string proc(const Proxy& proxy, const std::string& file)
{
    return "/proc/" + std::to_string(proxy.pid()) + "/" + file;
}

// The number behind a word in a file of /proc.
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

TEST_CASE(
    "ten thousand connections leave nothing behind", "[proxy][scale][P56]")
{
    Proxy proxy{{"--log", "off"}};
    const auto connections = [&](int n) {
        for (int i = 0; i < n; ++i)
            get_own_page(proxy);
    };
    connections(1000);  // the allocator has to find its size first
    const InUse idle{2, 6, 0};
    const InUse before = in_use_when_done(proxy, idle);
    connections(10'000);
    const InUse after = in_use_when_done(proxy, before);
    CHECK(after.threads <= before.threads);
    CHECK(after.descriptors <= before.descriptors);
    CHECK(after.kib - before.kib < 1024);
}

TEST_CASE("a thousand aborted connections leave nothing behind",
    "[proxy][scale][P56]")
{
    Proxy proxy{{"--log", "off"}};
    const Origin origin;
    get_own_page(proxy);
    const InUse before = in_use_when_done(proxy, {2, 6, 0});
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

// 18,000 threads.  An fd_set would have ended at descriptor 1024 (P62).
TEST_CASE("nine thousand idle tunnels answer, and leave nothing behind",
    "[proxy][scale][P56][P57][P62]")
{
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const std::size_t n
        = std::min<std::size_t>(9000, (limit.rlim_cur - 100) / 2);
    Proxy proxy{{"--log", "off"}};
    const Origin origin;
    get_own_page(proxy);
    const InUse before = in_use_when_done(proxy, {2, 6, 0});
    {
        std::vector<Tunnel> tunnels;
        for (std::size_t i = 0; i < n; ++i) {
            tunnels.emplace_back(proxy, origin);
            echo(tunnels.back());
        }
        // After a second of quiet a tunnel keeps two pages for each thread.
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

// P54.
TEST_CASE("without descriptors it waits, says so, and recovers", "[proxy][P54]")
{
    Proxy proxy{{}, "127.0.0.1:0", with_ulimit("-n 20")};
    std::vector<TestSocket> clients;
    for (int i = 0; i < 30; ++i)
        clients.push_back(proxy.connect());
    CHECK_THAT(proxy.wait_for_log("accept"),
        ContainsSubstring("accept: Too many open files: 20 of 20 open "
                          "descriptors (RLIMIT_NOFILE, see ulimit -n"));

    // It waits: one attempt each 100 ms, not as many as a processor can make,
    // and one line for fifty of them.
    const auto first_line_seen = Clock::now();
    proxy.wait_for_log("accept");
    CHECK(Clock::now() - first_line_seen >= milliseconds{4000});
    clients.clear();
    TestSocket later = proxy.connect();
    later.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(first_line(later.read_head()) == "HTTP/1.1 200 OK");
}

TEST_CASE("without a descriptor for the server it is a 503", "[proxy][P54]")
{
    // 3 standard ones, the listener, and the client.
    const Proxy proxy{{}, "127.0.0.1:0", with_ulimit("-n 5")};
    const Origin origin;
    TestSocket client = proxy.connect();
    client.send(connect_request(origin.authority()));
    CHECK(first_line(client.read_head())
        == "HTTP/1.1 503 Proxy Out Of Resources");
    CHECK_THAT(client.read_to_end(),
        ContainsSubstring("5 of 5 open descriptors (RLIMIT_NOFILE"));
}

#ifdef __linux__

// RLIMIT_NPROC does not bind root, so the proxy runs as a user without name.
TEST_CASE("without threads it says so, and goes on", "[proxy][root][P53]")
{
    if (::getuid() != 0) {
        WARN("needs root, for a user who has no other threads");
        return;
    }
    const TempDir folder;  // that user may not enter ours
    std::filesystem::permissions(folder / "", std::filesystem::perms{0755});
    std::filesystem::copy(PROXY_BINARY, folder / "forward_proxy");
    const auto as_nobody = [&](const std::string& threads) {
        return std::vector<std::string>{"setpriv", "--reuid=54321",
            "--regid=54321", "--clear-groups", "prlimit", "--nproc=" + threads,
            // the binary is the next word; its copy is the one to run
            "sh", "-c", "exec " + (folder / "forward_proxy") + " \"$@\""};
    };
    long threads = 0;
    {
        const Proxy proxy{{}, "127.0.0.1:0", as_nobody("1000")};
        get_own_page(proxy);
        threads = in_use_when_done(proxy, {2, 6, 0}).threads;
    }

    // Room for the client's thread, but not for the second one of a tunnel.
    Proxy proxy{{}, "127.0.0.1:0", as_nobody(std::to_string(threads + 1))};
    const Origin origin;
    const std::string limit
        = "threads of this user (RLIMIT_NPROC, see ulimit -u)";
    {
        TestSocket client = proxy.connect();
        client.send(connect_request(origin.authority()));
        CHECK(first_line(client.read_head())
            == "HTTP/1.1 503 Proxy Out Of Resources");
        CHECK_THAT(client.read_to_end(), ContainsSubstring(limit));
    }
    in_use_when_done(proxy, {threads, 6, 0});

    // Room for nobody else, as long as the first client stays.
    TestSocket first = proxy.connect();
    first.send("GET ");
    TestSocket second = proxy.connect();
    CHECK(second.is_at_end());
    CHECK_THAT(proxy.wait_for_log("forward_proxy: "), ContainsSubstring(limit));
    first.send("/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(first_line(first.read_head()) == "HTTP/1.1 200 OK");
    first.read_to_end();
    in_use_when_done(proxy, {threads, 6, 0});
    TestSocket third = proxy.connect();
    third.send("GET / HTTP/1.0\r\n\r\n");
    CHECK(first_line(third.read_head()) == "HTTP/1.1 200 OK");
}

#endif

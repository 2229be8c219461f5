#include "support/net/connection.h"
#include "support/net/dial.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "catch.h"
#include "ends.h"
#include "support/http/message.h"

namespace {

using namespace std::chrono_literals;

std::string port_of(const NamedSocket& listener)
{
    return parse_authority_form(listener.address).port;
}

// A dial, and what it tells of.
struct Dialled : DialObserver {
    Dialled(const std::string& host, const std::string& port,
        milliseconds timeout = test_deadline, bool allowed = true)
        : may_connect{allowed}
    {
        server = dial(host, port, timeout, *this);
    }
    void resolved(const AddressList& addresses) override
    {
        told.push_back("resolved " + to_string(addresses));
    }
    bool connecting(const std::string& address) override
    {
        told.push_back("connecting " + address);
        return may_connect;
    }
    void failed(const std::string& address, int error) override
    {
        failures.emplace_back(address, error);
    }

    bool may_connect;
    std::vector<std::string> told;
    std::vector<std::pair<std::string, int>> failures;
    std::optional<NamedSocket> server;
};

std::vector<std::string> addresses_of(
    const std::string& host, const std::string& port)
{
    std::vector<std::string> addresses;
    const AddressList list = resolve(host, port, 0);
    for (const addrinfo* a = list.get(); a != nullptr; a = a->ai_next)
        addresses.push_back(to_string(a->ai_addr, a->ai_addrlen));
    return addresses;
}

// Its queue of connections is full, so that the kernel drops every SYN.
class BlackHole {
public:
    BlackHole() : listener_{listen_on("127.0.0.1", "0")}
    {
        ::listen(listener_.socket.descriptor(), 0);
        const AddressList list = resolve("127.0.0.1", port(), AI_NUMERICHOST);
        for (int i = 0; i < 3; ++i) {
            queued_.push_back(new_socket(AF_INET));
            const int descriptor = queued_.back().descriptor();
            ::fcntl(descriptor, F_SETFL, O_NONBLOCK);
            ::connect(descriptor, list->ai_addr, list->ai_addrlen);
        }
    }
    std::string port() const { return port_of(listener_); }
    // The kernel sends a dropped SYN again after a second.
    void make_room() { ::listen(listener_.socket.descriptor(), SOMAXCONN); }
    void close() { listener_.socket = Socket{-1}; }

private:
    NamedSocket listener_;
    std::vector<Socket> queued_;
};

int option(const Socket& socket, int level, int name)
{
    int value = 0;
    socklen_t length = sizeof value;
    ::getsockopt(socket.descriptor(), level, name, &value, &length);
    return value;
}

}  // namespace

// --- Names ------------------------------------------------------------------

TEST_CASE("a name without an address is a NameError", "[dial]")
{
    CHECK_THROWS_AS(resolve("no-such-host.invalid", "80", 0), NameError);
    CHECK_THROWS_AS(resolve("localhost", "80", AI_NUMERICHOST), NameError);
    DialObserver observer;
    CHECK_THROWS_AS(
        dial("no-such-host.invalid", "80", 1s, observer), NameError);
}

TEST_CASE("the addresses of this machine have no port", "[dial]")
{
    const auto addresses = interface_addresses();
    CHECK(std::find(addresses.begin(), addresses.end(), "127.0.0.1")
        != addresses.end());
}

// --- Connecting -------------------------------------------------------------

TEST_CASE("a dial tells of each step", "[dial]")
{
    const NamedSocket listener = listen_on("127.0.0.1", "0");
    const Dialled dialled{"127.0.0.1", port_of(listener)};
    REQUIRE(dialled.server);
    CHECK(dialled.server->address == listener.address);
    CHECK(dialled.told
        == std::vector<std::string>{
            "resolved " + listener.address, "connecting " + listener.address});
    CHECK(dialled.failures.empty());
    CHECK(option(dialled.server->socket, IPPROTO_TCP, TCP_NODELAY) != 0);
}

TEST_CASE("every address is tried, and told why it was not reached", "[dial]")
{
    const std::string host = GENERATE("127.0.0.1", "localhost");
    const ReservedPort unused;
    const std::string port = unused.port();
    const auto addresses = addresses_of(host, port);
    const Dialled dialled{host, port};
    REQUIRE_FALSE(dialled.server);
    REQUIRE(dialled.failures.size() == addresses.size());
    for (const auto& [address, error] : dialled.failures) {
        CHECK(std::count(addresses.begin(), addresses.end(), address) == 1);
        if (address.starts_with("127."))
            CHECK(error == ECONNREFUSED);
        CHECK(error != 0);
    }
}

// Whatever else the name has: nothing listens there.
TEST_CASE("one address that answers is enough", "[dial]")
{
    const NamedSocket listener = listen_on("127.0.0.1", "0");
    const Dialled dialled{"localhost", port_of(listener)};
    REQUIRE(dialled.server);
    CHECK(dialled.server->address == listener.address);
}

TEST_CASE("an address that may not be dialled is left out", "[dial]")
{
    const NamedSocket listener = listen_on("127.0.0.1", "0");
    const Dialled dialled{"127.0.0.1", port_of(listener), test_deadline, false};
    CHECK_FALSE(dialled.server);
    CHECK(dialled.failures.empty());
    CHECK(dialled.told.back() == "connecting " + listener.address);
    pollfd connection{listener.socket.descriptor(), POLLIN, 0};
    CHECK_FALSE(poll_for({&connection, 1}, 0ms));
}

TEST_CASE("an address that never answers is given up in time", "[dial]")
{
    const BlackHole hole;
    const milliseconds timeout = GENERATE(50ms, 400ms);
    const auto start = Clock::now();
    const Dialled dialled{"127.0.0.1", hole.port(), timeout};
    const auto taken = Clock::now() - start;
    REQUIRE_FALSE(dialled.server);
    REQUIRE(dialled.failures.size() == 1);
    CHECK(dialled.failures[0].second == ETIMEDOUT);
    CHECK(taken >= timeout);
    CHECK(taken < timeout + 5s);
}

TEST_CASE("a client that leaves ends the dialling", "[dial]")
{
    const BlackHole hole;
    auto [client, far] = tcp_pair();
    Socket far_client = std::move(far);  // a lambda can capture this one
    DialObserver observer;
    Blocked dialling{[&, &here = client] {
        dial("127.0.0.1", hole.port(), test_deadline, observer, &here);
    }};
    REQUIRE(dialling.is_asleep());
    const auto taken = time_of([&] {
        far_client.reset_on_close(true);
        const Socket closed = std::exchange(far_client, Socket{-1});
    });
    const auto error = dialling.join();
    REQUIRE(error);
    CHECK(error->whose == Peer::client);
    CHECK(error->error == ECONNRESET);
    CHECK(taken < 10s);
}

TEST_CASE("a client's FIN is told once, and ends nothing", "[dial]")
{
    struct CountFins : DialObserver {
        void client_finished() override { ++fins; }
        std::atomic<int> fins{0};
    };
    BlackHole hole;
    const auto [client, far_client] = tcp_pair();
    far_client.shutdown_write();
    std::optional<NamedSocket> server;
    CountFins observer;
    Blocked dialling{[&, &here = client] {
        server = dial("127.0.0.1", hole.port(), test_deadline, observer, &here);
    }};
    CHECK(becomes_true([&] { return observer.fins > 0; }));
    REQUIRE(dialling.is_asleep());
    hole.make_room();
    dialling.join();
    CHECK(server);
    CHECK(observer.fins == 1);
}

TEST_CASE("without descriptors the limit is what an address fails by", "[dial]")
{
    const ReservedPort unused;
    const auto dialled = [&] {
        const NoDescriptors none;
        return Dialled{"127.0.0.1", unused.port()};
    }();
    REQUIRE(dialled.failures.size() == 1);
    CHECK(dialled.failures[0].second == EMFILE);
}

TEST_CASE("without descriptors no name or interface is found", "[dial]")
{
    const auto code_of = [](const auto& call) {
        const NoDescriptors none;
        try {
            call();
        } catch (const std::system_error& error) {
            return error.code().value();
        }
        return 0;
    };
    CHECK(code_of([] { interface_addresses(); }) == EMFILE);
}

TEST_CASE("an address that answers late is connected to", "[dial]")
{
    BlackHole hole;
    const auto [client, far_client] = tcp_pair();
    far_client.shutdown_write();  // which ends nothing
    std::optional<NamedSocket> server;
    DialObserver observer;
    Blocked dialling{[&, &here = client] {
        server = dial("127.0.0.1", hole.port(), test_deadline, observer, &here);
    }};
    REQUIRE(dialling.is_asleep());
    hole.make_room();
    dialling.join();
    CHECK(server);
}

TEST_CASE("an address that refuses late has refused", "[dial]")
{
    BlackHole hole;
    const std::string port = hole.port();
    std::optional<Dialled> dialled;
    Blocked dialling{[&] { dialled.emplace("127.0.0.1", port); }};
    REQUIRE(dialling.is_asleep());
    hole.close();
    dialling.join();
    REQUIRE(dialled->failures.size() == 1);
    CHECK(dialled->failures[0].second == ECONNREFUSED);
}

// --- Listening --------------------------------------------------------------

TEST_CASE("a listener on port 0 says which it got", "[dial]")
{
    const NamedSocket listener = listen_on("127.0.0.1", "0");
    CHECK_THAT(listener.address, StartsWith("127.0.0.1:"));
    const NamedSocket client = dial_test("127.0.0.1", port_of(listener));
    const NamedSocket server = accept_from(listener.socket);
    CHECK_THAT(server.address, StartsWith("127.0.0.1:"));
    CHECK(option(server.socket, IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK((::fcntl(server.socket.descriptor(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("a listener says why it cannot listen", "[dial]")
{
    const NamedSocket listener = listen_on("127.0.0.1", "0");
    CHECK_THROWS_WITH(listen_on("127.0.0.1", port_of(listener)),
        StartsWith("cannot listen on " + listener.address + ": ")
            && ContainsSubstring("Address already in use"));
    CHECK_THROWS_WITH(listen_on("no-such-host.invalid", "0"),
        StartsWith("cannot listen on no-such-host.invalid:0: "));
}

TEST_CASE("shutdown wakes a thread that waits for clients", "[dial]")
{
    const NamedSocket listener = listen_on("127.0.0.1", "0");
    std::atomic<bool> threw{false};
    Blocked acceptor{[&] {
        try {
            accept_from(listener.socket);
        } catch (const std::system_error&) {
            threw = true;
        }
    }};
    REQUIRE(acceptor.is_asleep());
    CHECK(time_of([&] {
        listener.socket.shutdown_both();
        acceptor.join();
    }) < test_deadline);
    CHECK(threw);
}

// A stop and `fg` are signals, and so is what a debugger sends.
TEST_CASE("a signal does not end the wait for clients", "[dial]")
{
    static std::atomic<int> signals{0};
    struct sigaction counting { };
    counting.sa_handler = [](int) { ++signals; };
    struct sigaction before { };
    ::sigaction(SIGUSR1, &counting, &before);  // without SA_RESTART
    const NamedSocket listener = listen_on("127.0.0.1", "0");
    std::optional<NamedSocket> accepted;
    Blocked acceptor{[&] { accepted = accept_from(listener.socket); }};
    REQUIRE(acceptor.is_asleep());
    acceptor.signal(SIGUSR1);
    REQUIRE(becomes_true([] { return signals > 0; }));
    REQUIRE(acceptor.is_asleep());
    CHECK_FALSE(acceptor.is_done());
    const NamedSocket client = dial_test("127.0.0.1", port_of(listener));
    acceptor.join();
    CHECK(accepted);
    ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("an address of another family has no text", "[address]")
{
    sockaddr address{};
    address.sa_family = AF_UNSPEC;
    CHECK(to_string(&address, sizeof address) == "?");
}

TEST_CASE("a lingering close without time to wait drops what is here", "[dial]")
{
    auto [server, client] = tcp_pair();
    TestSocket far{std::move(client)};
    far.send(some_bytes(10'000));
    pollfd readable{server.descriptor(), POLLIN, 0};
    REQUIRE(poll_for({&readable, 1}, test_deadline));
    {
        IdleClock idle{1ms};
        Connection closed{
            {std::exchange(server, Socket{-1}), "client"}, Peer::client, idle};
        closed.write_all("503");
        closed.lingering_close();
    }
    CHECK(far.read_to_end() == "503");
}

#include "support/socket.h"

#include <pthread.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <thread>

#include "catch.h"
#include "support/resolver.h"

namespace {

using namespace std::chrono_literals;

std::string receive(const Socket& socket)
{
    std::array<char, 100> buffer;
    const auto n = socket.receive(buffer, 10s);
    return n ? std::string{buffer.data(), *n} : "nothing came";
}

std::size_t send(const Socket& socket, std::string_view bytes)
{
    return socket.send_some({&bytes, 1}, 10s).value();
}

}  // namespace

TEST_CASE("pieces are sent together, in their order", "[socket]")
{
    const auto [a, b] = socket_pair();
    const std::array<std::string_view, 3> pieces{"one ", "", "two"};
    CHECK(a.send_some(pieces, 10s) == 7);
    CHECK(receive(b) == "one two");
}

TEST_CASE("waiting ends with the patience", "[socket]")
{
    const auto [a, b] = socket_pair();
    std::array<char, 10> buffer;
    CHECK_FALSE(a.receive(buffer, 1ms));
    CHECK_FALSE(a.wait_to_receive(&b, true, 1ms));
    const std::string much(1'000'000, 'x');
    const std::string_view bytes = much;
    std::size_t sent = 0;
    while (const auto n = a.send_some({&bytes, 1}, 1ms))
        sent += *n;
    CHECK(sent > 0);
}

// A handler without SA_RESTART makes poll() fail with EINTR (P47).
TEST_CASE("a signal does not end the waiting", "[socket][P47]")
{
    struct sigaction interrupting { };
    static std::atomic<int> signals;
    signals = 0;
    interrupting.sa_handler = [](int) { ++signals; };
    struct sigaction before { };
    ::sigaction(SIGUSR1, &interrupting, &before);
    const auto [a, b] = socket_pair();
    std::string got;
    std::thread reader{[&got, &socket = a] { got = receive(socket); }};
    // ThreadSanitizer may hold a signal back until the thread calls it again.
    const auto deadline = Clock::now() + 5s;
    while (signals == 0 && Clock::now() < deadline) {
        ::pthread_kill(reader.native_handle(), SIGUSR1);
        std::this_thread::yield();
    }
    send(b, "at last");
    reader.join();
    ::sigaction(SIGUSR1, &before, nullptr);
    CHECK(signals > 0);
    CHECK(got == "at last");
}

TEST_CASE("shutting down wakes a thread that waits", "[socket][P7]")
{
    const auto [a, b] = socket_pair();
    const auto [c, d] = socket_pair();
    std::thread waker{[&socket = a] { socket.shut_down(); }};
    SECTION("to receive there")
    {
        CHECK(receive(a).empty());
    }
    SECTION("to receive elsewhere, for there")
    {
        CHECK(
            c.wait_to_receive(&a, false, 10s) == Socket::Ready::other_hung_up);
    }
    waker.join();
}

TEST_CASE("bytes come before the hang-up of the other", "[socket]")
{
    const auto [a, b] = socket_pair();
    const auto [c, d] = socket_pair();
    send(b, "x");
    c.shut_down();
    CHECK(a.wait_to_receive(&c, false, 10s) == Socket::Ready::to_receive);
}

TEST_CASE("a FIN of the other is told from its hang-up", "[socket]")
{
    const auto [a, b] = socket_pair();
    const auto [c, d] = socket_pair();
    d.finish_sending();
    CHECK_FALSE(a.wait_to_receive(&c, false, 1ms));
    CHECK(a.wait_to_receive(&c, true, 10s) == Socket::Ready::other_finished);
    c.shut_down();
    CHECK(a.wait_to_receive(&c, true, 10s) == Socket::Ready::other_hung_up);
}

TEST_CASE("sending to nobody is an error, and no signal", "[socket][P48]")
{
    auto [a, b] = socket_pair();
    {
        const Socket closed = std::move(b);
    }
    CHECK_THROWS_AS(send(a, "x"), std::system_error);
}

TEST_CASE("a listening socket on port 0 says which it got", "[socket]")
{
    const NamedSocket listener = listen_on({"127.0.0.1", "0"});
    const Authority bound = parse_authority_form(listener.address);
    CHECK(bound.host == "127.0.0.1");
    const NamedSocket client = connect_to(bound, 10s);
    CHECK(client.address == listener.address);
    const NamedSocket server = accept_from(listener.socket);
    send(client.socket, "hello");
    CHECK(receive(server.socket) == "hello");
}

// The second family of addresses is tried when the first refuses (P50).
TEST_CASE("every address of a name is tried", "[socket][P50]")
{
    const NamedSocket listener = listen_on({"127.0.0.1", "0"});
    const std::string port = parse_authority_form(listener.address).port;
    CHECK(connect_to({"localhost", port}, 10s).address == "127.0.0.1:" + port);
}

TEST_CASE("why no address was reached is told for each", "[socket][P51]")
{
    std::string port;
    {
        port = parse_authority_form(listen_on({"127.0.0.1", "0"}).address).port;
    }
    try {
        connect_to({"127.0.0.1", port}, 10s);
        FAIL("connected to a closed port");
    } catch (const ConnectError& error) {
        CHECK(error.error == ECONNREFUSED);
        CHECK(error.what() == "127.0.0.1:" + port + ": Connection refused");
    }
    CHECK_THROWS_AS(connect_to({"no-such-host.invalid", "80"}, 10s), NameError);
}

TEST_CASE("loopback is told from the rest", "[socket]")
{
    CHECK(is_loopback({"127.0.0.1", "1"}));
    CHECK(is_loopback({"127.9.9.9", "1"}));
    CHECK(is_loopback({"::1", "1"}));
    CHECK(is_loopback({"localhost", "1"}));
    CHECK_FALSE(is_loopback({"0.0.0.0", "1"}));
    CHECK_FALSE(is_loopback({"::", "1"}));
    CHECK_FALSE(is_loopback({"192.0.2.1", "1"}));
}

// Connections over loopback, both ends of them in the test's hands.

#pragma once

#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/syscall.h>
#endif

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "harness.h"
#include "support/net/connection.h"
#include "support/net/dial.h"

/// While it lives no descriptor can be opened.
class NoDescriptors {
public:
    NoDescriptors()
    {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        const rlimit none{3, before_.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &none);
    }
    ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

/// What the kernel holds in bytes; 0 leaves it to the kernel.
struct KernelBuffers {
    int to_send = 0;  ///< of the proxy's end
    int to_receive = 0;  ///< of its peer's
};

inline void set_buffer(const Socket& socket, int option, int bytes)
{
    if (bytes > 0)
        ::setsockopt(
            socket.descriptor(), SOL_SOCKET, option, &bytes, sizeof bytes);
}

/// The first is the proxy's end, the second its peer's.
inline std::pair<Socket, Socket> tcp_pair(KernelBuffers buffers = {})
{
    const NamedSocket listener = listen_on("127.0.0.1", "0");
    Socket second = new_socket(AF_INET);
    set_buffer(second, SO_RCVBUF, buffers.to_receive);
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    auto* const to = reinterpret_cast<sockaddr*>(&address);
    ::getsockname(listener.socket.descriptor(), to, &length);
    if (::connect(second.descriptor(), to, length) != 0)
        throw system_error_of(errno, "connect");
    Socket first = accept_from(listener.socket).socket;
    set_buffer(first, SO_SNDBUF, buffers.to_send);
    return {std::move(first), std::move(second)};
}

/// A Connection of the proxy, and its peer.
struct Ends {
    explicit Ends(
        IdleClock& idle, Peer peer = Peer::client, KernelBuffers buffers = {})
        : Ends{idle, peer, tcp_pair(buffers)}
    {
    }
    Ends(IdleClock& idle, Peer peer, std::pair<Socket, Socket> sockets)
        : near{{std::move(sockets.first), "near"}, peer, idle},
          far{std::move(sockets.second)}
    {
    }
    Connection near;
    TestSocket far;
};

/// Sends for as long as the peer is there.
inline void send_for_ever(TestSocket& socket)
{
    const std::string bytes = some_bytes(100'000);
    try {
        for (;;)
            socket.send(bytes);
    } catch (const std::exception&) {
    }
}

inline Clock::duration time_of(const std::function<void()>& call)
{
    const auto start = Clock::now();
    call();
    return Clock::now() - start;
}

/// What is thrown; without a NetError the test fails.
inline std::optional<NetError> net_error_of(const std::function<void()>& call)
{
    try {
        call();
    } catch (const NetError& error) {
        return error;
    }
    return std::nullopt;
}

/// Runs a call in another thread, and can tell that it is blocked.
class Blocked {
public:
    explicit Blocked(std::function<void()> call)
        : thread_{[this, call = std::move(call)] {
              handle_ = ::pthread_self();
#ifdef __linux__
              id_ = static_cast<int>(::syscall(SYS_gettid));
#endif
              error_ = net_error_of(call);
              done_ = true;
          }}
    {
    }

    /// Sleeps in the kernel, twice in a row: it may have waited for a lock.
    bool is_asleep() const
    {
        const auto asleep = [&] { return done_ || state() == 'S'; };
        return becomes_true([&] {
            if (!asleep())
                return false;
            ::usleep(5000);
            return asleep();
        });
    }
    void signal(int number) const
    {
        ::pthread_kill(handle_, number);
    }
    bool is_done() const
    {
        return done_;
    }
    /// The NetError of the call, if it threw one.
    std::optional<NetError> join()
    {
        thread_.join();
        return error_;
    }

private:
    char state() const
    {
#ifdef __linux__
        std::ifstream file{"/proc/self/task/" + std::to_string(id_) + "/stat"};
        std::string line;
        std::getline(file, line);
        const std::size_t name_end = line.rfind(") ");
        return name_end == std::string::npos ? '?' : line[name_end + 2];
#else
        return 'S';  // if not, the test shows less
#endif
    }

    std::atomic<bool> done_{false};
    std::atomic<int> id_{0};
    std::atomic<pthread_t> handle_{};
    std::optional<NetError> error_;
    Background thread_;
};

inline std::ptrdiff_t count_descriptors()
{
    return std::distance(
        std::filesystem::directory_iterator{"/proc/self/fd"}, {});
}

// socket -- TCP sockets that close themselves, and the calls that make them.
//
// System calls on sockets stand here and nowhere else.  Failures are thrown as
// std::system_error; the end of the stream is no failure, and is the value 0.

#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "http_message.h"

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Milliseconds with one decimal: "3.1".
std::string in_ms(Clock::duration time);

/// Owns one socket.  Move-only: exactly one Socket closes each descriptor.
///
/// shutdown() may be called from any thread, and wakes a thread that is blocked
/// on the socket.  Closing may not: the kernel could give the same number to a
/// new connection while the other thread still uses it.  So only the destructor
/// closes, and whoever destroys a Socket has first joined its other users.
class Socket {
public:
    /// Takes over the descriptor.  Throws once the program is stopping.
    explicit Socket(int descriptor);
    Socket(Socket&& other) noexcept
        : descriptor_{std::exchange(other.descriptor_, -1)}
    {
    }
    Socket& operator=(Socket&& other) noexcept
    {
        std::swap(descriptor_, other.descriptor_);
        return *this;
    }
    ~Socket();

    // Each waits at most `patience`, and gives nothing if that was not enough.

    /// The number of bytes received; 0 at the end of the stream.
    std::optional<std::size_t> receive(
        std::span<char> buffer, milliseconds patience) const;

    /// The number of bytes sent from the front of the pieces together, which
    /// are four at most.  With `more_follows` they may wait for the next ones,
    /// to share a packet.  Never raises SIGPIPE.
    std::optional<std::size_t> send_some(
        std::span<const std::string_view> pieces, milliseconds patience,
        bool more_follows = false) const;

    enum class Direction { receive, send };

    /// Moves at most `n` bytes between this socket and one end of a pipe, and
    /// gives the number; 0 at the end of the stream.  Linux only.
    std::optional<std::size_t> splice(Direction direction, int pipe_end,
        std::size_t n, milliseconds patience) const;

    enum class Ready { to_receive, other_finished, other_hung_up };

    /// Waits until there is something to receive, an end included; or until
    /// `other`, if there is one, is reset or shut down in both directions. With
    /// `notice_fin` (Linux only), also until its peer has finished sending.
    std::optional<Ready> wait_to_receive(
        const Socket* other, bool notice_fin, milliseconds patience) const;

    void finish_sending() const noexcept;  ///< the peer reads end of stream
    void shut_down() const noexcept;  ///< both directions; wakes all threads
    void reset_on_close() const noexcept;  ///< the close will be an RST
    void send_small_packets_at_once() const noexcept;  ///< TCP_NODELAY

    int descriptor() const noexcept { return descriptor_; }

private:
    int descriptor_;  // -1 once moved from
};

/// A socket, and the address of its peer or its own: "127.0.0.1:80",
/// "[::1]:80".
struct NamedSocket {
    Socket socket;
    std::string address;
};

/// The address of the result is the one really bound: port 0 picks a free one.
/// Throws runtime_error naming the address and the reason.
NamedSocket listen_on(const Authority& address);
NamedSocket accept_from(const Socket& listener);

/// True for 127.0.0.0/8, ::1 and names that resolve to nothing else.
bool is_loopback(const Authority& address);

/// No address of the host could be reached; what() has the result of each try.
struct ConnectError : std::runtime_error {
    ConnectError(const std::string& results, int last_error)
        : std::runtime_error{results}, error{last_error}
    {
    }
    int error;  ///< errno of the last try; ETIMEDOUT if the time ran out
};

/// How long it took, or took to fail; what was not tried has no value.
struct ConnectTimes {
    std::optional<Clock::duration> resolving;
    std::optional<Clock::duration> connecting;
};

/// Gets to hear, in words, what is being tried and what came of it.
using ProgressListener = std::function<void(const std::string&)>;

/// Resolves the name, and tries every address, staggered (RFC 8305 §5), until
/// `patience` has passed.  Throws NameError or ConnectError.
NamedSocket connect_to(const Authority& origin, milliseconds patience,
    ConnectTimes* times = nullptr, const ProgressListener& progress = nullptr);

/// Shuts down every socket of this program and lets it make no new ones.
void shut_down_all_sockets();
bool is_stopping() noexcept;  ///< whether that has happened

/// Both ends of a connection inside this program (for tests).
std::pair<Socket, Socket> socket_pair();

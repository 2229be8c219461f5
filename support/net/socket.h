// socket -- TCP sockets that close themselves, and the calls that make them.
//
// All sockets block.  SO_RCVTIMEO and SO_SNDTIMEO wake a blocked thread from
// time to time, so that it can look at the clock: see idle_clock.h.

#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

enum class Peer { client, server };

/// A connection was reset, or fell silent.
struct NetError : std::runtime_error {
    /// what(): "reading from the server: Connection reset by peer".
    NetError(const std::string& doing, Peer whose, int error);
    NetError(Peer peer, const std::string& text)
        : std::runtime_error{text}, whose{peer}, error{0}
    {
    }
    Peer whose;
    int error;  ///< errno; ETIMEDOUT after silence
};

/// Owns one descriptor.  Move-only: exactly one Socket closes it.
///
/// shutdown(2) may be called from any thread and wakes a thread that is blocked
/// on the socket.  close(2) does not wake it, and the kernel could give the
/// number to a new connection while the other thread still uses it.  So only
/// the destructor closes, after the other users have been joined.
class Socket {
public:
    explicit Socket(int descriptor) noexcept : descriptor_{descriptor} { }
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

    int descriptor() const noexcept { return descriptor_; }

    void shutdown_write() const noexcept;  ///< sends a FIN
    /// Wakes all threads blocked on it; ends accept(2) on a listener.
    void shutdown_both() const noexcept;

    /// Whether a close, by the end of the process too, is an RST (SO_LINGER 0).
    void reset_on_close(bool reset) const noexcept;

    /// How long one blocking call may wait before it fails with EAGAIN;
    /// connect(2) then goes on, and fails with EINPROGRESS.
    void set_timeouts(milliseconds limit) const noexcept;

private:
    int descriptor_;  // -1 after a move
};

/// A socket and the address of its peer, of a listener its own:
/// "127.0.0.1:80", "[::1]:80".
struct NamedSocket {
    Socket socket;
    std::string address;
};

/// Port 0 picks a free one.  Throws runtime_error naming address and reason.
NamedSocket listen_on(const std::string& host, const std::string& port);

/// Waits for a client.  Throws system_error, also when `listener` is shut down.
NamedSocket accept_from(const Socket& listener);

/// poll(2), called again after a signal, for as long.  False if `timeout`
/// passed.
bool poll_for(std::span<pollfd> descriptors, milliseconds timeout);

std::system_error system_error_of(int error, const std::string& call);
std::string to_string(const sockaddr* address, socklen_t length);
Socket new_socket(int family);

/// Small writes leave at once (TCP_NODELAY), and urgent bytes are read in the
/// order in which they were sent (SO_OOBINLINE, RFC 6093 §5).
void set_tcp_options(const Socket& socket) noexcept;

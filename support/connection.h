// connection -- a socket together with the bytes read from it too early, and
// the limit on how long it may be silent.
//
// Reading a head stops at its empty line, but recv() does not: whatever arrived
// behind it (a body, a TLS ClientHello, the next request) waits in unread_ and
// is the first thing that is read from then on.  So it cannot be forgotten.

#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "pipe.h"
#include "socket.h"

/// How long a client and its server may both be silent: bytes on either side,
/// in either direction, start the time anew.  Threads may share one.
class IdleTimer {
public:
    /// Once one direction has ended, the other may not be silent for longer.
    static constexpr milliseconds half_closed_limit{60'000};

    explicit IdleTimer(milliseconds limit) noexcept;

    void bytes_moved() noexcept;
    void one_direction_ended() noexcept;
    void exchange_begins() noexcept;  ///< both directions count as open again

    bool is_half_closed() const noexcept { return half_closed_; }
    bool has_expired() const noexcept;
    /// How long to wait before has_expired() is worth asking again.
    milliseconds patience() const noexcept;

private:
    milliseconds limit() const noexcept;

    milliseconds open_limit_;
    std::atomic<bool> half_closed_{false};
    std::atomic<Clock::time_point> last_;
};

enum class Peer { client, server };

/// A connection broke or fell silent: "reading from the server: Connection
/// reset by peer".
struct PeerError : std::runtime_error {
    PeerError(const std::string& doing, Peer whose, int code);
    Peer peer;
    int error;  ///< errno; ETIMEDOUT for silence
};

/// One thread may read while another writes.  Errors are PeerErrors.
class Connection {
public:
    /// A century: milliseconds::max() overflows when compared with nanoseconds.
    static constexpr milliseconds forever = std::chrono::hours{24 * 365 * 100};

    /// The timer must outlive the Connection.
    Connection(NamedSocket socket, Peer peer, IdleTimer& idle);

    /// Waits until there is something to read, an end included; false if that
    /// took longer than `at_most`.  Fails at once if `towards`, where those
    /// bytes should go, has hung up; it may be null.
    bool wait_to_read(
        const Connection* towards, milliseconds at_most = forever) const;

    /// What is here already, 0 at the end of the stream; nothing if there is
    /// nothing yet.
    std::optional<std::size_t> read_now(std::span<char> buffer);

    /// Waits, then reads: see both of the above.
    std::size_t read_some(std::span<char> buffer, const Connection& towards);

    /// For as long as bytes come at once, moves at most `limit` of them to the
    /// other connection through a pipe: 0 at the end of the stream, nothing if
    /// there is nothing yet.
    std::optional<std::size_t> splice_now(
        Pipe& pipe, Connection& to, std::uint64_t limit);

    /// Puts bytes back, to be read first.
    void unread(std::string_view bytes);

    /// Whether bytes are here already, and how many.
    std::size_t unread_size() const noexcept { return unread_.size(); }

    /// The next request head; nothing if the client is done.  Waits for the
    /// first byte as long as the idle limit allows (`head_timeout` if there was
    /// no request before), then `head_timeout` for all of it.  Throws Failure
    /// when that is over, MessageError for a head cut short or over a limit.
    std::optional<std::string> read_request_head(milliseconds head_timeout);

    /// The next response head, nothing if the server closed instead; fails at
    /// once when `towards` has hung up.  Throws MessageError.
    std::optional<std::string> read_response_head(const Connection& towards);

    /// Sends all pieces, four at most, together.
    void write_all(std::initializer_list<std::string_view> pieces)
    {
        write_pieces(pieces, false);
    }

    /// Sends a head; in one packet with the beginning of its body, if that is
    /// already here, where `body` comes from.
    void write_head(
        std::string_view head, const Connection& from, BodyFraming body);

    /// Sends the end of our stream, then reads and drops what still arrives,
    /// for a bounded time: closing over unread bytes would be an RST, which
    /// can destroy the response before it is read (RFC 9112 §9.6).
    void close_gently() noexcept;

    const Socket& socket() const noexcept { return socket_.socket; }
    const std::string& address() const noexcept { return socket_.address; }
    Peer peer() const noexcept { return peer_; }
    IdleTimer& idle() const noexcept { return idle_; }

    std::uint64_t bytes_read() const noexcept { return bytes_read_; }
    std::uint64_t bytes_written() const noexcept { return bytes_written_; }

private:
    template <typename Receive>
    std::optional<std::string> read_head(Receive receive);
    std::optional<std::size_t> receive(
        std::span<char> buffer, milliseconds patience);
    std::optional<std::size_t> receive_unless_idle(std::span<char> buffer);
    void fail_if_idle(const char* doing) const;
    void write_pieces(
        std::initializer_list<std::string_view> pieces, bool more_follows);
    template <typename Call> auto naming_peer(const char* doing, Call call);

    NamedSocket socket_;
    Peer peer_;
    IdleTimer& idle_;

    // For the thread that reads:
    std::string unread_;
    bool ended_ = false;  // the end of the stream was read
    std::uint64_t bytes_read_ = 0;

    // For the thread that writes:
    std::uint64_t bytes_written_ = 0;
};

// connection -- a socket with a buffer for reading and the limit on silence.
//
// recv(2) does not stop at the end of a head: what arrived after it (a body, a
// TLS ClientHello, the next request) stays in the buffer, and every later read
// takes it from there first.

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "idle_clock.h"
#include "socket.h"

/// Called before each recv(2) of a read, to wait where blocking in it would not
/// do.  False: a slice has passed in silence, and the read should ask again.
using Wait = std::function<bool()>;

/// One thread may read while another writes.  All failures are NetErrors.
class Connection {
public:
    /// `idle` must outlive the Connection.
    Connection(NamedSocket socket, Peer peer, IdleClock& idle);

    // --- Reading ------------------------------------------------------------

    // Three sizes: inside the object for idle tunnels and most request heads,
    // for a response with the beginning of its body, for bulk. malloc() maps
    // the large one, so that freeing it gives its pages back.
    static constexpr std::size_t small_size = 512;
    static constexpr std::size_t head_size = 8 * 1024;
    static constexpr std::size_t large_size = 65 * 1024;

    /// Reads up to `limit` bytes; waits until one has arrived.  Empty at the
    /// end of the stream.  Valid until the next read.
    std::string_view read_some(std::uint64_t limit, const Wait& wait = nullptr);

    /// Up to and including the next LF.  Without an LF when `limit` bytes came
    /// first, or the end of the stream did.  `limit` is at most large_size.
    /// Valid until the next read.
    std::string_view read_line(std::size_t limit, const Wait& wait = nullptr);

    /// What is in the buffer, not yet read.
    std::string_view buffered() const noexcept
    {
        return {data() + begin_, end_ - begin_};
    }

    /// Returns an empty buffer's memory to the system; the next one is small.
    void give_back_buffer() noexcept;

    /// Whether bytes can be read without waiting, from buffer or kernel; a CRLF
    /// does not count.
    bool has_bytes_waiting() const;

    /// Fills a pipe with at most `limit` bytes; 0 at the end of the stream,
    /// nothing if a slice passed in silence.  The buffer must be empty.
    std::optional<std::size_t> splice_into(
        const Socket& pipe, std::size_t limit, const Wait& wait);

    // --- Waiting ------------------------------------------------------------

    enum class Ready { to_read, other_finished, nothing };

    /// Waits until the socket has something to read, an end included, whatever
    /// the buffer holds.  Fails if `other` was reset or shut down.  With
    /// `notice_fin`, waits also for the FIN of the peer of `other`.
    Ready wait_to_read(
        const Connection* other, bool notice_fin, milliseconds timeout) const;

    /// The Wait of a body, which stops when the receiver does.
    bool wait_unless_gone(const Connection& receiver) const;

    /// Throws NetError ETIMEDOUT when the idle limit has passed.
    void fail_if_idle(const char* doing = "reading from") const;

    // --- Writing ------------------------------------------------------------

    /// With `more_follows`, the kernel may wait for the next write to fill a
    /// packet.
    void write_all(std::string_view bytes, bool more_follows = false);

    /// Sends that many bytes from a pipe.
    void splice_from(const Socket& pipe, std::size_t size);

    /// Sends a FIN, then reads and drops what still arrives, for 5 s or the
    /// idle limit: a close over unread bytes is an RST, which can destroy the
    /// response before the client has read it (RFC 9112 §9.6).
    void lingering_close() noexcept;

    /// At the end of the stream: whether the peer has sent a FIN.  After a
    /// reset the kernel tells the error once, perhaps to a thread that writes,
    /// and the one that reads finds just an end.
    bool ended_with_fin() const noexcept;

    const Socket& socket() const noexcept { return socket_.socket; }
    const std::string& address() const noexcept { return socket_.address; }
    Peer peer() const noexcept { return peer_; }
    IdleClock& idle() const noexcept { return idle_; }

    std::uint64_t bytes_read() const noexcept { return bytes_read_; }
    std::uint64_t bytes_written() const noexcept { return bytes_written_; }

private:
    char* data() noexcept { return heap_ ? heap_.get() : small_.data(); }
    const char* data() const noexcept
    {
        return heap_ ? heap_.get() : small_.data();
    }
    bool fill(std::size_t least_capacity, std::size_t most, const Wait& wait);
    std::string_view take(std::size_t size);
    template <typename Receive>
    std::optional<std::size_t> receive(Receive call);
    void make_room(std::size_t least_capacity, std::size_t most);
    template <typename Send> std::size_t send_when_possible(Send send);

    NamedSocket socket_;
    Peer peer_;
    IdleClock& idle_;

    // For the thread that reads:
    std::array<char, small_size> small_;
    std::unique_ptr<char[]> heap_;
    std::size_t capacity_ = small_size;
    std::size_t begin_ = 0;  // of the bytes not yet read
    std::size_t end_ = 0;
    bool ended_ = false;  // the end of the stream was read
    std::uint64_t bytes_read_ = 0;

    // For the thread that writes:
    std::uint64_t bytes_written_ = 0;
};

#include "connection.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "dial.h"

namespace {

using namespace std::chrono_literals;

// Bytes that the kernel holds because the peer has not acknowledged them.  They
// get fewer while even a slow reader reads.
int unacknowledged(const Socket& socket)
{
    int bytes = 0;
    ::ioctl(socket.descriptor(), SIOCOUTQ, &bytes);
    return bytes;
}

}  // namespace

Connection::Connection(NamedSocket socket, Peer peer, IdleClock& idle)
    : socket_{std::move(socket)}, peer_{peer}, idle_{idle}
{
    socket_.socket.set_timeouts(idle_.slice());
    idle_.bytes_moved();
}

void Connection::fail_if_idle(const char* doing) const
{
    if (idle_.has_expired())
        throw NetError{doing, peer_, ETIMEDOUT};
}

// --- Waiting ----------------------------------------------------------------

Connection::Ready Connection::wait_to_read(
    const Connection* other, bool notice_fin, milliseconds timeout) const
{
    const auto fin = static_cast<short>(notice_fin ? POLLRDHUP : 0);
    std::array<pollfd, 2> waiting{{{socket().descriptor(), POLLIN, 0},
        {other == nullptr ? -1 : other->socket().descriptor(), fin, 0}}};
    if (!poll_for(waiting, timeout))
        return Ready::nothing;
    if (waiting[0].revents != 0)
        return Ready::to_read;
    if ((waiting[1].revents & ~POLLRDHUP) != 0)
        throw NetError{"writing to", other->peer_, ECONNRESET};
    return Ready::other_finished;
}

bool Connection::wait_unless_gone(const Connection& receiver) const
{
    if (wait_to_read(&receiver, false, idle_.slice()) == Ready::to_read)
        return true;
    fail_if_idle();
    return false;
}

bool Connection::has_bytes_waiting() const
{
    std::array<char, 3> start{};
    const std::size_t size = buffered().copy(start.data(), start.size());
    const ssize_t peeked = ::recv(socket().descriptor(), start.data() + size,
        start.size() - size, MSG_PEEK | MSG_DONTWAIT);
    const std::string_view waiting{start.data(),
        size + static_cast<std::size_t>(std::max<ssize_t>(peeked, 0))};
    return !waiting.empty() && waiting != "\r\n";
}

// --- Reading ----------------------------------------------------------------

// Nothing if a slice has passed in silence.
template <typename Receive>
std::optional<std::size_t> Connection::receive(Receive call)
{
    const ssize_t n = call();
    if (n >= 0) {
        idle_.bytes_moved();
        ended_ = n == 0;
        return static_cast<std::size_t>(n);
    }
    if (errno != EAGAIN && errno != EINTR)
        throw NetError{"reading from", peer_, errno};
    fail_if_idle();
    return std::nullopt;
}

// A read that filled the buffer is followed by one into the next larger; the
// largest has room for the longest line that is read.  Beyond `most` it grows
// only for a line that does not fit.
void Connection::make_room(std::size_t least_capacity, std::size_t most)
{
    const std::size_t size = end_ - begin_;
    const std::size_t wanted = end_ < capacity_ ? least_capacity
        : capacity_ < head_size                 ? head_size
                                                : large_size;
    if (wanted > capacity_ && (wanted <= most || size == capacity_)) {
        auto larger = std::make_unique_for_overwrite<char[]>(wanted);
        std::copy_n(data() + begin_, size, larger.get());
        heap_ = std::move(larger);
        capacity_ = wanted;
    } else if (begin_ > 0) {
        std::memmove(data(), data() + begin_, size);
    }
    begin_ = 0;
    end_ = size;
}

void Connection::give_back_buffer() noexcept
{
    if (begin_ < end_)
        return;
    heap_.reset();
    capacity_ = small_size;
    begin_ = end_ = 0;
}

// Adds to the buffer; false at the end of the stream.  Gives unused memory back
// only after a slice of silence: the kernel interrupts the other processors
// when it takes stack pages, which costs a tenth of a short tunnel's time.
bool Connection::fill(
    std::size_t least_capacity, std::size_t most, const Wait& wait)
{
    for (;; give_back_buffer(), give_back_unused_stack()) {
        if (wait && !wait())
            continue;
        make_room(least_capacity, most);
        const auto n = receive([&] {
            return ::recv(
                socket().descriptor(), data() + end_, capacity_ - end_, 0);
        });
        end_ += n.value_or(0);
        if (n)
            return *n > 0;
    }
}

std::string_view Connection::take(std::size_t size)
{
    const std::string_view bytes = buffered().substr(0, size);
    begin_ += bytes.size();
    bytes_read_ += bytes.size();
    return bytes;
}

std::string_view Connection::read_some(std::uint64_t limit, const Wait& wait)
{
    if (begin_ == end_ && !fill(small_size, large_size, wait))
        return {};
    return take(static_cast<std::size_t>(
        std::min<std::uint64_t>(limit, end_ - begin_)));
}

std::string_view Connection::read_line(std::size_t limit, const Wait& wait)
{
    const std::size_t capacity = peer_ == Peer::server ? head_size : small_size;
    for (std::size_t searched = 0;;) {
        const std::size_t feed = buffered().find('\n', searched);
        if (feed < limit)
            return take(feed + 1);
        searched = end_ - begin_;
        if (searched >= limit || !fill(capacity, head_size, wait))
            return take(std::min(searched, limit));
    }
}

std::optional<std::size_t> Connection::splice_into(
    const Socket& pipe, std::size_t limit, const Wait& wait)
{
    if (wait && !wait())
        return std::nullopt;
    const auto n = receive([&] {
        return ::splice(socket().descriptor(), nullptr, pipe.descriptor(),
            nullptr, limit, SPLICE_F_MOVE);
    });
    bytes_read_ += n.value_or(0);
    return n;
}

// The kernel counts a FIN, which has a sequence number, as a byte received.
bool Connection::ended_with_fin() const noexcept
{
    tcp_info info{};
    socklen_t length = sizeof info;
    ::getsockopt(socket().descriptor(), IPPROTO_TCP, TCP_INFO, &info, &length);
    return info.tcpi_bytes_received > bytes_read_;
}

// --- Writing ----------------------------------------------------------------

// A blocking call that sends some bytes; called again until it has sent one.
// What the peer has acknowledged during the call is progress too: the kernel
// lets a full socket be written to only when a third of its buffer is free,
// which a slow reader may take longer for than the idle limit.
template <typename Send> std::size_t Connection::send_when_possible(Send send)
{
    for (int held = 0;;) {
        const ssize_t n = send();
        if (n > 0) {
            idle_.bytes_moved();
            bytes_written_ += static_cast<std::uint64_t>(n);
            return static_cast<std::size_t>(n);
        }
        if (errno != EAGAIN && errno != EINTR)
            throw NetError{"writing to", peer_, errno};
        const int holds = unacknowledged(socket());
        if (holds < held)
            idle_.bytes_moved();
        held = holds;
        fail_if_idle("writing to");
    }
}

void Connection::write_all(std::string_view bytes, bool more_follows)
{
    const int flags = MSG_NOSIGNAL | (more_follows ? MSG_MORE : 0);
    while (!bytes.empty())
        bytes.remove_prefix(send_when_possible([&] {
            return ::send(
                socket().descriptor(), bytes.data(), bytes.size(), flags);
        }));
}

// One splice() into a slow socket can outlast several time-outs before it
// reports what it has moved, so it gets no more than the clock can miss.
void Connection::splice_from(const Socket& pipe, std::size_t size)
{
    constexpr std::size_t at_once = 256 * 1024;
    while (size > 0)
        size -= send_when_possible([&] {
            return ::splice(pipe.descriptor(), nullptr, socket().descriptor(),
                nullptr, std::min(size, at_once), SPLICE_F_MOVE);
        });
}

// 5 s are enough for a client that sends a large body before it looks at the
// answer, and of no use to an attacker.
void Connection::lingering_close() noexcept
try {
    const milliseconds limit = std::min<milliseconds>(5s, idle_.limit());
    constexpr milliseconds longest_silence = 2s;
    if (ended_)
        return;  // nothing more can arrive
    socket().shutdown_write();
    begin_ = end_ = 0;
    std::array<char, 4096> dropped;
    const auto deadline = Clock::now() + limit;
    constexpr int reads_in_any_case = 16;  // of what is here
    for (int i = 0; i < reads_in_any_case || Clock::now() < deadline; ++i)
        if (wait_to_read(nullptr, false, std::min(limit, longest_silence))
                != Ready::to_read
            || ::recv(socket().descriptor(), dropped.data(), dropped.size(), 0)
                <= 0)
            return;
} catch (const std::exception&) {
    // poll() failed: close without waiting.
}

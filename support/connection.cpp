#include "connection.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

#include "failure.h"

// --- IdleTimer --------------------------------------------------------------

IdleTimer::IdleTimer(milliseconds limit) noexcept
    : open_limit_{limit}, last_{Clock::now()}
{
}

void IdleTimer::bytes_moved() noexcept
{
    last_.store(Clock::now(), std::memory_order_relaxed);
}

void IdleTimer::one_direction_ended() noexcept
{
    half_closed_ = true;
    bytes_moved();
}

void IdleTimer::exchange_begins() noexcept
{
    half_closed_ = false;
    bytes_moved();
}

milliseconds IdleTimer::limit() const noexcept
{
    return half_closed_ ? std::min(open_limit_, half_closed_limit)
                        : open_limit_;
}

bool IdleTimer::has_expired() const noexcept
{
    return Clock::now() - last_.load() >= limit();
}

// Never longer than the limit for a half-closed tunnel: a thread that is
// already waiting when the other direction ends has to notice it in time.
milliseconds IdleTimer::patience() const noexcept
{
    const auto left = limit() - (Clock::now() - last_.load());
    return std::clamp(std::chrono::ceil<milliseconds>(left), milliseconds{0},
        half_closed_limit);
}

// --- Connection -------------------------------------------------------------

namespace {

using namespace std::chrono_literals;

constexpr std::size_t head_buffer_size = 8 * 1024;

// What close_gently() waits for: enough for a client that sends a large body
// before it looks at the answer, not enough to be of use to an attacker.
constexpr milliseconds drain_limit = 5s;
constexpr milliseconds drain_silence_limit = 2s;

}  // namespace

PeerError::PeerError(const std::string& doing, Peer whose, int code)
    : std::runtime_error{doing
        + (whose == Peer::client ? " the client: " : " the server: ")
        + std::generic_category().message(code)},
      peer{whose}, error{code}
{
}

Connection::Connection(NamedSocket socket, Peer peer, IdleTimer& idle)
    : socket_{std::move(socket)}, peer_{peer}, idle_{idle}
{
    idle_.bytes_moved();
}

// Socket knows what failed, this class knows with whom.
template <typename Call>
auto Connection::naming_peer(const char* doing, Call call)
try {
    return call();
} catch (const std::system_error& error) {
    throw PeerError{doing, peer_, error.code().value()};
}

std::optional<std::size_t> Connection::receive(
    std::span<char> buffer, milliseconds patience)
{
    const auto n = naming_peer("reading from",
        [&] { return socket().receive(buffer, std::max(patience, 0ms)); });
    if (n)
        idle_.bytes_moved();
    ended_ = ended_ || n == 0;
    return n;
}

std::optional<std::size_t> Connection::receive_unless_idle(
    std::span<char> buffer)
{
    do {
        if (const auto n = receive(buffer, idle_.patience()))
            return n;
    } while (!idle_.has_expired());
    return std::nullopt;
}

std::optional<std::size_t> Connection::read_now(std::span<char> buffer)
{
    if (unread_.empty()) {
        const auto n = receive(buffer, 0ms);
        bytes_read_ += n.value_or(0);
        return n;
    }
    const std::size_t n = std::min(unread_.size(), buffer.size());
    std::copy_n(unread_.begin(), n, buffer.begin());
    unread_.erase(0, n);
    bytes_read_ += n;
    return n;
}

std::size_t Connection::read_some(
    std::span<char> buffer, const Connection& towards)
{
    for (;;) {
        wait_to_read(&towards);
        if (const auto n = read_now(buffer))
            return *n;
    }
}

std::optional<std::size_t> Connection::splice_now(
    Pipe& pipe, Connection& to, std::uint64_t limit)
{
    const auto filled = naming_peer("reading from", [&] {
        return pipe.fill(socket(),
            static_cast<std::size_t>(std::min<std::uint64_t>(limit, SIZE_MAX)));
    });
    if (!filled)
        return std::nullopt;
    ended_ = *filled == 0;
    bytes_read_ += *filled;
    for (std::size_t left = *filled; left > 0;) {
        idle_.bytes_moved();
        const auto drained = to.naming_peer("writing to",
            [&] { return pipe.drain(to.socket(), left, idle_.patience()); });
        if (!drained)
            to.fail_if_idle("writing to");
        left -= drained.value_or(0);
        to.bytes_written_ += drained.value_or(0);
    }
    return filled;
}

void Connection::fail_if_idle(const char* doing) const
{
    if (idle_.has_expired())
        throw PeerError{doing, peer_, ETIMEDOUT};
}

bool Connection::wait_to_read(
    const Connection* towards, milliseconds at_most) const
{
    const auto start = Clock::now();
    while (unread_.empty()) {
        const auto ready = socket().wait_to_receive(
            towards == nullptr ? nullptr : &towards->socket(),
            !idle_.is_half_closed(), std::min(at_most, idle_.patience()));
        if (ready == Socket::Ready::to_receive)
            return true;
        if (ready == Socket::Ready::other_finished)
            idle_.one_direction_ended();
        fail_if_idle("reading from");
        if (ready == Socket::Ready::other_hung_up)
            throw PeerError{"writing to", towards->peer_, ECONNRESET};
        if (Clock::now() - start >= at_most)
            return false;
    }
    return true;
}

void Connection::unread(std::string_view bytes)
{
    unread_.insert(0, bytes);
    bytes_read_ -= bytes.size();
}

// `receive` fills a buffer and gives the number of bytes, 0 at the end.
template <typename Receive>
std::optional<std::string> Connection::read_head(Receive receive)
{
    HeadScanner scanner;
    std::array<char, head_buffer_size> buffer;
    for (;;) {
        if (const auto length = scanner.find_end(unread_)) {
            std::string head = unread_.substr(0, *length);
            unread_.erase(0, *length);
            bytes_read_ += *length;
            return head;
        }
        const std::size_t n = receive(buffer);
        if (n == 0 && unread_.empty())
            return std::nullopt;
        if (n == 0)
            throw MessageError{Problem::cut_short,
                "the connection ended in the middle of a message head"};
        unread_.append(buffer.data(), n);
    }
}

std::optional<std::string> Connection::read_request_head(
    milliseconds head_timeout)
{
    idle_.exchange_begins();
    if (bytes_read_ > 0 && unread_.empty()) {
        std::array<char, head_buffer_size> buffer;
        const auto n = receive_unless_idle(buffer);
        if (!n || *n == 0)
            return std::nullopt;
        unread_.assign(buffer.data(), *n);
    }
    const auto deadline = Clock::now() + head_timeout;
    return read_head([&](std::span<char> buffer) {
        const auto left
            = std::chrono::ceil<milliseconds>(deadline - Clock::now());
        const auto n = receive(buffer, left);
        if (!n && unread_.empty())
            throw PeerError{"waiting for a request from", peer_, ETIMEDOUT};
        if (!n)
            throw Failure{Cause::head_timeout,
                "the head was not complete within "
                    + std::to_string(head_timeout / 1s) + " s"};
        return *n;
    });
}

std::optional<std::string> Connection::read_response_head(
    const Connection& towards)
{
    return read_head([&](std::span<char> buffer) {
        for (;;) {
            wait_to_read(&towards);
            if (const auto n = receive(buffer, 0ms))
                return *n;
        }
    });
}

// A body in chunks is left out: what is here may not hold any of its data yet,
// and then the head would wait.
void Connection::write_head(
    std::string_view head, const Connection& from, BodyFraming body)
{
    const bool body_is_here = from.unread_size() > 0
        && (body.kind == BodyFraming::Kind::until_close
            || (body.kind == BodyFraming::Kind::length && body.length > 0));
    write_pieces({head}, body_is_here);
}

void Connection::write_pieces(
    std::initializer_list<std::string_view> pieces, bool more_follows)
{
    std::array<std::string_view, 4> left{};
    std::copy(pieces.begin(), pieces.end(), left.begin());
    for (std::size_t next = 0; next < pieces.size();) {
        if (left[next].empty()) {
            ++next;
            continue;
        }
        auto sent = naming_peer("writing to", [&] {
            return socket().send_some(
                std::span{left}.subspan(next), idle_.patience(), more_follows);
        });
        if (!sent) {
            fail_if_idle("writing to");
            continue;
        }
        idle_.bytes_moved();
        bytes_written_ += *sent;
        for (std::size_t i = next; *sent > 0; ++i) {
            const std::size_t n = std::min(*sent, left[i].size());
            left[i].remove_prefix(n);
            *sent -= n;
        }
    }
}

void Connection::close_gently() noexcept
try {
    if (ended_)
        return;  // nothing more can arrive
    socket().finish_sending();
    std::array<char, head_buffer_size> buffer;
    const auto deadline = Clock::now() + drain_limit;
    while (Clock::now() < deadline) {
        const auto n = socket().receive(buffer, drain_silence_limit);
        if (!n || *n == 0)
            return;
    }
} catch (const std::system_error&) {
    // The client has reset the connection, so it needs no gentle close.
}

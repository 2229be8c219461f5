#include "socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <memory>
#include <mutex>
#include <system_error>
#include <vector>

#include "resolver.h"

#ifndef MSG_NOSIGNAL  // macOS; main() ignores SIGPIPE as well
#define MSG_NOSIGNAL 0
#endif
#ifndef MSG_MORE
#define MSG_MORE 0
#endif
#ifndef POLLRDHUP
#define POLLRDHUP 0
#endif

namespace {

using namespace std::chrono_literals;

std::system_error failure(int error, const std::string& call)
{
    return std::system_error{error, std::generic_category(), call};
}

// Calls again when a signal interrupted the call; -1 becomes an exception.
template <typename Call> auto check(const char* name, Call call)
{
    for (;;) {
        const auto result = call();
        if (result >= 0)
            return result;
        if (errno != EINTR)
            throw failure(errno, name);
    }
}

// All open sockets, so that a stop can wake whoever waits on one.
class OpenSockets {
public:
    void add(int descriptor)
    {
        const std::lock_guard lock{mutex_};
        if (stopping_)
            throw failure(ECANCELED, "the proxy is stopping");
        const auto index = static_cast<std::size_t>(descriptor);
        if (index >= is_open_.size())
            is_open_.resize(index + 1);
        is_open_[index] = true;
    }

    // To be called before the close, which lets the number be given out again.
    void remove(int descriptor)
    {
        const std::lock_guard lock{mutex_};
        is_open_[static_cast<std::size_t>(descriptor)] = false;
    }

    void shut_down_all()
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
        for (std::size_t i = 0; i < is_open_.size(); ++i)
            if (is_open_[i])
                ::shutdown(static_cast<int>(i), SHUT_RDWR);
    }

    bool stopping() const noexcept { return stopping_; }

private:
    std::mutex mutex_;
    std::vector<bool> is_open_;  // by descriptor
    std::atomic<bool> stopping_{false};
};

// Never destroyed: threads may outlive main().
OpenSockets& open_sockets()
{
    static OpenSockets* const sockets = new OpenSockets;
    return *sockets;
}

// --- Waiting ----------------------------------------------------------------

int to_poll_timeout(milliseconds patience)
{
    return static_cast<int>(
        std::clamp<milliseconds::rep>(patience.count(), 0, INT_MAX));
}

// poll() until something happens or the patience ends; true if it happened.
// The time is counted from the start, however many signals interrupt.
bool wait_for(std::span<pollfd> descriptors, milliseconds patience)
{
    const auto deadline = Clock::now() + patience;
    for (;;) {
        const int ready = ::poll(descriptors.data(),
            static_cast<nfds_t>(descriptors.size()), to_poll_timeout(patience));
        if (ready >= 0)
            return ready > 0;
        if (errno != EINTR)
            throw failure(errno, "poll");
        patience = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    }
}

// Runs a call that does not block; waits for `events` while it would block.
template <typename Call>
std::optional<std::size_t> call_when_ready(const char* name, int descriptor,
    short events, milliseconds patience, Call call)
{
    for (;;) {
        const ssize_t result = call();
        if (result >= 0)
            return static_cast<std::size_t>(result);
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            throw failure(errno, name);
        if (patience <= 0ms)
            return std::nullopt;
        pollfd waiting{descriptor, events, 0};
        if (!wait_for({&waiting, 1}, patience))
            return std::nullopt;
    }
}

// --- Addresses --------------------------------------------------------------

std::string to_text(const sockaddr* address, socklen_t length)
{
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    if (getnameinfo(address, length, host.data(), host.size(), port.data(),
            port.size(), NI_NUMERICHOST | NI_NUMERICSERV)
        != 0)
        return "?";
    return to_string(Authority{host.data(), port.data()});
}

std::string local_address(const Socket& socket)
{
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    auto* const address = reinterpret_cast<sockaddr*>(&storage);
    check("getsockname",
        [&] { return ::getsockname(socket.descriptor(), address, &length); });
    return to_text(address, length);
}

void set_option(const Socket& socket, int level, int option, int value) noexcept
{
    ::setsockopt(socket.descriptor(), level, option, &value, sizeof value);
}

// Nothing here blocks but poll(): a socket that did could hold its thread for
// longer than the idle limit.
#ifdef SOCK_NONBLOCK
Socket new_socket(int family)
{
    return Socket{check("socket", [&] {
        return ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    })};
}

int accept_on(int listener, sockaddr* address, socklen_t* length)
{
    return ::accept4(listener, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
#else
int make_non_blocking(int descriptor)
{
    if (descriptor >= 0) {
        ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
        ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
    }
    return descriptor;
}

Socket new_socket(int family)
{
    return Socket{make_non_blocking(
        check("socket", [&] { return ::socket(family, SOCK_STREAM, 0); }))};
}

int accept_on(int listener, sockaddr* address, socklen_t* length)
{
    return make_non_blocking(::accept(listener, address, length));
}
#endif

// --- Connecting -------------------------------------------------------------

// RFC 8305 §4: the families in turn, so that a broken IPv6 (or IPv4) path costs
// one delay and not one for each of its addresses.
std::vector<const addrinfo*> interleave_families(const addrinfo* list)
{
    std::vector<const addrinfo*> first;
    std::vector<const addrinfo*> others;
    for (const addrinfo* a = list; a != nullptr; a = a->ai_next)
        (a->ai_family == list->ai_family ? first : others).push_back(a);

    std::vector<const addrinfo*> mixed;
    for (std::size_t i = 0; i < std::max(first.size(), others.size()); ++i) {
        if (i < first.size())
            mixed.push_back(first[i]);
        if (i < others.size())
            mixed.push_back(others[i]);
    }
    return mixed;
}

std::string in_words(const addrinfo* list)
{
    std::string words;
    for (const addrinfo* a : interleave_families(list))
        words.append(words.empty() ? "" : ", ")
            .append(to_text(a->ai_addr, a->ai_addrlen));
    return words;
}

// Notes how long something took when it ends, even if by an exception.
class Stopwatch {
public:
    explicit Stopwatch(std::optional<Clock::duration>& taken)
        : taken_{taken} { }
    ~Stopwatch() { stop(); }

    milliseconds stop() const
    {
        if (!taken_)
            taken_ = Clock::now() - start_;
        return std::chrono::ceil<milliseconds>(*taken_);
    }

private:
    std::optional<Clock::duration>& taken_;
    Clock::time_point start_ = Clock::now();
};

// The attempts to reach one origin server, several of them under way at once.
class ConnectRace {
public:
    ConnectRace(const addrinfo* list, milliseconds patience,
        const ProgressListener& progress)
        : addresses_{interleave_families(list)}, progress_{progress},
          deadline_{Clock::now() + patience}
    {
    }

    NamedSocket run()
    {
        for (;;) {
            if (next_ < addresses_.size()
                && (attempts_.empty() || Clock::now() >= next_start_))
                start(*addresses_[next_++]);
            if (auto winner = wait_for_a_result())
                return std::move(*winner);
            if (attempts_.empty() && next_ == addresses_.size())
                throw ConnectError{results_, last_error_};
            if (Clock::now() >= deadline_)
                give_up();
        }
    }

private:
    static constexpr auto stagger = 250ms;  // RFC 8305 §8

    void start(const addrinfo& address)
    {
        next_start_ = Clock::now() + stagger;
        const std::string text = to_text(address.ai_addr, address.ai_addrlen);
        tell("connecting to ", text);
        try {
            NamedSocket attempt{new_socket(address.ai_family), text};
            if (::connect(attempt.socket.descriptor(), address.ai_addr,
                    address.ai_addrlen)
                    != 0
                && errno != EINPROGRESS && errno != EINTR)
                return record(text, errno);
            attempts_.push_back(std::move(attempt));
        } catch (const std::system_error& error) {
            record(text, error.code().value());  // no IPv6 in this kernel, say
        }
    }

    // One socket that connected, if any did.  Those that failed are dropped.
    std::optional<NamedSocket> wait_for_a_result()
    {
        std::vector<pollfd> waiting;
        for (const NamedSocket& attempt : attempts_)
            waiting.push_back({attempt.socket.descriptor(), POLLOUT, 0});
        wait_for(waiting, time_to_wait());
        for (std::size_t i = waiting.size(); i-- > 0;) {
            if (waiting[i].revents == 0)
                continue;
            NamedSocket attempt = std::move(attempts_[i]);
            attempts_.erase(attempts_.begin() + static_cast<std::ptrdiff_t>(i));
            int error = 0;
            socklen_t length = sizeof error;
            ::getsockopt(attempt.socket.descriptor(), SOL_SOCKET, SO_ERROR,
                &error, &length);
            if (error == 0) {
                tell("connected to ", attempt.address);
                return attempt;
            }
            record(attempt.address, error);
            next_start_ = Clock::now();  // do not wait out the stagger
        }
        return std::nullopt;
    }

    milliseconds time_to_wait() const
    {
        if (attempts_.empty())
            return 0ms;
        auto until = deadline_;
        if (next_ < addresses_.size())
            until = std::min(until, next_start_);
        return std::chrono::ceil<milliseconds>(until - Clock::now());
    }

    void record(const std::string& address, int error)
    {
        last_error_ = error;
        results_.append(results_.empty() ? "" : ", ").append(address);
        results_.append(": ").append(std::generic_category().message(error));
        tell(address + ": ", std::generic_category().message(error));
    }

    void tell(const std::string& what, const std::string& rest) const
    {
        if (progress_)
            progress_(what + rest);
    }

    [[noreturn]] void give_up()
    {
        for (const NamedSocket& attempt : attempts_)
            record(attempt.address, ETIMEDOUT);
        throw ConnectError{results_, ETIMEDOUT};
    }

    std::vector<const addrinfo*> addresses_;
    const ProgressListener& progress_;
    std::size_t next_ = 0;  // index of the first address not yet tried
    std::vector<NamedSocket> attempts_;  // under way
    Clock::time_point next_start_;
    Clock::time_point deadline_;
    int last_error_ = ETIMEDOUT;
    std::string results_;  // "address: what happened", of those that failed
};

}  // namespace

// --- Socket -----------------------------------------------------------------

Socket::Socket(int descriptor) : descriptor_{descriptor}
{
    try {
        open_sockets().add(descriptor);
    } catch (...) {
        ::close(descriptor);
        throw;
    }
}

Socket::~Socket()
{
    if (descriptor_ >= 0) {
        open_sockets().remove(descriptor_);
        ::close(descriptor_);
    }
}

std::optional<std::size_t> Socket::receive(
    std::span<char> buffer, milliseconds patience) const
{
    return call_when_ready("recv", descriptor_, POLLIN, patience, [&] {
        return ::recv(descriptor_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    });
}

std::optional<std::size_t> Socket::send_some(
    std::span<const std::string_view> pieces, milliseconds patience,
    bool more_follows) const
{
    const int flags
        = MSG_DONTWAIT | MSG_NOSIGNAL | (more_follows ? MSG_MORE : 0);
    std::array<iovec, 4> parts{};
    const std::size_t used = std::min(pieces.size(), parts.size());
    for (std::size_t i = 0; i < used; ++i)
        parts[i] = {const_cast<char*>(pieces[i].data()), pieces[i].size()};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(used);
    return call_when_ready("send", descriptor_, POLLOUT, patience,
        [&] { return ::sendmsg(descriptor_, &message, flags); });
}

#ifdef __linux__
std::optional<std::size_t> Socket::splice(Direction direction, int pipe_end,
    std::size_t n, milliseconds patience) const
{
    const bool receiving = direction == Direction::receive;
    const short events = receiving ? POLLIN : POLLOUT;
    return call_when_ready("splice", descriptor_, events, patience, [&] {
        return ::splice(receiving ? descriptor_ : pipe_end, nullptr,
            receiving ? pipe_end : descriptor_, nullptr, n,
            SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    });
}
#endif

std::optional<Socket::Ready> Socket::wait_to_receive(
    const Socket* other, bool notice_fin, milliseconds patience) const
{
    const short events = notice_fin ? POLLRDHUP : 0;
    std::array<pollfd, 2> waiting{{{descriptor_, POLLIN, 0},
        {other == nullptr ? -1 : other->descriptor_, events, 0}}};
    if (!wait_for({waiting.data(), other == nullptr ? 1U : 2U}, patience))
        return std::nullopt;
    if (waiting[0].revents != 0)
        return Ready::to_receive;
    return (waiting[1].revents & ~POLLRDHUP) != 0 ? Ready::other_hung_up
                                                  : Ready::other_finished;
}

void Socket::finish_sending() const noexcept
{
    ::shutdown(descriptor_, SHUT_WR);
}

void Socket::shut_down() const noexcept
{
    ::shutdown(descriptor_, SHUT_RDWR);
}

void Socket::reset_on_close() const noexcept
{
    const linger at_once{1, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void Socket::send_small_packets_at_once() const noexcept
{
    set_option(*this, IPPROTO_TCP, TCP_NODELAY, 1);
}

// --- Making sockets ---------------------------------------------------------

NamedSocket listen_on(const Authority& address)
try {
    const AddressList list = resolve(address, AI_PASSIVE);
    Socket socket = new_socket(list->ai_family);
    set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1);
    check("bind", [&] {
        return ::bind(socket.descriptor(), list->ai_addr, list->ai_addrlen);
    });
    check("listen", [&] { return ::listen(socket.descriptor(), SOMAXCONN); });
    ::fcntl(socket.descriptor(), F_SETFL, 0);  // accept() may wait for ever
    std::string bound = local_address(socket);
    return {std::move(socket), std::move(bound)};
} catch (const std::runtime_error& error) {
    throw std::runtime_error{
        "cannot listen on " + to_string(address) + ": " + error.what()};
}

NamedSocket accept_from(const Socket& listener)
{
    sockaddr_storage storage{};
    auto* const address = reinterpret_cast<sockaddr*>(&storage);
    socklen_t length = 0;
    const int descriptor = check("accept", [&] {
        length = sizeof storage;  // accept() overwrites it each time
        return accept_on(listener.descriptor(), address, &length);
    });
    Socket socket{descriptor};
    socket.send_small_packets_at_once();
    return {std::move(socket), to_text(address, length)};
}

bool is_loopback(const Authority& address)
{
    const AddressList list = resolve(address, 0);
    for (const addrinfo* a = list.get(); a != nullptr; a = a->ai_next) {
        const std::string text = to_text(a->ai_addr, a->ai_addrlen);
        if (!text.starts_with("127.") && !text.starts_with("[::1]"))
            return false;
    }
    return true;
}

NamedSocket connect_to(const Authority& origin, milliseconds patience,
    ConnectTimes* times, const ProgressListener& progress)
{
    ConnectTimes nobody_asks;
    ConnectTimes& taken = times == nullptr ? nobody_asks : *times;
    const Stopwatch resolving{taken.resolving};
    const AddressList list = resolve_within(origin, patience);
    const auto left = patience - resolving.stop();
    if (progress)
        progress("found " + in_words(list.get()) + " in "
            + in_ms(*taken.resolving) + " ms");
    const Stopwatch connecting{taken.connecting};
    NamedSocket peer = ConnectRace{list.get(), left, progress}.run();
    peer.socket.send_small_packets_at_once();
    return peer;
}

std::string in_ms(Clock::duration time)
{
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f",
        std::chrono::duration<double, std::milli>(time).count());
    return text.data();
}

void shut_down_all_sockets()
{
    open_sockets().shut_down_all();
}

bool is_stopping() noexcept
{
    return open_sockets().stopping();
}

std::pair<Socket, Socket> socket_pair()
{
    std::array<int, 2> ends{};
    check("socketpair",
        [&] { return ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()); });
    for (const int end : ends)
        ::fcntl(end, F_SETFL, O_NONBLOCK);
    Socket first{ends[0]};
    return {std::move(first), Socket{ends[1]}};
}

#include "dial.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

namespace {

using namespace std::chrono_literals;

// RFC 8305 §4: the families in turn, so that a broken IPv6 (or IPv4) path costs
// one delay and not one for each of its addresses.
void interleave_families(addrinfo* list)
{
    for (addrinfo* a = list; a != nullptr; a = a->ai_next) {
        addrinfo** link = &a->ai_next;
        while (*link != nullptr && (*link)->ai_family == a->ai_family)
            link = &(*link)->ai_next;
        if (*link == nullptr)
            return;  // only this family is left
        addrinfo* const other = *link;
        *link = other->ai_next;
        other->ai_next = a->ai_next;
        a->ai_next = other;
    }
}

// 0, or errno: EINPROGRESS when the limit has passed.
int connect_for(milliseconds limit, const Socket& socket, const addrinfo& to)
{
    socket.set_timeouts(limit);
    return ::connect(socket.descriptor(), to.ai_addr, to.ai_addrlen) == 0
        ? 0
        : errno;
}

int pending_error(const Socket& socket)
{
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(socket.descriptor(), SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
}

// The attempts to reach one host.  The first blocks in connect() for at most
// the stagger, which for most servers is all there is; only then is there
// something to race.
class ConnectRace {
public:
    ConnectRace(const AddressList& addresses, milliseconds timeout,
        DialObserver& observer, const Socket* client)
        : next_{addresses.get()}, observer_{observer},
          client_{client == nullptr ? -1 : client->descriptor()},
          deadline_{Clock::now() + timeout}
    {
    }

    std::optional<NamedSocket> run()
    {
        while (!winner_ && (next_ != nullptr || !attempts_.empty())
            && Clock::now() < deadline_)
            if (next_ != nullptr
                && (attempts_.empty() || Clock::now() >= next_start_))
                start(*std::exchange(next_, next_->ai_next));
            else
                wait();
        if (!winner_)
            for (const NamedSocket& attempt : attempts_)
                observer_.failed(attempt.address, ETIMEDOUT);
        return std::move(winner_);
    }

private:
    static constexpr milliseconds stagger = 250ms;  // RFC 8305 §8

    void start(const addrinfo& info)
    {
        const std::string address = to_string(info.ai_addr, info.ai_addrlen);
        if (!observer_.connecting(address))
            return;
        next_start_ = Clock::now() + stagger;
        NamedSocket attempt{
            Socket{::socket(info.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)},
            address};
        const int error = attempt.socket.descriptor() < 0
            ? errno
            : connect_for(time_to_block(), attempt.socket, info);
        if (error == EINPROGRESS || error == EINTR)
            attempts_.push_back(std::move(attempt));
        else
            finish(std::move(attempt), error);
    }

    milliseconds time_to_block() const
    {
        return attempts_.empty() ? std::clamp(left(deadline_), 1ms, stagger)
                                 : 1ms;
    }

    void wait()
    {
        std::vector<pollfd> waiting;
        for (const NamedSocket& attempt : attempts_)
            waiting.push_back({attempt.socket.descriptor(), POLLOUT, 0});
        waiting.push_back({client_, watched_, 0});
        poll_for(waiting,
            left(next_ == nullptr ? deadline_
                                  : std::min(deadline_, next_start_)));
        look_at_client(waiting.back().revents);
        for (std::size_t i = attempts_.size(); i-- > 0;)
            if (waiting[i].revents != 0) {
                NamedSocket attempt = std::move(attempts_[i]);
                attempts_.erase(
                    attempts_.begin() + static_cast<std::ptrdiff_t>(i));
                const int error = pending_error(attempt.socket);
                finish(std::move(attempt), error);
            }
    }

    static milliseconds left(Clock::time_point until)
    {
        return std::chrono::ceil<milliseconds>(until - Clock::now());
    }

    void look_at_client(short events)
    {
        if ((events & ~POLLRDHUP) != 0)
            throw NetError{"connecting for", Peer::client, ECONNRESET};
        if (events != 0) {
            watched_ = 0;  // a FIN is looked at once
            observer_.client_finished();
        }
    }

    void finish(NamedSocket attempt, int error)
    {
        if (error == 0) {
            winner_ = std::move(attempt);
            return;
        }
        next_start_ = Clock::now();  // no need to wait for the stagger
        observer_.failed(attempt.address, error);
    }

    const addrinfo* next_;  // the first address not yet tried
    DialObserver& observer_;
    int client_;
    short watched_ = POLLRDHUP;  // on the client
    Clock::time_point deadline_;
    Clock::time_point next_start_;
    std::vector<NamedSocket> attempts_;  // under way
    std::optional<NamedSocket> winner_;
};

}  // namespace

AddressList resolve(const std::string& host, const std::string& port, int flags)
{
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
    if (error == EAI_SYSTEM)
        throw system_error_of(errno, "getaddrinfo");
    if (error != 0)
        throw NameError{::gai_strerror(error), error == EAI_AGAIN};
    interleave_families(found);
    return {found, &freeaddrinfo};
}

std::string to_string(const AddressList& addresses)
{
    std::string text;
    for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next)
        text.append(text.empty() ? "" : ", ")
            .append(to_string(a->ai_addr, a->ai_addrlen));
    return text;
}

std::optional<NamedSocket> dial(const std::string& host,
    const std::string& port, milliseconds timeout, DialObserver& observer,
    const Socket* client)
{
    const AddressList addresses = resolve(host, port, 0);
    observer.resolved(addresses);
    auto server = ConnectRace{addresses, timeout, observer, client}.run();
    if (server)
        set_tcp_options(server->socket);
    return server;
}

// Not in its callers' files, so that it is not inlined: the caller's variables
// must be above this frame.
void give_back_unused_stack() noexcept
{
    constexpr std::size_t resolver_stack = 96 * 1024;  // it wants some 64 KiB
    constexpr std::uintptr_t still_in_use = 256;  // by madvise() itself
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto here
        = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    const auto end = (here - still_in_use) / page * page;
    ::madvise(reinterpret_cast<void*>(end - resolver_stack), resolver_stack,
        MADV_DONTNEED);
}

std::vector<std::string> interface_addresses()
{
    ifaddrs* first = nullptr;
    if (::getifaddrs(&first) != 0)
        throw system_error_of(errno, "getifaddrs");
    const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> list{
        first, &freeifaddrs};
    std::vector<std::string> addresses;
    for (const ifaddrs* i = first; i != nullptr; i = i->ifa_next) {
        std::array<char, NI_MAXHOST> host{};
        if (i->ifa_addr != nullptr  // getnameinfo() fails for other families
            && ::getnameinfo(i->ifa_addr, sizeof(sockaddr_in6), host.data(),
                   host.size(), nullptr, 0, NI_NUMERICHOST)
                == 0)
            addresses.emplace_back(host.data());
    }
    return addresses;
}

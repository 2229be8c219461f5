#include "socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "dial.h"

namespace {

// Calls again when a signal interrupted the call; -1 becomes an exception.
template <typename Call> int check(const char* name, Call call)
{
    for (;;) {
        const int result = call();
        if (result >= 0)
            return result;
        if (errno != EINTR)
            throw system_error_of(errno, name);
    }
}

void set_option(int descriptor, int level, int option, int value) noexcept
{
    ::setsockopt(descriptor, level, option, &value, sizeof value);
}

std::string join_host_port(const std::string& host, const std::string& port)
{
    const bool is_ipv6 = host.find(':') != std::string::npos;
    return (is_ipv6 ? "[" + host + "]:" : host + ":") + port;
}

std::string local_address(const Socket& socket)
{
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    auto* const address = reinterpret_cast<sockaddr*>(&storage);
    check("getsockname",
        [&] { return ::getsockname(socket.descriptor(), address, &length); });
    return to_string(address, length);
}

}  // namespace

NetError::NetError(const std::string& doing, Peer peer, int code)
    : std::runtime_error{doing
        + (peer == Peer::client ? " the client: " : " the server: ")
        + std::generic_category().message(code)},
      whose{peer}, error{code}
{
}

std::system_error system_error_of(int error, const std::string& call)
{
    return std::system_error{error, std::generic_category(), call};
}

bool poll_for(std::span<pollfd> descriptors, milliseconds timeout)
{
    const auto limit
        = std::clamp<milliseconds::rep>(timeout.count(), 0, INT_MAX);
    return check("poll", [&] {
        return ::poll(
            descriptors.data(), descriptors.size(), static_cast<int>(limit));
    }) > 0;
}

// --- Addresses --------------------------------------------------------------

std::string to_string(const sockaddr* address, socklen_t length)
{
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    if (::getnameinfo(address, length, host.data(), host.size(), port.data(),
            port.size(), NI_NUMERICHOST | NI_NUMERICSERV)
        != 0)
        return "?";
    return join_host_port(host.data(), port.data());
}

// --- Socket -----------------------------------------------------------------

Socket::~Socket()
{
    if (descriptor_ >= 0)
        ::close(descriptor_);
}

void Socket::shutdown_write() const noexcept
{
    ::shutdown(descriptor_, SHUT_WR);
}

void Socket::shutdown_both() const noexcept
{
    ::shutdown(descriptor_, SHUT_RDWR);
}

void Socket::reset_on_close(bool reset) const noexcept
{
    const linger option{reset, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &option, sizeof option);
}

void Socket::set_timeouts(milliseconds limit) const noexcept
{
    const timeval time{limit.count() / 1000, limit.count() % 1000 * 1000};
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO})
        ::setsockopt(descriptor_, SOL_SOCKET, option, &time, sizeof time);
}

void set_tcp_options(const Socket& socket) noexcept
{
    set_option(socket.descriptor(), IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(socket.descriptor(), SOL_SOCKET, SO_OOBINLINE, 1);
}

Socket new_socket(int family)
{
    return Socket{check("socket",
        [&] { return ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0); })};
}

// --- Listening --------------------------------------------------------------

// Small messages must not wait for an acknowledgement of the one before
// (TCP_NODELAY); accepted sockets inherit the option from their listener.
NamedSocket listen_on(const std::string& host, const std::string& port)
try {
    const AddressList list = resolve(host, port, AI_PASSIVE);
    Socket socket = new_socket(list->ai_family);
    set_option(socket.descriptor(), SOL_SOCKET, SO_REUSEADDR, 1);
    set_tcp_options(socket);  // which accept() gives to each client's socket
    check("bind", [&] {
        return ::bind(socket.descriptor(), list->ai_addr, list->ai_addrlen);
    });
    check("listen", [&] { return ::listen(socket.descriptor(), SOMAXCONN); });
    std::string bound = local_address(socket);
    return {std::move(socket), std::move(bound)};
} catch (const std::runtime_error& error) {
    throw std::runtime_error{
        "cannot listen on " + join_host_port(host, port) + ": " + error.what()};
}

NamedSocket accept_from(const Socket& listener)
{
    sockaddr_storage storage{};
    auto* const address = reinterpret_cast<sockaddr*>(&storage);
    socklen_t length = 0;
    Socket socket{check("accept", [&] {
        length = sizeof storage;  // accept() overwrites it each time
        return ::accept4(listener.descriptor(), address, &length, SOCK_CLOEXEC);
    })};
    return {std::move(socket), to_string(address, length)};
}

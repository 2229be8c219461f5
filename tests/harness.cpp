#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <random>
#include <stdexcept>

#include "support/http/message.h"
#include "support/net/dial.h"

namespace {

std::runtime_error waited_in_vain(const std::string& what)
{
    return std::runtime_error{"waited in vain for " + what};
}

}  // namespace

// --- TestSocket -------------------------------------------------------------

TestSocket::TestSocket(Socket socket) : socket_{std::move(socket)}
{
    socket_.set_timeouts(test_deadline);
}

void TestSocket::send(std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t n = ::send(
            socket_.descriptor(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            throw waited_in_vain("the peer to read");
        if (n < 0)
            throw system_error_of(errno, "send");
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
}

void TestSocket::send_urgent(char byte)
{
    if (::send(socket_.descriptor(), &byte, 1, MSG_OOB) != 1)
        throw std::runtime_error{"cannot send an urgent byte"};
}

bool TestSocket::receive_more()
{
    std::array<char, 64 * 1024> bytes;
    const ssize_t n
        = ::recv(socket_.descriptor(), bytes.data(), bytes.size(), 0);
    if (n < 0 && errno == EAGAIN)
        throw waited_in_vain("bytes; so far: " + buffer_.substr(0, 2000));
    if (n < 0)
        throw system_error_of(errno, "recv");
    buffer_.append(bytes.data(), static_cast<std::size_t>(n));
    return n > 0;
}

std::string TestSocket::read_exactly(std::size_t n)
{
    while (buffer_.size() < n)
        if (!receive_more())
            throw std::runtime_error{
                "the stream ended early, after: " + buffer_.substr(0, 2000)};
    std::string bytes = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return bytes;
}

std::string TestSocket::read_until(std::string_view delimiter)
{
    std::size_t at = 0;
    while ((at = buffer_.find(delimiter)) == std::string::npos)
        if (!receive_more())
            throw std::runtime_error{"the stream ended before "
                + std::string{delimiter}
                + ", after: " + buffer_.substr(0, 2000)};
    return read_exactly(at + delimiter.size());
}

std::string TestSocket::read_to_end()
{
    while (receive_more()) { }
    return std::exchange(buffer_, {});
}

bool TestSocket::ends_with_reset()
{
    try {
        read_to_end();
        return false;
    } catch (const std::system_error& error) {
        return error.code() == std::errc::connection_reset;
    }
}

std::string TestSocket::address() const
{
    sockaddr_in address{};
    socklen_t length = sizeof address;
    auto* const own = reinterpret_cast<sockaddr*>(&address);
    if (::getsockname(socket_.descriptor(), own, &length) != 0)
        throw system_error_of(errno, "getsockname");
    std::array<char, INET_ADDRSTRLEN> text{};
    ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
    return text.data() + (":" + std::to_string(ntohs(address.sin_port)));
}

NamedSocket dial_test(
    const std::string& host, const std::string& port, milliseconds timeout)
{
    DialObserver ignored;
    auto server = dial(host, port, timeout, ignored);
    if (!server)
        throw ConnectError{host + ":" + port + " was not reached"};
    return std::move(*server);
}

TestSocket connect_to_port(const std::string& port)
{
    return TestSocket{dial_test("127.0.0.1", port).socket};
}

std::pair<Socket, Socket> socket_pair()
{
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0)
        throw system_error_of(errno, "socketpair");
    return {Socket{ends[0]}, Socket{ends[1]}};
}

TestSocket connect_from(const std::string& source, const std::string& port)
{
    Socket client{::socket(AF_INET, SOCK_STREAM, 0)};
    const auto address = [](const std::string& host,
                             const std::string& number) {
        sockaddr_in result{};
        result.sin_family = AF_INET;
        result.sin_port = htons(static_cast<in_port_t>(std::stoi(number)));
        ::inet_pton(AF_INET, host.c_str(), &result.sin_addr);
        return result;
    };
    const sockaddr_in from = address(source, "0");
    const sockaddr_in to = address("127.0.0.1", port);
    if (::bind(client.descriptor(), reinterpret_cast<const sockaddr*>(&from),
            sizeof from)
            != 0
        || ::connect(client.descriptor(),
               reinterpret_cast<const sockaddr*>(&to), sizeof to)
            != 0)
        throw std::runtime_error{"cannot connect from " + source};
    return TestSocket{std::move(client)};
}

// --- Origin -----------------------------------------------------------------

Origin::Origin(const std::string& host) : listener_{listen_on(host, "0")} { }

std::string Origin::port() const
{
    return parse_authority_form(listener_.address).port;
}

TestSocket Origin::accept() const
{
    pollfd waiting{listener_.socket.descriptor(), POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(test_deadline.count())) <= 0)
        throw waited_in_vain("a connection to the origin server");
    return TestSocket{std::move(accept_from(listener_.socket).socket)};
}

bool Origin::is_untouched() const
{
    pollfd waiting{listener_.socket.descriptor(), POLLIN, 0};
    return ::poll(&waiting, 1, 0) == 0;
}

ReservedPort::ReservedPort() : socket_{new_socket(AF_INET)}
{
    const int reuse = 1;
    ::setsockopt(
        socket_.descriptor(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(socket_.descriptor(), any, length) != 0
        || ::getsockname(socket_.descriptor(), any, &length) != 0)
        throw system_error_of(errno, "bind");
    port_ = std::to_string(ntohs(address.sin_port));
}

// --- The rest ---------------------------------------------------------------

TempDir::TempDir()
{
    std::string name
        = (std::filesystem::temp_directory_path() / "proxy-test-XXXXXX")
              .string();
    if (::mkdtemp(name.data()) == nullptr)
        throw std::runtime_error{"mkdtemp failed"};
    path_ = name;
}

TempDir::~TempDir()
{
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, std::string_view bytes)
{
    std::ofstream file{path, std::ios::binary};
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file.flush())
        throw std::runtime_error{"cannot write " + path};
}

std::string read_file(const std::string& path)
{
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

std::string some_bytes(std::size_t length)
{
    std::mt19937 random{20'24};
    std::string bytes(length, '\0');
    std::generate(bytes.begin(), bytes.end(),
        [&] { return static_cast<char>(random() & 0xff); });
    return bytes;
}

std::string first_line(const std::string& head)
{
    return head.substr(0, head.find("\r\n"));
}

std::size_t count(const std::string& text, std::string_view part)
{
    std::size_t found = 0;
    for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos;
         at += part.size())
        ++found;
    return found;
}

std::vector<std::string> field_lines(
    const std::string& head, const std::string& name)
{
    std::vector<std::string> found;
    for (std::size_t start = 0; start < head.size();) {
        const std::size_t end = std::min(head.find("\r\n", start), head.size());
        const std::string line = head.substr(start, end - start);
        if (equal_ignoring_case(line.substr(0, name.size() + 1), name + ":"))
            found.push_back(line);
        start = end + 2;
    }
    return found;
}

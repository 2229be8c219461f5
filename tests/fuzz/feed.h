// feed -- Connections whose peer is the fuzzer: what it sends arrives in the
// pieces that the input says, without threads and without waiting.

#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "fuzz.h"
#include "support/http_io.h"

inline IdleClock& idle_clock()
{
    static IdleClock idle{std::chrono::seconds{60}};
    return idle;
}

inline std::pair<Socket, Socket> socket_pair()
{
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0)
        throw system_error_of(errno, "socketpair");
    return {Socket{ends[0]}, Socket{ends[1]}};
}

/// A Connection that receives the pieces, then the end of the stream.
class Feed {
public:
    explicit Feed(std::vector<std::string_view> pieces)
        : Feed{std::move(pieces), socket_pair()}
    {
    }

    Connection connection;

    /// Sends the next piece: each recv(2) of the Connection is preceded by it.
    Wait wait()
    {
        return [this] {
            if (next_ == pieces_.size())
                far_.shutdown_write();
            else
                send(pieces_[next_++]);
            return true;
        };
    }

private:
    Feed(
        std::vector<std::string_view> pieces, std::pair<Socket, Socket> sockets)
        : connection{{std::move(sockets.first), "near"}, Peer::client,
            idle_clock()},
          far_{std::move(sockets.second)}, pieces_{std::move(pieces)}
    {
    }
    void send(std::string_view piece)
    {
        claim(::send(far_.descriptor(), piece.data(), piece.size(),
                  MSG_NOSIGNAL | MSG_DONTWAIT)
                == static_cast<ssize_t>(piece.size()),
            "the socket has room for a piece");
    }

    Socket far_;
    std::vector<std::string_view> pieces_;
    std::size_t next_ = 0;
};

/// read_head() finds the same head in pieces as HeadLines finds in the text.
inline void claim_same_in_pieces(std::string_view text, unsigned char seed)
{
    const auto in_text = attempt([&] { return end_of_head(text); });
    Feed feed{pieces_of(text, seed)};
    std::string head;
    const auto in_pieces = attempt([&] {
        return read_head(feed.connection, head,
            {std::chrono::hours{1}, error::head_timeout},
            [wait = feed.wait()](milliseconds) { return wait(); });
    });
    claim(in_pieces.problem == in_text.problem,
        "the same problem however a head is cut");
    if (!in_text.result)
        return;
    claim(*in_pieces.result == in_text.result->has_value(),
        "a head however it is cut");
    if (*in_pieces.result)
        claim(head == text.substr(0, **in_text.result)
                && feed.connection.bytes_read() == head.size(),
            "a head ends at the same place however it is cut");
}

/// What copy_body() makes of the front of a text.
struct Copied {
    std::string bytes;  ///< that the receiver got
    std::size_t consumed = 0;
    std::string problem;  ///< what() of the Failure, empty if there is none
    bool operator==(const Copied&) const = default;
};

/// The receiver.  It stays for all inputs, and is read to its last byte after
/// each: TCP, because small writes fill the queue of an AF_UNIX socket.
class Receiver {
public:
    Connection connection;

    static Receiver& instance()
    {
        static Receiver receiver{tcp_pair()};
        return receiver;
    }
    std::string read_new_bytes()
    {
        std::string bytes(connection.bytes_written() - read_, '\0');
        for (std::size_t at = 0; at < bytes.size();) {
            const ssize_t n = ::recv(
                far_.descriptor(), bytes.data() + at, bytes.size() - at, 0);
            claim(n > 0, "what was written arrives");
            at += static_cast<std::size_t>(n);
        }
        read_ += bytes.size();
        return bytes;
    }

private:
    explicit Receiver(std::pair<Socket, Socket> sockets)
        : connection{{std::move(sockets.first), "receiver"}, Peer::server,
            idle_clock()},
          far_{std::move(sockets.second)}
    {
    }
    static std::pair<Socket, Socket> tcp_pair()
    {
        const NamedSocket listener = listen_on("127.0.0.1", "0");
        sockaddr_storage address{};
        socklen_t length = sizeof address;
        auto* const to = reinterpret_cast<sockaddr*>(&address);
        ::getsockname(listener.socket.descriptor(), to, &length);
        Socket far = new_socket(AF_INET);
        if (::connect(far.descriptor(), to, length) != 0)
            throw system_error_of(errno, "connect");
        Socket near = accept_from(listener.socket).socket;
        const int on = 1;  // else small writes wait for an ACK
        ::setsockopt(
            near.descriptor(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        return {std::move(near), std::move(far)};
    }

    Socket far_;
    std::uint64_t read_ = 0;
};

inline Copied copy_chunks(
    std::vector<std::string_view> pieces, Delimiting delimiting)
{
    static const TraceSettings nobody_listens;
    Trace trace{nobody_listens, 1};
    Feed feed{std::move(pieces)};
    Receiver& receiver = Receiver::instance();
    Copied copied;
    try {
        copy_body(
            feed.connection, receiver.connection, Fields{},
            {BodyFraming::Kind::chunked}, delimiting, trace, [] {},
            feed.wait());
    } catch (const MessageError& error) {
        copied.problem = error.what();
    }
    copied.bytes = receiver.read_new_bytes();
    copied.consumed = feed.connection.bytes_read();
    return copied;
}

// pipe -- bytes from socket to socket without a visit to user space.
//
// Linux moves references to the pages that the bytes are in: from a socket into
// a pipe, and from the pipe into another socket (splice(2)).  Elsewhere, and
// when the system has no pipes to give, there is none, and a buffer must do.

#pragma once

#include <cstddef>
#include <optional>

#include "socket.h"

class Pipe {
public:
    /// A large pipe; nothing when the system will not give one.
    static std::optional<Pipe> open();

    Pipe(Pipe&& other) noexcept;
    Pipe& operator=(Pipe&& other) noexcept;
    ~Pipe();

    /// Takes what the socket has, at most `limit` bytes, into the empty pipe: 0
    /// at the end of the stream, nothing if the socket has nothing yet.
    std::optional<std::size_t> fill(const Socket& from, std::size_t limit);

    /// Gives the socket what it takes of the `n` bytes that are left in the
    /// pipe, at least one; nothing if `patience` was not enough.
    std::optional<std::size_t> drain(
        const Socket& to, std::size_t n, milliseconds patience) const;

private:
    Pipe(int read_end, int write_end, std::size_t capacity) noexcept;

    int read_end_;
    int write_end_;
    std::size_t capacity_;
};

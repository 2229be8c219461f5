// transfer -- moves bytes from one connection to another as they are.

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "connection.h"

/// For splice(2), which copies no bytes in user space: the kernel moves
/// references to the pages that hold them, from a socket into a pipe and from
/// the pipe into another socket.
struct Pipe {
    /// Nothing when the system has no large pipe to give.
    static std::optional<Pipe> open();

    Socket read_end;  // for its close(2); it is no socket
    Socket write_end;
    std::size_t capacity;
};

/// What one read has taken from the sender.
struct Piece {
    std::uint64_t size = 0;  ///< 0: the end of the stream
    std::string_view bytes;  ///< empty if they are in the pipe; see size
};

/// One direction: through a buffer, and through a pipe once it is bulk.  When a
/// slice passes in silence, the pipe is given back.  Each function throws
/// NetError, whose `whose` tells which side failed.
class Transfer {
public:
    Transfer(Connection& from, Connection& to) : from_{from}, to_{to} { }

    /// Reads once, at most `limit` bytes.
    Piece read(std::uint64_t limit = UINT64_MAX, const Wait& wait = nullptr);

    /// Writes all of the piece that was read last.
    void write(const Piece& piece);

private:
    Connection& from_;
    Connection& to_;
    std::optional<Pipe> pipe_;
    int large_reads_ = 0;  // in a row
};

// copy -- moves bytes from one connection to another: a message body, or one
// direction of a tunnel.  Nothing is held back: what one read gives is written
// before the next read.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>

#include "connection.h"
#include "forwarding.h"
#include "http_message.h"

/// Gets to see bytes after they were sent on, from the first one as long as
/// none go through a pipe.
using Observer = std::function<void(std::string_view)>;

/// Copies one message body and nothing behind it, and gives its size in bytes;
/// chunked bodies are checked, and framed anew (RFC 9112 §7.1).  `has_read_all`
/// becomes true before the last bytes are written.  Throws MessageError for a
/// malformed body or one cut short, PeerError for a connection that failed.
std::uint64_t copy_body(Connection& from, Connection& to, BodyFraming framing,
    Delimiting delimiting = Delimiting::as_received,
    std::atomic<bool>* has_read_all = nullptr,
    const Observer& observe = nullptr);

/// Copies all that comes, up to the end of the stream.
void copy_to_end(
    Connection& from, Connection& to, const Observer& observe = nullptr);

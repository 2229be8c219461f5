// framing -- where a body ends: RFC 9112 §6 and §7.  Pure functions on bytes.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "message.h"

struct BodyFraming {
    enum class Kind { none, length, chunked, until_close };
    Kind kind = Kind::none;
    std::uint64_t length = 0;  ///< in bytes, with Kind::length
    bool operator==(const BodyFraming&) const = default;
};

/// Where the body ends (RFC 9112 §6.3); throws MessageError when two readers
/// could disagree about it.
BodyFraming request_framing(const RequestHead& request);
BodyFraming response_framing(
    std::string_view request_method, const ResponseHead& response);

// --- The chunked coding: RFC 9112 §7.1 --------------------------------------

constexpr std::size_t max_chunk_size_line = 4096;  ///< in bytes, with its CRLF

/// The size in "1a;name=value CRLF".  Extensions are checked and dropped: they
/// are for one connection only (RFC 9112 §7.1.1).  Throws MessageError.
std::uint64_t parse_chunk_size(std::string_view line);

/// Throws MessageError if the line after a chunk's data is not empty.
void check_chunk_end(std::string_view line);

/// Bounds what chunked bodies carry besides data, as Go's net/http does: 16 KiB
/// more than 16 bytes for each chunk and two for each byte of data.
class ChunkOverhead {
public:
    /// Throws MessageError when it is too much.
    void add(std::size_t line_size, std::uint64_t data_size);

private:
    std::uint64_t excess_ = 0;
};

/// A whole trailer section with its empty line.  Throws MessageError for fields
/// that belong in the head (RFC 9110 §6.5.1).
Fields parse_trailer(std::string_view lines);

/// Throws MessageError if the chunks that are here, the beginning of a body,
/// are broken, so that nothing of the request need be forwarded.
void check_chunks(std::string_view bytes);

#include "copy.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace {

using Buffer = std::array<char, 64 * 1024>;

void copy_length(Connection& from, Connection& to, std::uint64_t length)
{
    Buffer buffer;
    while (length > 0) {
        const std::span piece{buffer.data(),
            static_cast<std::size_t>(
                std::min<std::uint64_t>(length, buffer.size()))};
        const std::size_t n = from.read_some(piece, to);
        if (n == 0)
            throw MessageError{Problem::cut_short,
                "the body ended " + std::to_string(length)
                    + " bytes short of its Content-Length"};
        to.write_all({{buffer.data(), n}});
        length -= n;
    }
}

void write_chunk(Connection& to, std::string_view data)
{
    std::array<char, 16> size{};
    const auto end
        = std::to_chars(size.begin(), size.end(), data.size(), 16).ptr;
    to.write_all({{size.data(), static_cast<std::size_t>(end - size.data())},
        "\r\n", data, "\r\n"});
}

void copy_chunked(Connection& from, Connection& to, Delimiting delimiting)
{
    Buffer buffer;
    ChunkedDecoder decoder;
    while (!decoder.finished()) {
        const std::size_t n = from.read_some(buffer, to);
        if (n == 0)
            throw MessageError{
                Problem::cut_short, "the body ended before its last chunk"};
        const auto [data, consumed] = decoder.decode({buffer.data(), n});
        from.unread({buffer.data() + consumed, n - consumed});
        if (data > 0 && delimiting == Delimiting::as_received)
            write_chunk(to, {buffer.data(), data});
        else if (data > 0)
            to.write_all({{buffer.data(), data}});
    }
    if (delimiting == Delimiting::as_received)
        to.write_all({"0\r\n", to_string(decoder.trailer()), "\r\n"});
}

void copy_until_close(Connection& from, Connection& to)
{
    Buffer buffer;
    while (const std::size_t n = from.read_some(buffer, to))
        to.write_all({{buffer.data(), n}});
}

}  // namespace

void copy_body(Connection& from, Connection& to, BodyFraming framing,
    Delimiting delimiting)
{
    switch (framing.kind) {
    case BodyFraming::Kind::none:
        return;
    case BodyFraming::Kind::length:
        return copy_length(from, to, framing.length);
    case BodyFraming::Kind::chunked:
        return copy_chunked(from, to, delimiting);
    case BodyFraming::Kind::until_close:
        return copy_until_close(from, to);
    }
}

void copy_to_end(Connection& from, Connection& to)
{
    Buffer buffer;
    while (const std::size_t n = from.read_some(buffer))
        to.write_all({{buffer.data(), n}});
}

#include "transfer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace {

constexpr std::uint64_t large_read = 32 * 1024;
constexpr int reads_that_make_bulk = 4;

}  // namespace

// The system may give less than is asked for: each user has a quota of pipe
// pages (pipe-user-pages-soft), and a pipe past it is worse than a buffer.
std::optional<Pipe> Pipe::open()
{
    constexpr int wanted_capacity = 1 << 20;
    constexpr int smallest_useful_capacity = 64 * 1024;
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
        return std::nullopt;
    ::fcntl(ends[1], F_SETPIPE_SZ, wanted_capacity);
    const int capacity = ::fcntl(ends[1], F_GETPIPE_SZ);
    Pipe pipe{Socket{ends[0]}, Socket{ends[1]},
        static_cast<std::size_t>(std::max(capacity, 0))};
    if (capacity < smallest_useful_capacity)
        return std::nullopt;
    return pipe;
}

Piece Transfer::read(std::uint64_t limit, const Wait& wait)
{
    if (pipe_ && from_.buffered().empty()) {
        const auto size = from_.splice_into(pipe_->write_end,
            std::min<std::uint64_t>(limit, pipe_->capacity), wait);
        if (size.value_or(0) > 0)
            return {*size, {}};
        // Silence, or nothing: at a FIN, but also at an urgent byte, where
        // splice(2) stops.  The recv(2) that follows tells them apart.
        pipe_.reset();
        large_reads_ = 0;
    }
    const std::string_view bytes = from_.read_some(limit, wait);
    large_reads_ = bytes.size() >= large_read ? large_reads_ + 1 : 0;
    return {bytes.size(), bytes};
}

void Transfer::write(const Piece& piece)
{
    if (piece.bytes.empty())
        to_.splice_from(pipe_->read_end, piece.size);
    else
        to_.write_all(piece.bytes);
    if (!pipe_ && large_reads_ == reads_that_make_bulk)
        pipe_ = Pipe::open();
}

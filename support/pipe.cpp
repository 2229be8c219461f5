#include "pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace {

// Large enough for one system call to move what a fast sender has ready.  The
// system may give less: each user has a quota (pipe-user-pages-soft), and a
// pipe past it holds a page or two, which is worse than a buffer.
[[maybe_unused]] constexpr int wanted_capacity = 1 << 20;
[[maybe_unused]] constexpr int smallest_useful_capacity = 64 * 1024;

}  // namespace

#if defined(__linux__) && !defined(PORTABLE_COPY)

std::optional<Pipe> Pipe::open()
{
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0)
        return std::nullopt;
    int capacity = ::fcntl(ends[1], F_SETPIPE_SZ, wanted_capacity);
    if (capacity < 0)
        capacity = ::fcntl(ends[1], F_GETPIPE_SZ);
    Pipe pipe{
        ends[0], ends[1], static_cast<std::size_t>(std::max(capacity, 0))};
    if (capacity < smallest_useful_capacity)
        return std::nullopt;
    return pipe;
}

std::optional<std::size_t> Pipe::fill(const Socket& from, std::size_t limit)
{
    return from.splice(Socket::Direction::receive, write_end_,
        std::min(limit, capacity_), milliseconds{0});
}

std::optional<std::size_t> Pipe::drain(
    const Socket& to, std::size_t n, milliseconds patience) const
{
    return to.splice(Socket::Direction::send, read_end_, n, patience);
}

#else

std::optional<Pipe> Pipe::open()
{
    return std::nullopt;
}

std::optional<std::size_t> Pipe::fill(const Socket&, std::size_t)
{
    return std::nullopt;
}

std::optional<std::size_t> Pipe::drain(
    const Socket&, std::size_t, milliseconds) const
{
    return std::nullopt;
}

#endif

Pipe::Pipe(int read_end, int write_end, std::size_t capacity) noexcept
    : read_end_{read_end}, write_end_{write_end}, capacity_{capacity}
{
}

Pipe::Pipe(Pipe&& other) noexcept
    : read_end_{std::exchange(other.read_end_, -1)},
      write_end_{std::exchange(other.write_end_, -1)}, capacity_{
                                                           other.capacity_}
{
}

Pipe& Pipe::operator=(Pipe&& other) noexcept
{
    std::swap(read_end_, other.read_end_);
    std::swap(write_end_, other.write_end_);
    std::swap(capacity_, other.capacity_);
    return *this;
}

Pipe::~Pipe()
{
    if (read_end_ >= 0) {
        ::close(read_end_);
        ::close(write_end_);
    }
}

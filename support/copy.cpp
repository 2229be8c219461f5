#include "copy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <memory>
#include <optional>

#include "pipe.h"
#include "process.h"

namespace {

// How much one read can give, one system call after another.  A message is
// often small, and many tunnels are idle, so each begins with little.
constexpr std::size_t small_buffer_size = 1024;
constexpr std::size_t large_buffer_size = 64 * 1024;

auto new_large_buffer()
{
    return std::make_unique_for_overwrite<char[]>(large_buffer_size);
}

// One direction of bytes that are passed on as they are, in three gears: a
// small buffer, a large one, a pipe.  Whoever fills a buffer gets the next
// gear; after a second of quiet it is given back, so that an idle tunnel holds
// neither a large buffer nor a pipe.
class Stream {
public:
    // `watch`: stop when the receiver hangs up, because nobody else would see
    // it.  In a tunnel the other direction reads from there, and does.
    Stream(Connection& from, Connection& to, bool watch,
        std::atomic<bool>* has_read_all = nullptr, Observer observe = nullptr)
        : from_{from}, to_{to}, watch_{watch},
          has_read_all_{has_read_all}, observe_{std::move(observe)}
    {
    }

    // Waits for bytes and moves some, at most `limit`; 0 at the end.
    std::size_t move(std::uint64_t limit)
    {
        for (;;) {
            if (!more_is_likely_)
                wait();
            // The last bytes go through a buffer: see move_through_buffer().
            if (limit <= large_buffer_size)
                pipe_.reset();
            const auto n = pipe_ ? from_.splice_now(*pipe_, to_, limit)
                                 : move_through_buffer(limit);
            if (pipe_)
                more_is_likely_ = n.has_value();
            if (n)
                return *n;
        }
    }

private:
    static constexpr std::size_t bulk_read = 32 * 1024;
    static constexpr int bulk_reads_in_a_row = 4;
    static constexpr milliseconds quiet_after{1000};

    void wait()
    {
        const Connection* const watched = watch_ ? &to_ : nullptr;
        if (from_.wait_to_read(watched, quiet_after))
            return;
        large_buffer_.reset();
        pipe_.reset();
        give_back_unused_stack();
        from_.wait_to_read(watched);
    }

    std::optional<std::size_t> move_through_buffer(std::uint64_t limit)
    {
        if (more_is_likely_ && !large_buffer_)
            large_buffer_ = new_large_buffer();
        const std::span<char> buffer = large_buffer_
            ? std::span{large_buffer_.get(), large_buffer_size}
            : std::span{small_buffer_};
        const auto n = from_.read_now(buffer.first(static_cast<std::size_t>(
            std::min<std::uint64_t>(limit, buffer.size()))));
        if (n == limit && has_read_all_ != nullptr)
            *has_read_all_ = true;
        if (n && *n > 0)
            to_.write_all({{buffer.data(), *n}});
        if (n && *n > 0 && observe_)
            observe_({buffer.data(), *n});
        more_is_likely_ = n == buffer.size();
        take_pipe_if_bulk(n.value_or(0));
        return n;
    }

    void take_pipe_if_bulk(std::size_t read)
    {
        bulk_reads_ = read >= bulk_read ? bulk_reads_ + 1 : 0;
        if (bulk_reads_ == bulk_reads_in_a_row) {
            bulk_reads_ = 0;
            pipe_ = Pipe::open();
        }
    }

    Connection& from_;
    Connection& to_;
    bool watch_;
    std::atomic<bool>* has_read_all_;
    Observer observe_;
    bool more_is_likely_ = false;  // so that it need not be waited for
    int bulk_reads_ = 0;
    std::optional<Pipe> pipe_;
    std::unique_ptr<char[]> large_buffer_;
    std::array<char, small_buffer_size> small_buffer_;
};

std::uint64_t copy_length(Connection& from, Connection& to,
    std::uint64_t length, std::atomic<bool>* has_read_all,
    const Observer& observe)
{
    Stream stream{from, to, true, has_read_all, observe};
    std::uint64_t left = length;
    while (left > 0) {
        const std::size_t n = stream.move(left);
        if (n == 0)
            throw MessageError{Problem::cut_short,
                "the body ended " + std::to_string(left)
                    + " bytes short of its Content-Length"};
        left -= n;
    }
    return length;
}

void write_chunk(Connection& to, std::string_view data)
{
    std::array<char, 16> size{};
    const auto end
        = std::to_chars(size.begin(), size.end(), data.size(), 16).ptr;
    to.write_all({{size.data(), static_cast<std::size_t>(end - size.data())},
        "\r\n", data, "\r\n"});
}

std::uint64_t copy_chunked(Connection& from, Connection& to,
    Delimiting delimiting, std::atomic<bool>* has_read_all,
    const Observer& observe)
{
    const auto memory = new_large_buffer();
    const std::span buffer{memory.get(), large_buffer_size};
    ChunkedDecoder decoder;
    std::uint64_t size = 0;
    while (!decoder.finished()) {
        const std::size_t n = from.read_some(buffer, to);
        if (n == 0)
            throw MessageError{
                Problem::cut_short, "the body ended before its last chunk"};
        const auto [data, consumed] = decoder.decode({buffer.data(), n});
        from.unread({buffer.data() + consumed, n - consumed});
        if (decoder.finished() && has_read_all != nullptr)
            *has_read_all = true;
        if (data > 0 && delimiting == Delimiting::as_received)
            write_chunk(to, {buffer.data(), data});
        else if (data > 0)
            to.write_all({{buffer.data(), data}});
        if (data > 0 && observe)
            observe({buffer.data(), data});
        size += data;
    }
    if (delimiting == Delimiting::as_received)
        to.write_all({"0\r\n", to_string(decoder.trailer()), "\r\n"});
    return size;
}

std::uint64_t copy_all(
    Connection& from, Connection& to, bool watch, const Observer& observe)
{
    Stream stream{from, to, watch, nullptr, observe};
    std::uint64_t size = 0;
    while (const std::size_t n = stream.move(UINT64_MAX))
        size += n;
    return size;
}

}  // namespace

std::uint64_t copy_body(Connection& from, Connection& to, BodyFraming framing,
    Delimiting delimiting, std::atomic<bool>* has_read_all,
    const Observer& observe)
{
    switch (framing.kind) {
    case BodyFraming::Kind::length:
        return copy_length(from, to, framing.length, has_read_all, observe);
    case BodyFraming::Kind::chunked:
        return copy_chunked(from, to, delimiting, has_read_all, observe);
    case BodyFraming::Kind::until_close:
        return copy_all(from, to, true, observe);
    case BodyFraming::Kind::none:
        break;
    }
    if (has_read_all != nullptr)
        *has_read_all = true;
    return 0;
}

void copy_to_end(Connection& from, Connection& to, const Observer& observe)
{
    copy_all(from, to, false, observe);
}

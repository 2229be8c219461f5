// sink -- writes lines to a descriptor, in another thread.
//
// write(2) blocks while the reader of a pipe or of a terminal does not read (a
// paused pager, Ctrl-S).  A thread that serves a client must not wait for that:
// it appends its lines to a bounded queue, and the sink's own thread writes
// them.  What does not fit is dropped, and a line says how much that was.

#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>

/// What an event belongs to.
enum class LineKind { trace, log };

/// One descriptor, its queue and its thread.
class Sink {
public:
    /// Makes the line that says how many events of a kind were dropped.
    using FormatDropped = std::string (*)(LineKind kind, std::size_t events);

    /// Starts the thread, or throws system_error.  The first write that fails
    /// is told to `complaints`, which may be null.
    Sink(int descriptor, FormatDropped format_dropped, Sink* complaints);
    ~Sink() = delete;  // the thread may be blocked in write(2) for ever

    /// Queues an event: whole lines, which are written or dropped together.
    /// Never waits for the reader.
    void write(LineKind kind, std::string_view event) noexcept;

    /// Waits until everything is written; false if it is not by `deadline`.
    bool flush(std::chrono::steady_clock::time_point deadline);

private:
    /// What one kind has of the queue.
    struct Share {
        std::size_t capacity;
        std::size_t size = 0;  // bytes that are not written yet
        std::size_t dropped = 0;  // events
    };
    static constexpr std::size_t mebibyte = 1024 * 1024;

    Share& share_of(LineKind kind)
    {
        return kind == LineKind::trace ? trace_ : log_;
    }
    void queue(LineKind kind, std::string_view event) noexcept;
    void append(Share& share, std::string_view event);
    void append_dropped(LineKind kind) noexcept;
    void put(std::string_view bytes) noexcept;
    void run();

    std::mutex mutex_;  // for the next five
    std::condition_variable work_;
    std::condition_variable written_;
    std::string waiting_;  // events of both kinds, in their order
    // The trace is several times as long as the log, and so is dropped first.
    Share trace_{8 * mebibyte};
    Share log_{16 * mebibyte};

    const int descriptor_;
    const FormatDropped format_dropped_;
    Sink* complaints_;
    bool is_torn_ = false;  // the last write ended inside a line
};

/// Writes to the descriptor, waiting for its reader.  The number of bytes
/// written; errno tells why they are not all.
std::size_t write_all(int descriptor, std::string_view bytes) noexcept;

/// "forward_proxy: 5 log lines were dropped here: ..."
std::string format_dropped(LineKind kind, std::size_t events);

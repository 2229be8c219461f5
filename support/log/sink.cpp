#include "sink.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <system_error>
#include <thread>
#include <utility>

using namespace std::chrono_literals;

// --- The threads that have something to say ---------------------------------

Sink::Sink(int descriptor, FormatDropped format_dropped, Sink* complaints)
    : descriptor_{descriptor}, format_dropped_{format_dropped}, complaints_{
                                                                    complaints}
{
    std::thread{[this] { run(); }}.detach();
}

void Sink::write(LineKind kind, std::string_view event) noexcept
{
    {
        const std::lock_guard lock{mutex_};
        queue(kind, event);
    }
    work_.notify_one();
}

// Once an event was dropped, those of its kind are until a line has said so:
// that makes one long gap instead of many short ones.
void Sink::queue(LineKind kind, std::string_view event) noexcept
{
    Share& share = share_of(kind);
    try {
        if (share.dropped > 0 || share.size + event.size() > share.capacity)
            ++share.dropped;
        else
            append(share, event);
    } catch (const std::exception&) {
        ++share.dropped;  // there is no memory for it
    }
}

void Sink::append(Share& share, std::string_view event)
{
    waiting_.append(event);
    share.size += event.size();
}

bool Sink::flush(std::chrono::steady_clock::time_point deadline)
{
    std::unique_lock lock{mutex_};
    return written_.wait_until(
        lock, deadline, [this] { return trace_.size + log_.size == 0; });
}

// --- The thread that writes -------------------------------------------------

void Sink::run()
{
    // After a write the thread lets events gather.  To wake it for each of them
    // would cost a client's thread more than the write(2) that it is spared.
    constexpr auto gathering_time = 10ms;

    for (;; std::this_thread::sleep_for(gathering_time)) {
        std::unique_lock lock{mutex_};
        work_.wait(lock, [this] {
            return trace_.dropped + log_.dropped > 0 || !waiting_.empty();
        });
        const std::string bytes = std::exchange(waiting_, {});
        const std::size_t of_trace = trace_.size;
        lock.unlock();
        put(bytes);
        lock.lock();
        trace_.size -= of_trace;
        log_.size -= bytes.size() - of_trace;
        append_dropped(LineKind::trace);
        append_dropped(LineKind::log);
        written_.notify_all();
    }
}

// Says how many events of a kind were dropped, once those before are written.
void Sink::append_dropped(LineKind kind) noexcept
try {
    Share& share = share_of(kind);
    if (share.dropped > 0 && share.size == 0) {
        append(share, format_dropped_(kind, share.dropped));
        share.dropped = 0;
    }
} catch (const std::exception&) {
    // There is no memory for the line.  The next round tries again.
}

// After a failure the next write may succeed, when a full disk has room again.
void Sink::put(std::string_view bytes) noexcept
try {
    if (is_torn_)
        write_all(descriptor_, "\n");
    const std::size_t written = write_all(descriptor_, bytes);
    const int error = errno;
    if (written > 0)
        is_torn_ = bytes[written - 1] != '\n';
    if (written < bytes.size() && complaints_ != nullptr)
        std::exchange(complaints_, nullptr)
            ->write(LineKind::log,
                "forward_proxy: standard output: "
                    + std::generic_category().message(error)
                    + "; lines that cannot be written are lost\n");
} catch (const std::exception&) {
    // There is no memory for the complaint.
}

// A descriptor is as it was inherited: it may be non-blocking.
std::size_t write_all(int descriptor, std::string_view bytes) noexcept
{
    std::size_t written = 0;
    while (written < bytes.size()) {
        const ssize_t n = ::write(
            descriptor, bytes.data() + written, bytes.size() - written);
        if (n >= 0) {
            written += static_cast<std::size_t>(n);
        } else if (errno == EAGAIN) {
            pollfd waiting{descriptor, POLLOUT, 0};
            ::poll(&waiting, 1, -1);
        } else if (errno != EINTR) {
            break;
        }
    }
    return written;
}

std::string format_dropped(LineKind kind, std::size_t events)
{
    return "forward_proxy: " + std::to_string(events)
        + (kind == LineKind::log ? " log lines" : " steps of the trace")
        + " were dropped here: this output is read too slowly\n";
}

// idle_clock -- how long the two connections of an exchange may be silent.

#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>

/// Shared by both directions: a byte that moves in either one starts the time
/// anew.  Blocking calls return after a slice at the latest, and then only this
/// clock decides.  A splice() may block for two slices before it tells what it
/// moved in the first, so silence ends after the limit and at most four more.
/// Any thread may call any function.
class IdleClock {
public:
    using Clock = std::chrono::steady_clock;
    using milliseconds = std::chrono::milliseconds;

    /// `half_closed_limit` bounds the silence after one side's FIN.
    explicit IdleClock(milliseconds limit,
        milliseconds half_closed_limit = std::chrono::seconds{60},
        milliseconds longest_slice = std::chrono::seconds{15}) noexcept
        : limit_{limit}, half_closed_limit_{std::min(limit, half_closed_limit)},
          slice_{std::clamp(limit / 40, milliseconds{1}, longest_slice)}
    {
    }

    milliseconds limit() const noexcept { return limit_; }
    milliseconds slice() const noexcept { return slice_; }

    void bytes_moved() noexcept { last_ = Clock::now(); }
    void half_close() noexcept
    {
        half_closed_ = true;
        bytes_moved();
    }
    /// A new exchange begins: both directions are open again.
    void restart() noexcept
    {
        half_closed_ = false;
        bytes_moved();
    }

    bool is_half_closed() const noexcept { return half_closed_; }
    bool has_expired() const noexcept
    {
        return Clock::now() - last_.load()
            >= (half_closed_ ? half_closed_limit_ : limit_);
    }

private:
    const milliseconds limit_;
    const milliseconds half_closed_limit_;
    const milliseconds slice_;
    std::atomic<bool> half_closed_{false};
    std::atomic<Clock::time_point> last_{Clock::now()};
};

// process -- what the program asks of the system as a whole: signals, limits,
// and threads that are counted.

#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "socket.h"

/// Blocks SIGINT and SIGTERM in this thread and those it starts, ignores
/// SIGPIPE, raises the limit on descriptors, makes thread stacks small.
void prepare_process();

/// Waits for SIGINT or SIGTERM.  A second one then ends the program at once.
void wait_for_stop_signal();

/// Ends the program without waiting for its threads; what was written is kept.
[[noreturn]] void leave_threads_behind(int status);

/// Threads that nobody joins.  Detaching is safe because each owns what it
/// touches, or shares what outlives wait_until_none().
class DetachedThreads {
public:
    /// Throws system_error when the system has no thread to give.
    template <typename Run> void start(Run run)
    {
        begin();
        try {
            std::thread{[this,
                            owned = std::optional{std::move(run)}]() mutable {
                (*owned)();
                owned.reset();  // what it owns is gone before it counts as gone
                end();
            }}.detach();
        } catch (...) {
            end();
            throw;
        }
    }

    std::size_t count() const;
    bool wait_until_none(milliseconds patience) const;

private:
    void begin();
    void end();

    mutable std::mutex mutex_;
    mutable std::condition_variable ended_;
    std::size_t count_ = 0;
};

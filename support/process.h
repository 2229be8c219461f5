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
/// SIGPIPE, raises the limit on descriptors, makes thread stacks and the heap
/// small.
void prepare_process();

/// Returns to the system the memory of this thread's stack that was used once,
/// by the resolver say, and is not now.  Linux only.
void give_back_unused_stack() noexcept;

/// Waits for SIGINT or SIGTERM.  A second one then ends the program at once.
void wait_for_stop_signal();

/// Ends the program without waiting for its threads; what was written is kept.
[[noreturn]] void leave_threads_behind(int status);

/// Threads that nobody joins.  Detaching is safe because each owns what it
/// touches, or shares what outlives wait_until_none().  When a crowd of them
/// has gone, the memory that it used is given back to the system.
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
    std::size_t most_ = 0;  // since there was none
};

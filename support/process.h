// process -- what the program asks of the system as a whole: signals, limits,
// and threads that are counted.

#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

/// Opens /dev/null on those of the descriptors 0 to 2 that are closed.  To be
/// called before anything else is opened: a client's socket that became
/// descriptor 1 would be sent the log.  Throws system_error.
void open_standard_descriptors();

/// Blocks SIGINT and SIGTERM in this thread and those it starts, ignores
/// SIGPIPE, raises the limit on descriptors, makes thread stacks and the heap
/// small.
void prepare_process();

/// Waits for SIGINT or SIGTERM.  A second one then ends the program at once.
void wait_for_stop_signal();

/// Threads that are counted instead of joined.  Detaching them is safe because
/// each owns what it touches, or shares what lives as long as the process.
/// After a crowd of them, the memory that it used is given back to the system.
class ThreadGroup {
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
    void wait_until_none(std::chrono::milliseconds limit) const;

private:
    void begin();
    void end();

    mutable std::mutex mutex_;
    mutable std::condition_variable ended_;
    std::size_t count_ = 0;
    std::size_t most_ = 0;  // since there was none
};

#include "process.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>

namespace {

// The resolver is the greatest user of stack, and wants about 64 KiB; a copy
// buffer is 64 KiB.  The default of 8 MiB would make each new thread map and
// unmap its stack, because the C library keeps only so much for the next one.
[[maybe_unused]] constexpr std::size_t thread_stack_size = 256 * 1024;

sigset_t stop_signals()
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    return signals;
}

void raise_descriptor_limit()
{
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void make_thread_stacks_small()
{
#if defined(__linux__)                                                         \
    && !defined(__SANITIZE_THREAD__)  // whose own data is large
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, thread_stack_size);
    pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
#endif
}

}  // namespace

void prepare_process()
{
    const sigset_t signals = stop_signals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    make_thread_stacks_small();
}

void wait_for_stop_signal()
{
    const sigset_t signals = stop_signals();
    int received = 0;
    while (sigwait(&signals, &received) != 0) { }
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

void leave_threads_behind(int status)
{
    std::fflush(nullptr);
    std::_Exit(status);
}

void DetachedThreads::begin()
{
    const std::lock_guard lock{mutex_};
    ++count_;
}

// Notifies under the lock: once it is released, main() may destroy this object.
void DetachedThreads::end()
{
    const std::lock_guard lock{mutex_};
    --count_;
    ended_.notify_all();
}

std::size_t DetachedThreads::count() const
{
    const std::lock_guard lock{mutex_};
    return count_;
}

bool DetachedThreads::wait_until_none(milliseconds patience) const
{
    std::unique_lock lock{mutex_};
    return ended_.wait_for(lock, patience, [&] { return count_ == 0; });
}

#include "process.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace {

// The resolver is the greatest user of stack, and wants about 64 KiB.
[[maybe_unused]] constexpr std::size_t resolver_stack_size = 96 * 1024;

// The default of 8 MiB would make each new thread map and unmap its stack,
// because the C library keeps only so much for the next one.
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

// The C library would make eight arenas for each processor, for speed; here
// they would only hold what other threads have freed.  Large buffers are
// mapped, so that freeing one gives its memory back.
void keep_memory_small()
{
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX,
        std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN))));
    mallopt(M_MMAP_THRESHOLD, 64 * 1024);
#endif
}

// What the C library keeps, because something small lies above it.
void give_back_free_memory()
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

constexpr std::size_t crowd = 1000;  // threads, that use some MiB together

}  // namespace

void prepare_process()
{
    const sigset_t signals = stop_signals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    make_thread_stacks_small();
    keep_memory_small();
}

void give_back_unused_stack() noexcept
{
#ifdef __linux__
    // The stack grows downwards; madvise() itself still needs a little of it.
    constexpr std::uintptr_t in_use = 256;
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto end
        = (reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0))
              - in_use)
        / page * page;
    madvise(reinterpret_cast<void*>(end - resolver_stack_size),
        resolver_stack_size, MADV_DONTNEED);
#endif
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
    most_ = std::max(most_, count_);
}

// Notifies under the lock: once it is released, main() may destroy this object.
void DetachedThreads::end()
{
    const std::lock_guard lock{mutex_};
    --count_;
    if (count_ == 0 && most_ >= crowd)
        give_back_free_memory();
    if (count_ == 0)
        most_ = 0;
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

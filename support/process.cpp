#include "process.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace {

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

// The resolver's own default is 10 s for each name server that is silent.
void make_resolver_impatient()
{
    constexpr int keep = 0;  // what the user has set
    ::setenv("RES_OPTIONS", "timeout:2 attempts:2", keep);
}

void make_thread_stacks_small()
{
#ifndef __SANITIZE_THREAD__  // whose own data is large
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
    mallopt(M_ARENA_MAX, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
    mallopt(M_MMAP_THRESHOLD, 64 * 1024);
}

constexpr std::size_t crowd = 1000;  // threads, that use some MiB together

}  // namespace

// open() returns the lowest number that is free, which is `standard` as those
// below it are open.
void open_standard_descriptors()
{
    for (int standard = 0; standard <= 2; ++standard)
        if (::fcntl(standard, F_GETFD) == -1
            && ::open("/dev/null", O_RDWR) != standard)
            throw std::system_error{
                errno, std::generic_category(), "/dev/null"};
}

void prepare_process()
{
    const sigset_t signals = stop_signals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    make_resolver_impatient();
    make_thread_stacks_small();
    keep_memory_small();
}

void wait_for_stop_signal()
{
    const sigset_t signals = stop_signals();
    int received = 0;
    while (sigwait(&signals, &received) != 0) { }
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

void ThreadGroup::begin()
{
    const std::lock_guard lock{mutex_};
    ++count_;
    most_ = std::max(most_, count_);
}

void ThreadGroup::end()
{
    const std::lock_guard lock{mutex_};
    --count_;
    if (count_ == 0 && std::exchange(most_, 0) >= crowd)
        malloc_trim(0);  // what is kept because something small lies above it
    ended_.notify_all();
}

std::size_t ThreadGroup::count() const
{
    const std::lock_guard lock{mutex_};
    return count_;
}

void ThreadGroup::wait_until_none(std::chrono::milliseconds limit) const
{
    std::unique_lock lock{mutex_};
    ended_.wait_for(lock, limit, [&] { return count_ == 0; });
}

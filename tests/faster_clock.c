/* faster_clock -- makes time pass FASTER times as fast for the program that it is
 * preloaded into (LD_PRELOAD), so that limits of minutes are tested in seconds.
 * Only the monotonic clock is changed, and the waits that are measured by it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000LL

static long long factor;
static long long start; /* nanoseconds; both clocks agree then */

static long long from(const struct timespec* t) { return t->tv_sec * BILLION + t->tv_nsec; }

static struct timespec to(long long t)
{
    return (struct timespec){t / BILLION, t % BILLION};
}

__attribute__((constructor)) static void begin(void)
{
    struct timespec now;
    const char* text = getenv("FASTER");
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    start = from(&now);
    factor = text ? atoll(text) : 1;
}

int clock_gettime(clockid_t clock, struct timespec* t)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, t);
    if (!failed && clock == CLOCK_MONOTONIC && factor)
        *t = to(start + (from(t) - start) * factor);
    return failed;
}

int ppoll(struct pollfd* fds, nfds_t n, const struct timespec* timeout, const sigset_t* mask)
{
    struct timespec shorter;
    if (timeout)
        shorter = to(from(timeout) / factor);
    return (int)syscall(SYS_ppoll, fds, n, timeout ? &shorter : NULL, mask, 8);
}

int poll(struct pollfd* fds, nfds_t n, int timeout)
{
    struct timespec t = to(timeout * 1000000LL);
    return ppoll(fds, n, timeout < 0 ? NULL : &t, NULL);
}

int nanosleep(const struct timespec* t, struct timespec* left)
{
    struct timespec shorter = to(from(t) / factor);
    return (int)syscall(SYS_nanosleep, &shorter, left);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec* t, struct timespec* left)
{
    struct timespec sooner = flags ? to(start + (from(t) - start) / factor) : to(from(t) / factor);
    return (int)-syscall(SYS_clock_nanosleep, clock, flags, &sooner, left);
}

int setsockopt(int fd, int level, int name, const void* value, socklen_t size)
{
    struct timeval shorter;
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
        const struct timeval* t = value;
        long long us = (t->tv_sec * 1000000LL + t->tv_usec + factor - 1) / factor;
        shorter = (struct timeval){us / 1000000, us % 1000000};
        value = &shorter;
    }
    return (int)syscall(SYS_setsockopt, fd, level, name, value, size);
}

int pthread_cond_clockwait(
    pthread_cond_t* c, pthread_mutex_t* m, clockid_t clock, const struct timespec* until)
{
    int (*real)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const struct timespec*)
        = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    struct timespec sooner = to(start + (from(until) - start) / factor);
    return real(c, m, clock, clock == CLOCK_MONOTONIC ? &sooner : until);
}

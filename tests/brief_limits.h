// Limits on time that are short, on a machine that may be slow.

#pragma once

#include <signal.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "harness.h"

/// As the options of the proxy want a time.
inline std::string in_seconds(milliseconds time)
{
    return std::to_string(static_cast<double>(time.count()) / 1000);
}

/// A client whose first bytes are here when the proxy, which stands still until
/// then, accepts it: no limit can pass before.
inline TestSocket connect_and_send(Proxy& proxy, std::string_view bytes)
{
    struct StandsStill {
        explicit StandsStill(const Child& child) : child_{child}
        {
            child_.signal(SIGSTOP);
        }
        ~StandsStill() { child_.signal(SIGCONT); }
        const Child& child_;
    } const until_sent{proxy.child()};
    TestSocket client = proxy.connect();
    client.send(bytes);
    return client;
}

/// What `reach` returns, which must be done before a limit of the proxy passes.
/// An attempt that took as long as the limit says nothing, because the machine
/// was busy: the next has twice the limit.
template <typename Reach> auto within_limit(milliseconds limit, Reach reach)
{
    for (;; limit *= 2) {
        const auto start = Clock::now();
        const auto is_in_time = [&] { return Clock::now() - start < limit; };
        const bool is_last = limit > test_deadline / 4;
        try {
            auto reached = reach(limit);
            if (is_in_time())
                return reached;
            if (is_last)
                throw std::runtime_error{"not reached within any limit"};
        } catch (const std::exception&) {
            if (is_last || is_in_time())
                throw;
        }
    }
}

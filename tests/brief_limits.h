// Limits on time that are short, on a machine that may be slow.

#pragma once

#include <signal.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "harness.h"

/// As the options of the proxy want a time.
inline std::string seconds(milliseconds time)
{
    return std::to_string(static_cast<double>(time.count()) / 1000);
}

/// A client whose first bytes are here when the proxy, which stands still until
/// then, accepts it: no limit can pass before.
inline TestSocket connect_and_send(Proxy& proxy, std::string_view bytes)
{
    proxy.child().signal(SIGSTOP);
    TestSocket client = proxy.connect();
    client.send(bytes);
    proxy.child().signal(SIGCONT);
    return client;
}

/// What `reach` returns, which must be done before a limit of the proxy passes.
/// An attempt that took as long as the limit says nothing, because the machine
/// was busy: the next has twice the limit.
template <typename Reach> auto within_limit(milliseconds limit, Reach reach)
{
    for (; limit < test_deadline / 2; limit *= 2) {
        const auto start = Clock::now();
        try {
            auto reached = reach(limit);
            if (Clock::now() - start < limit)
                return reached;
        } catch (const std::exception&) {
            if (Clock::now() - start < limit)
                throw;
        }
    }
    throw std::runtime_error{"not reached within any limit"};
}

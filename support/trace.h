// trace -- the story of each connection, step by step, for a person who
// watches: --trace.
//
//     #12.1   4    3.1ms      P-->S  connected to 192.0.2.1:443
//
// Connection and exchange, the number of the step, milliseconds since the
// connection was accepted, who speaks to whom, and the rest in words.

#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "socket.h"

/// Client, proxy, origin server; "across" is what only passes through.
enum class Way {
    proxy,
    client_to_proxy,
    proxy_to_client,
    proxy_to_server,
    server_to_proxy,
    client_across,
    server_across,
};

struct TraceSettings {
    bool on = false;
    bool bodies = false;  ///< --show-bodies
    bool to_standard_error = false;  ///< where it does not break the log
};

/// For one connection of a client.  Its threads may all speak; a step is one
/// write, so that no two are mixed.
class Trace {
public:
    Trace(const TraceSettings& settings, std::uint64_t connection);

    /// Whether anybody listens: ask before making up words.
    explicit operator bool() const noexcept { return settings_.on; }
    bool shows_bodies() const noexcept { return settings_.bodies; }

    /// From now on the steps belong to the client's nth exchange, whose id
    /// this gives: "#12.3" is the third on the twelfth connection.
    const std::string& exchange_begins(int nth);

    /// Lines are broken at 100 columns, and what a terminal would obey is
    /// escaped.
    void step(Way way, std::string_view words);

    /// A line at the start of the program that explains the others.
    static void explain(const TraceSettings& settings);

private:
    TraceSettings settings_;
    std::uint64_t connection_;
    Clock::time_point accepted_ = Clock::now();
    std::mutex mutex_;  // for what follows, and to number steps as they appear
    std::string id_;
    int step_ = 0;
};

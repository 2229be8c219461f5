// exchange -- one request and what became of it, for the log.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "trace.h"

struct Exchange {
    using Clock = std::chrono::steady_clock;

    Exchange(Trace& events, const std::string& client_address, bool first)
        : trace{events}, id{events.next_exchange()}, client{client_address},
          is_first{first}
    {
    }

    Trace& trace;
    std::string id;  ///< "#12.3": the third exchange of the 12th connection
    std::string client;  ///< address
    bool is_first;  ///< on the client's connection
    /// Part of the request was there before the response to the one before.
    bool is_pipelined = false;
    std::string method;  ///< empty if the request could not be read
    std::string target;  ///< without a password: see http/message
    std::string server;  ///< address; empty if none was reached
    int status = 0;  ///< of the final response; 0 while none has begun
    std::uint64_t received = 0;  ///< bytes from the client, heads included
    std::uint64_t sent = 0;  ///< bytes to the client
    std::optional<Clock::duration> resolving;  ///< time to resolve the name
    std::optional<Clock::duration> connecting;
    std::optional<Clock::duration> first_byte;  ///< from start to the response
    Clock::time_point start = Clock::now();
    std::string ending;
    std::string diagnosis;  ///< "seen: ..." or "inferred: ..."; often empty
};

// event -- one thing that happened on a client's connection, as values.
//
// The trace prints an event's text, the live page draws its values.  No form
// parses another one.  Values become JSON here, those of the JSON log as well.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

enum class Side { client, proxy, server };

/// From whom to whom.  Client to server, or back, only passes through us.
struct Way {
    Side from = Side::proxy;
    Side to = Side::proxy;
    bool operator==(const Way&) const = default;
};

/// A field line that was removed or added, with the reason; or just received.
struct FieldChange {
    std::string name;
    std::string value;
    std::string reason;
};

/// A separate type because of libstdc++ 12: a variant of nothing but trivial
/// types, strings and vectors destroys what is not there when memory runs out
/// while it is copied (GCC bug 112591).
struct FieldChanges : std::vector<FieldChange> {
    using vector::vector;
};

/// A double is in milliseconds; monostate is a value that is not there.
using Value = std::variant<std::monostate, bool, std::uint64_t, double,
    std::string, std::vector<std::string>, FieldChanges>;

using Values = std::vector<std::pair<std::string_view, Value>>;

/// How much a reader has to see it.  What is only drawn is not in the trace.
enum class Weight { drawn, detail, story, failure };

/// Bytes that have gone through a connection's tunnel, so far.
struct Passed {
    std::atomic<std::uint64_t> to_server{0};
    std::atomic<std::uint64_t> to_client{0};
};

struct Event {
    std::string_view kind;  ///< "request", "connected", "fin": see trace.cpp
    Way way;
    /// Lines.  What came from the network in it is escaped already.
    std::string text;
    Weight weight = Weight::story;
    Values values{};

    // Set by Trace:
    std::uint64_t connection = 0;  ///< number of the client's connection
    int exchange = 0;  ///< 0 before the first one
    int step = 0;  ///< from 1 on each connection
    std::chrono::steady_clock::duration time{};  ///< since it was accepted
    const Passed* passed = nullptr;  ///< until the event "closed"
};

std::string_view name_of(Side side);  ///< "client"

/// With one decimal: "3.1".
std::string to_ms(std::chrono::steady_clock::duration time);

/// A JSON object with those members, on one line.
std::string to_json(const Values& values);

/// The members connection, exchange, step, ms, kind, from, to, weight and text,
/// then the event's values under their own names.
std::string to_json(const Event& event);

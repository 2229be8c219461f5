// story -- what the proxy says about its work: one line per exchange.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "connection.h"
#include "trace.h"

enum class LogFormat { text, json, off };

/// One request and what became of it.
struct Exchange {
    /// The nth exchange on the client's connection, which is about to begin.
    Exchange(const Connection& client, Trace& story, int nth);

    Trace& trace;
    std::string id;  ///< "#12.3": the third exchange of the 12th connection
    std::string client;  ///< address
    std::string method;  ///< empty if the request could not be read
    std::string target;
    std::string server;  ///< address; empty if none was reached
    int status = 0;  ///< of the final response; 0 while none has begun
    std::uint64_t received = 0;  ///< bytes from the client, heads included
    std::uint64_t sent = 0;  ///< bytes to the client
    ConnectTimes times;
    std::optional<Clock::duration> first_byte;  ///< from start to the response
    Clock::time_point start;
    std::string ending;  ///< in words
    std::string verdict;  ///< "seen: ..." or "inferred: ..."; often empty
};

/// Both give a whole line; a missing value is "-" in text, null in JSON.
std::string to_text_line(const Exchange& exchange);
std::string to_json_line(const Exchange& exchange);

/// The last step of an exchange's trace.
std::string end_in_words(const Exchange& exchange);

/// Takes the byte counts from the client's connection, then ends the trace and
/// writes the line to standard output, in one piece however many threads log.
/// Says nothing of a persistent connection that ended between two requests.
void log_exchange(
    LogFormat format, Exchange& exchange, const Connection& client);

/// Says a sentence of the program's own, "forward_proxy listening on ...".
void announce(const std::string& sentence);

/// A sentence on standard error: the program itself has a problem.
void complain(const std::string& sentence);

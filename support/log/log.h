// log -- what the program writes: a line per exchange, messages about itself,
// the trace.  No function waits for the reader of the output.

#pragma once

#include <functional>
#include <string_view>

#include "access_log.h"
#include "exchange.h"

/// Starts the threads that write.
void start_log(LogFormat format);

/// The listener that prints events for --trace: to standard output, or to
/// standard error where a JSON log needs the other.
std::function<void(const Event&)> trace_printer();

/// Ends the trace of an exchange and writes its line.  Needs start_log(), as
/// trace_printer() does; the others do not.
void log_exchange(const Exchange& exchange);

/// A sentence to standard output.
void log_info(std::string_view sentence) noexcept;

/// A sentence to standard error: the program itself has a problem.
void log_error(std::string_view sentence) noexcept;

/// The same for a limit that was reached: once in 5 s at most.
void log_limit(std::string_view sentence) noexcept;

/// Waits until all of it is written, for a second at most; false if it is not.
bool finish_log();

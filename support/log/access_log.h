// access_log -- one line per exchange, as text or JSON.

#pragma once

#include <string>

#include "exchange.h"

enum class LogFormat { text, json, off };

/// Now, in UTC to the millisecond: "2026-01-31T23:59:59.999Z".
std::string time_of_day();

/// Both give a whole line; a missing value is "-" in text, null in JSON.
std::string to_text_line(const Exchange& exchange);
std::string to_json_line(const Exchange& exchange);

/// How it ended, and how much passed, for the trace.
std::string summary(const Exchange& exchange);

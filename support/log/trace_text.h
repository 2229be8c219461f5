// trace_text -- events as lines for a person who watches: --trace.
//
//     #12.1   4    3.1ms      P-->S  connected to 192.0.2.1:443
//
// Connection and exchange, the number of the step, milliseconds since the
// connection was accepted, who speaks to whom, and what happened.

#pragma once

#include <cstddef>
#include <string>

#include "event.h"

/// What the lines are written to.
struct Terminal {
    std::size_t columns = 100;
    bool has_colors = false;
};

/// The terminal of a descriptor, with its own width.  Without one, or with
/// NO_COLOR set, there are no colors (no-color.org).
Terminal terminal_of(int descriptor);

std::string format_event(const Event& event, const Terminal& terminal);

/// The line that explains the others.
constexpr const char* trace_legend
    = "C is the client, P this proxy, S the origin server; --> is a "
      "message, ==> passes through.\n";

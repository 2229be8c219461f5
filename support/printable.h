// printable -- text from strangers, made fit for a terminal.
//
// A terminal obeys control characters, so one that is shown a hostile field
// value could be made to clear its screen, or to type.  Here they become \x1b
// and the like; so do bytes that are no UTF-8, and the marks that turn the
// direction of writing.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

/// Well-formed UTF-8 without anything that a terminal would obey.
std::string printable(std::string_view text);

/// Whether it is UTF-8 without NUL bytes; it may have control characters.
bool is_text(std::string_view bytes);

/// How many bytes at the end begin a character that is not complete, 0 to 3.
std::size_t unfinished(std::string_view bytes);

/// Printable lines of at most that many columns, broken at spaces if possible;
/// a line feed breaks as well.  What continues a line is indented by two more.
std::vector<std::string> wrap(std::string_view text, std::size_t columns);

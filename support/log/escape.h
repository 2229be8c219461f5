// escape -- makes untrusted text fit for a terminal, the log and JSON.
//
// A terminal obeys control characters: a hostile field value could clear its
// screen or reverse the order of its letters.  So three things are escaped:
// controls (C0, DEL, C1, line separators), characters that change the direction
// of writing, and bytes that are not UTF-8 (RFC 3629).  All other UTF-8 passes.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

/// For text: each byte of what has to be escaped becomes "\xNN".
std::string escaped(std::string_view text);

/// The same, but line feeds stay, and each line begins with the margin.
std::string escaped_lines(std::string_view text, std::string_view margin);

/// For JSON, with the quotation marks (RFC 8259 §7): a control or direction
/// character becomes "\u00NN" or "\uNNNN".  JSON has no escape for a byte that
/// is not UTF-8: it becomes the text "\xNN", whose backslash JSON doubles.
std::string quoted(std::string_view text);

/// Whether it is UTF-8 without NUL bytes; it may have control characters.
bool is_text(std::string_view bytes);

/// How many bytes at the end begin a character that is not complete, 0 to 3.
std::size_t unfinished(std::string_view bytes);

/// Escaped lines of at most that many columns, broken at spaces if possible;
/// a line feed breaks as well.  What continues a line begins like it, with its
/// spaces and its mark "|", and is indented by six more.
std::vector<std::string> wrap(std::string_view text, std::size_t columns);

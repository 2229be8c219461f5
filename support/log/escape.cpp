#include "escape.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>

namespace {

struct Character {
    std::string_view bytes;  // one byte if they are not well-formed
    char32_t code = 0;
    bool well_formed = false;
};

bool is_continuation(char c)
{
    return (static_cast<std::uint8_t>(c) & 0xc0) == 0x80;
}

// How long a character is that starts so; 0 if none does (RFC 3629 §4).
std::size_t length_announced(char c)
{
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte < 0x80)
        return 1;
    if (byte >= 0xc2 && byte < 0xe0)
        return 2;
    if (byte >= 0xe0 && byte < 0xf0)
        return 3;
    return byte >= 0xf0 && byte < 0xf5 ? 4 : 0;
}

// The bits of a character whose bytes are all there; RFC 3629 §3 forbids longer
// forms than needed and surrogates.
Character decode(std::string_view bytes)
{
    constexpr std::array<std::uint8_t, 5> mask{0, 0x7f, 0x1f, 0x0f, 0x07};
    constexpr std::array<char32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
    const std::size_t n = bytes.size();
    char32_t code = static_cast<std::uint8_t>(bytes[0]) & mask[n];
    for (const char c : bytes.substr(1)) {
        if (!is_continuation(c))
            return {bytes.substr(0, 1)};
        code = code << 6 | (static_cast<std::uint8_t>(c) & 0x3f);
    }
    if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return {bytes.substr(0, 1)};
    return {bytes, code, true};
}

Character front(std::string_view text)
{
    const std::size_t n = length_announced(text.front());
    if (n == 0 || n > text.size())
        return {text.substr(0, 1)};
    return decode(text.substr(0, n));
}

// C0 and C1 controls, DEL, line separators, and the marks of direction of
// Unicode's bidirectional algorithm.  All of them are below U+10000.
bool is_control_or_bidi(char32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c
        || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e)
        || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

bool may_pass(const Character& c)
{
    return c.well_formed && !is_control_or_bidi(c.code);
}

std::string formatted(const char* format, unsigned number)
{
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), format, number);
    return text.data();
}

void append_escaped(std::string& result, const Character& character)
{
    if (may_pass(character)) {
        result += character.bytes;
        return;
    }
    for (const char c : character.bytes)
        result += formatted("\\x%02x", static_cast<std::uint8_t>(c));
}

void append_json(std::string& result, const Character& c)
{
    if (c.code == '"' || c.code == '\\')
        result += '\\';
    if (may_pass(c))
        result += c.bytes;
    else if (c.well_formed)
        result += formatted("\\u%04x", static_cast<unsigned>(c.code));
    else
        result += formatted(
            "\\\\x%02x", static_cast<std::uint8_t>(c.bytes.front()));
}

// The length of what begins the text and is escaped nowhere: ASCII, most often
// all of it, which need not be decoded.
std::size_t plain_prefix(std::string_view text)
{
    const auto end = std::find_if(text.begin(), text.end(),
        [](char c) { return c < ' ' || c > '~' || c == '"' || c == '\\'; });
    return static_cast<std::size_t>(end - text.begin());
}

template <typename Append>
std::string each_character(std::string_view text, Append append)
{
    std::string result;
    result.reserve(text.size() + 2);
    for (;;) {
        const std::size_t plain = plain_prefix(text);
        result += text.substr(0, plain);
        text.remove_prefix(plain);
        if (text.empty())
            return result;
        const Character character = front(text);
        append(result, character);
        text.remove_prefix(character.bytes.size());
    }
}

// Chinese, Japanese, Korean and pictures take two columns.
std::size_t columns_of(char32_t c)
{
    const bool is_wide = (c >= 0x1100 && c < 0x1160)
        || (c >= 0x2e80 && c < 0xa4d0) || (c >= 0xac00 && c < 0xd7a4)
        || (c >= 0xf900 && c < 0xfb00) || (c >= 0xfe30 && c < 0xfe70)
        || (c >= 0xff00 && c < 0xff61) || (c >= 0xffe0 && c < 0xffe7)
        || (c >= 0x1f300 && c < 0x1faff) || (c >= 0x20000 && c < 0x40000);
    return is_wide ? 2 : 1;
}

// How many bytes of a printable line fit, at least one character.
std::size_t bytes_that_fit(std::string_view line, std::size_t columns)
{
    std::size_t used = 0;
    std::size_t size = 0;
    while (size < line.size()) {
        const Character next = front(line.substr(size));
        used += columns_of(next.code);
        if (used > columns && size > 0)
            break;
        size += next.bytes.size();
    }
    return size;
}

// More than any line of ours is indented: what follows a break in a long field
// value must not look like the next field line.
constexpr std::size_t continuation_indent = 6;

void wrap_line(std::string_view line, std::size_t columns,
    std::vector<std::string>& result)
{
    const std::size_t first = line.find_first_not_of(" |");
    std::string margin{line.substr(
        0, first == std::string_view::npos ? 0 : std::min(first, columns / 2))};
    line.remove_prefix(margin.size());
    const std::string next_margin
        = (margin + std::string(continuation_indent, ' '))
              .substr(0, columns / 2);
    do {
        std::size_t n = bytes_that_fit(line, columns - margin.size());
        if (n < line.size())
            if (const auto space = line.rfind(' ', n);
                space != std::string_view::npos && space > 0)
                n = space;
        result.push_back(margin + std::string{line.substr(0, n)});
        line.remove_prefix(n);
        line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
        margin = next_margin;
    } while (!line.empty());
}

}  // namespace

std::string escaped(std::string_view text)
{
    return each_character(text, append_escaped);
}

std::string quoted(std::string_view text)
{
    return '"' + each_character(text, append_json) + '"';
}

std::string escaped_lines(std::string_view text, std::string_view margin)
{
    std::string result;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        if (line.ends_with('\r'))
            line.remove_suffix(1);
        result.append(result.empty() ? "" : "\n").append(margin);
        result += escaped(line);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return result;
}

bool is_text(std::string_view bytes)
{
    while (!bytes.empty()) {
        const Character character = front(bytes);
        if (!character.well_formed || character.code == 0)
            return false;
        bytes.remove_prefix(character.bytes.size());
    }
    return true;
}

std::size_t unfinished(std::string_view bytes)
{
    for (std::size_t n = 1; n <= 3 && n <= bytes.size(); ++n) {
        const char c = bytes[bytes.size() - n];
        if (!is_continuation(c))
            return length_announced(c) > n ? n : 0;
    }
    return 0;
}

std::vector<std::string> wrap(std::string_view text, std::size_t columns)
{
    std::vector<std::string> result;
    for (;;) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        wrap_line(escaped(text.substr(0, end)), columns, result);
        if (end == text.size())
            return result;
        text.remove_prefix(end + 1);
    }
}

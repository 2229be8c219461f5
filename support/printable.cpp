#include "printable.h"

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

// C0 and C1 controls, DEL, line separators, and marks of direction.
bool is_obeyed(char32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c
        || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e)
        || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

void append_printable(std::string& result, const Character& character)
{
    if (character.well_formed && !is_obeyed(character.code)) {
        result += character.bytes;
        return;
    }
    for (const char c : character.bytes) {
        std::array<char, 8> escaped{};
        std::snprintf(escaped.data(), escaped.size(), "\\x%02x",
            static_cast<unsigned>(static_cast<std::uint8_t>(c)));
        result += escaped.data();
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

void wrap_line(std::string_view line, std::size_t columns,
    std::vector<std::string>& result)
{
    const std::size_t first = line.find_first_not_of(' ');
    const std::string indent(
        first == std::string_view::npos ? 0 : std::min(first, columns / 2),
        ' ');
    line.remove_prefix(indent.size());
    std::string margin = indent;
    do {
        std::size_t n = bytes_that_fit(line, columns - margin.size());
        if (n < line.size())
            if (const auto space = line.rfind(' ', n);
                space != std::string_view::npos && space > 0)
                n = space;
        result.push_back(margin + std::string{line.substr(0, n)});
        line.remove_prefix(n);
        line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
        margin = indent + "  ";
    } while (!line.empty());
}

}  // namespace

std::string printable(std::string_view text)
{
    std::string result;
    result.reserve(text.size());
    while (!text.empty()) {
        const Character character = front(text);
        append_printable(result, character);
        text.remove_prefix(character.bytes.size());
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
        wrap_line(printable(text.substr(0, end)), columns, result);
        if (end == text.size())
            return result;
        text.remove_prefix(end + 1);
    }
}

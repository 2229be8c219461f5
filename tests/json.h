// Reads the JSON log as strictly as its readers might (RFC 8259).

#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

/// The members of a flat object on one line: strings without their escapes,
/// numbers and null as they are written.  Throws runtime_error if the line is
/// not JSON, not UTF-8, or holds a control, C1 or direction character.
class JsonLine {
public:
    explicit JsonLine(std::string_view line) : left_{line}
    {
        check_characters(line);
        expect("{");
        do {
            const std::string name = string();
            expect(":");
            members_[name] = left_.starts_with('"') ? string() : other();
        } while (accept(","));
        expect("}");
        if (!left_.empty())
            fail("something after the object");
    }

    const std::string& operator[](const std::string& name) const
    {
        return members_.at(name);
    }
    bool has(const std::string& name) const { return members_.count(name) > 0; }

private:
    [[noreturn]] void fail(const std::string& what) const
    {
        throw std::runtime_error{what + " at: " + std::string{left_}};
    }

    static void check_characters(std::string_view line)
    {
        for (std::size_t i = 0; i < line.size();) {
            const auto byte = static_cast<std::uint8_t>(line[i]);
            const std::size_t n = byte < 0x80 ? 1
                : byte < 0xe0                 ? 2
                : byte < 0xf0                 ? 3
                                              : 4;
            std::uint32_t code = n == 1 ? byte : byte & (0x7fU >> n);
            for (std::size_t k = 1; k < n; ++k) {
                const auto next = static_cast<std::uint8_t>(
                    i + k < line.size() ? line[i + k] : '\0');
                if ((next & 0xc0) != 0x80)
                    throw std::runtime_error{"a character is cut short"};
                code = code << 6 | (next & 0x3fU);
            }
            constexpr std::uint32_t least[]{0, 0, 0x80, 0x800, 0x10000};
            if (code < least[n] || (code >= 0xd800 && code < 0xe000)
                || code > 0x10ffff || (byte & 0xc0) == 0x80)
                throw std::runtime_error{"bytes that are not UTF-8"};
            if (code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c
                || code == 0x200e || code == 0x200f
                || (code >= 0x2028 && code <= 0x202e)
                || (code >= 0x2066 && code <= 0x2069))
                throw std::runtime_error{"a control or direction character"};
            i += n;
        }
    }

    bool accept(std::string_view text)
    {
        if (!left_.starts_with(text))
            return false;
        left_.remove_prefix(text.size());
        return true;
    }
    void expect(std::string_view text)
    {
        if (!accept(text))
            fail("not " + std::string{text});
    }
    char next()
    {
        if (left_.empty())
            fail("the line ends early");
        const char c = left_.front();
        left_.remove_prefix(1);
        return c;
    }

    // \uNNNN of a character below U+0800 becomes UTF-8, others stay as
    // "\uNNNN".
    std::string unicode()
    {
        const std::string digits{left_.substr(0, 4)};
        if (digits.size() < 4
            || digits.find_first_not_of("0123456789abcdefABCDEF")
                != std::string::npos)
            fail("not four hexadecimal digits");
        left_.remove_prefix(4);
        const unsigned long code = std::stoul(digits, nullptr, 16);
        if (code < 0x80)
            return {static_cast<char>(code)};
        if (code < 0x800)
            return {static_cast<char>(0xc0 | code >> 6),
                static_cast<char>(0x80 | (code & 0x3f))};
        return "\\u" + digits;
    }

    std::string string()
    {
        expect("\"");
        std::string text;
        for (char c = next(); c != '"'; c = next()) {
            if (c != '\\')
                text += c;
            else if (const char escape = next(); escape == 'u')
                text += unicode();
            else if (escape == '"' || escape == '\\')
                text += escape;
            else
                fail("an unknown escape");
        }
        return text;
    }

    std::string other()
    {
        const std::string text{left_.substr(0, left_.find_first_of(",}"))};
        left_.remove_prefix(text.size());
        if (text != "null"
            && (text.empty()
                || text.find_first_not_of("-.0123456789") != std::string::npos))
            fail("neither a number nor null");
        return text;
    }

    std::string_view left_;
    std::map<std::string, std::string> members_;
};

// fuzz -- what the fuzz targets share: a claim that must hold, random splits,
// and readers of HTTP that are naive on purpose.
//
// A naive reader takes what it gets, as many a server behind a proxy does. What
// our own strict parser accepts, it must understand in the same way: else a
// request could be smuggled past one of the two (RFC 9112 §11.2).

#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/http_message.h"

inline void claim(bool holds, const char* what)
{
    if (holds)
        return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
}

/// The text cut into pieces, whose sizes come from its own first byte.
inline std::vector<std::string_view> pieces_of(
    std::string_view text, unsigned char seed)
{
    std::vector<std::string_view> pieces;
    unsigned state = seed;
    while (!text.empty()) {
        state = state * 1103515245 + 12345;
        const std::size_t n
            = std::min<std::size_t>(text.size(), 1 + (state >> 16) % 7);
        pieces.push_back(text.substr(0, n));
        text.remove_prefix(n);
    }
    return pieces;
}

/// What a call gives, or that it throws: its problem, as a number.
template <typename Result> struct Outcome {
    std::optional<Result> result;
    int problem = -1;
};

template <typename Call> auto attempt(Call call)
{
    Outcome<decltype(call())> outcome;
    try {
        outcome.result = call();
    } catch (const MessageError& error) {
        outcome.problem = static_cast<int>(error.problem);
    }
    return outcome;
}

/// The end of the head: found at once, and found piece by piece.
inline std::optional<std::size_t> end_of_head(
    std::string_view text, unsigned char seed)
{
    const auto at_once = attempt([&] { return HeadScanner{}.find_end(text); });
    const auto in_pieces = attempt([&]() -> std::optional<std::size_t> {
        HeadScanner scanner;
        std::size_t size = 0;
        for (const std::string_view piece : pieces_of(text, seed)) {
            size += piece.size();
            if (const auto end = scanner.find_end(text.substr(0, size)))
                return end;
        }
        return std::nullopt;
    });
    claim(at_once.result == in_pieces.result
            && at_once.problem == in_pieces.problem,
        "a head ends at the same place however it is cut");
    return at_once.result.value_or(std::nullopt);
}

/// The head at the front of a fuzzer's input, whose first byte says how to cut
/// it; nothing if there is none.
inline std::optional<std::string_view> head_in(
    const std::uint8_t* data, std::size_t size)
{
    if (size < 1)
        return std::nullopt;
    const std::string_view text{
        reinterpret_cast<const char*>(data) + 1, size - 1};
    const auto end = end_of_head(text, data[0]);
    if (!end)
        return std::nullopt;
    return text.substr(0, *end);
}

struct NaiveHead {
    std::vector<std::string> first_line;  // its words
    std::vector<std::pair<std::string, std::string>> fields;
};

inline std::string naive_trim(std::string text)
{
    const auto is_space = [](unsigned char c) { return std::isspace(c) != 0; };
    text.erase(
        text.begin(), std::find_if_not(text.begin(), text.end(), is_space));
    while (!text.empty() && is_space(static_cast<unsigned char>(text.back())))
        text.pop_back();
    return text;
}

/// Any CR or LF ends a line, any white space separates words, and a field ends
/// at the first colon.
inline NaiveHead naive_head(std::string_view text)
{
    NaiveHead head;
    std::string line;
    bool first = true;
    for (const char c : text) {
        if (c != '\r' && c != '\n') {
            line += c;
            continue;
        }
        if (!line.empty() && first) {
            for (std::size_t at = 0; at < line.size();) {
                const std::size_t end
                    = std::min(line.find(' ', at), line.size());
                head.first_line.push_back(line.substr(at, end - at));
                at = end + 1;
            }
            first = false;
        } else if (!line.empty()) {
            const std::size_t colon = std::min(line.find(':'), line.size());
            head.fields.emplace_back(naive_trim(line.substr(0, colon)),
                colon == line.size() ? "" : naive_trim(line.substr(colon + 1)));
        }
        line.clear();
    }
    return head;
}

/// Values of all fields with that name, for one who takes all but letters and
/// digits for a hyphen.
inline std::vector<std::string> naive_values(
    const NaiveHead& head, const std::string& wanted)
{
    std::vector<std::string> values;
    for (const auto& [name, value] : head.fields) {
        std::string hyphens;
        for (const char c : name)
            hyphens += std::isalnum(static_cast<unsigned char>(c)) == 0
                ? '-'
                : static_cast<char>(
                    std::tolower(static_cast<unsigned char>(c)));
        if (hyphens == wanted)
            values.push_back(value);
    }
    return values;
}

inline void claim_same_fields(const Fields& ours, const NaiveHead& theirs)
{
    claim(ours.size() == theirs.fields.size(), "as many field lines");
    for (std::size_t i = 0; i < ours.size(); ++i)
        claim(ours[i].name == theirs.fields[i].first
                && ours[i].value == theirs.fields[i].second,
            "the same field lines");
}

/// Where a naive reader would look for the end of the body.
inline void claim_same_framing(const BodyFraming& ours, const NaiveHead& theirs)
{
    const auto lengths = naive_values(theirs, "content-length");
    const auto codings = naive_values(theirs, "transfer-encoding");
    switch (ours.kind) {
    case BodyFraming::Kind::length:
        claim(codings.empty() && !lengths.empty(), "a length alone");
        for (const std::string& length : lengths)
            claim(std::strtoull(length.c_str(), nullptr, 0) == ours.length
                    || length.front() == '0',
                "the same length");
        return;
    case BodyFraming::Kind::chunked:
        claim(lengths.empty() && !codings.empty(), "chunks alone");
        return;
    case BodyFraming::Kind::none:
    case BodyFraming::Kind::until_close:
        return;
    }
}

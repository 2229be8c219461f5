// fuzz -- what the fuzz targets share: a claim that must hold, random splits,
// and readers of HTTP that are naive on purpose.
//
// A naive reader refuses nothing, as many origin servers do. It must read each
// message that our strict parser accepts in the same way, or a request could be
// smuggled past one of the two (RFC 9112 §11.2).

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

#include "support/http/framing.h"
#include "support/http/message.h"

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

/// What a call gives, or the what() of the MessageError that it throws.
template <typename Result> struct Outcome {
    std::optional<Result> result;
    std::string problem;
    const ErrorKind* kind = nullptr;
};

template <typename Call> auto attempt(Call call)
{
    Outcome<decltype(call())> outcome;
    try {
        outcome.result = call();
    } catch (const MessageError& error) {
        outcome.problem = error.what();
        outcome.kind = &error.kind();
    }
    return outcome;
}

/// The end of the head; nothing if there is none.  Throws MessageError.
inline std::optional<std::size_t> end_of_head(std::string_view text)
{
    std::size_t end = 0;
    for (HeadLines lines;;) {
        const std::string_view rest = text.substr(end);
        const std::string_view line
            = rest.substr(0, std::min(rest.find('\n'), lines.limit() - 1) + 1);
        if (line.empty() && (end == 0 || text == "\r\n"))
            return std::nullopt;
        if (end == 0)
            check_first_bytes(line);
        end += line.size();
        if (lines.add(line))
            return end;
    }
}

/// The head at the front of a fuzzer's input, after its first byte; nothing if
/// there is none.
inline std::optional<std::string_view> head_in(
    const std::uint8_t* data, std::size_t size)
{
    if (size < 1)
        return std::nullopt;
    const std::string_view text{
        reinterpret_cast<const char*>(data) + 1, size - 1};
    const auto end = attempt([&] { return end_of_head(text); });
    if (!end.result || !*end.result)
        return std::nullopt;
    return text.substr(0, **end.result);
}

inline std::string lower(std::string_view text)
{
    std::string result;
    for (const char c : text)
        result
            += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return result;
}

inline bool is_one_of(
    std::string_view name, const std::vector<std::string>& names)
{
    return std::find(names.begin(), names.end(), lower(name)) != names.end();
}

/// What is for one connection only (RFC 9110 §7.6.1).
inline const std::vector<std::string> hop_by_hop{"connection",
    "proxy-connection", "keep-alive", "te", "upgrade", "trailer",
    "proxy-authorization", "proxy-authenticate", "proxy-authentication-info"};

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

/// Values of all fields with that name, for a reader that takes each character
/// but letters and digits for a hyphen.
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

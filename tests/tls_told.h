// What a reader of TLS tells about the bytes of one direction.

#pragma once

#include <algorithm>

#include "catch.h"
#include "support/log/tls.h"

namespace tls_told {

using tls::Message;
using tls::Reader;
using Names = std::vector<std::string>;
using Messages = std::vector<Message>;

// What a reader shows, and has seen at the end.
struct Told {
    Messages messages;
    tls::Seen seen;
    bool done = false;

    bool operator==(const Told& other) const
    {
        return std::equal(messages.begin(), messages.end(),
                   other.messages.begin(), other.messages.end(),
                   [](const Message& a, const Message& b) {
                       return a.text == b.text
                           && to_json(a.values) == to_json(b.values);
                   })
            && seen == other.seen && done == other.done;
    }
};

inline Told told_of(
    const std::vector<std::string_view>& pieces, bool decodes = true)
{
    Told told;
    Reader::Show show;
    if (decodes)
        show = [&](Message message) {
            told.messages.push_back(std::move(message));
        };
    Reader reader{show};
    for (const std::string_view piece : pieces)
        reader.read(piece);
    told.seen = reader.seen();
    told.done = reader.is_done();
    return told;
}

// The messages of one whole direction.
inline Messages messages_in(const std::string& bytes)
{
    return told_of({bytes}).messages;
}

inline bool has(const Message& message, const char* name)
{
    return std::any_of(message.values.begin(), message.values.end(),
        [&](const auto& value) { return value.first == name; });
}

template <typename Type> Type value(const Message& message, const char* name)
{
    for (const auto& [key, value] : message.values)
        if (key == name)
            return std::get<Type>(value);
    FAIL("no " << name << " in " << message.text);
    return {};
}

inline std::string text(const Message& message, const char* name)
{
    return value<std::string>(message, name);
}

inline Names names(const Message& message, const char* name)
{
    return value<Names>(message, name);
}

// The one of that kind.
inline Message only(const Messages& messages, const std::string& kind)
{
    Messages found;
    for (const Message& message : messages)
        if (text(message, "tls") == kind)
            found.push_back(message);
    REQUIRE(found.size() == 1);
    return found[0];
}

}  // namespace tls_told

#include "event.h"

#include <array>
#include <cstdio>

#include "escape.h"

namespace {

std::string with_one_decimal(double number)
{
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f", number);
    return text.data();
}

double milliseconds_in(std::chrono::steady_clock::duration time)
{
    return std::chrono::duration<double, std::milli>(time).count();
}

std::string_view name_of(Weight weight)
{
    return weight == Weight::drawn ? "drawn"
        : weight == Weight::detail ? "detail"
        : weight == Weight::story  ? "story"
                                   : "failure";
}

// --- JSON: RFC 8259 ---------------------------------------------------------

struct ToJson {
    std::string operator()(std::monostate) const { return "null"; }
    std::string operator()(bool value) const
    {
        return value ? "true" : "false";
    }
    std::string operator()(std::uint64_t n) const { return std::to_string(n); }
    std::string operator()(double n) const { return with_one_decimal(n); }
    std::string operator()(const std::string& text) const
    {
        return quoted(text);
    }
    std::string operator()(const FieldChange& change) const
    {
        return "{\"name\":" + quoted(change.name)
            + ",\"value\":" + quoted(change.value)
            + ",\"reason\":" + quoted(change.reason) + "}";
    }
    template <typename Item>
    std::string operator()(const std::vector<Item>& items) const
    {
        std::string array = "[";
        for (const Item& item : items)
            array.append(array.size() > 1 ? "," : "").append((*this)(item));
        return array + "]";
    }
};

void append_members(std::string& object, const Values& values)
{
    for (const auto& [name, value] : values)
        object.append(object.size() > 1 ? "," : "")
            .append(quoted(name) + ":" + std::visit(ToJson{}, value));
}

}  // namespace

std::string_view name_of(Side side)
{
    return side == Side::client ? "client"
        : side == Side::proxy   ? "proxy"
                                : "server";
}

std::string to_ms(std::chrono::steady_clock::duration time)
{
    return with_one_decimal(milliseconds_in(time));
}

std::string to_json(const Values& values)
{
    std::string object = "{";
    append_members(object, values);
    return object + "}";
}

std::string to_json(const Event& event)
{
    std::string object = "{";
    append_members(object,
        {{"connection", event.connection},
            {"exchange", static_cast<std::uint64_t>(event.exchange)},
            {"step", static_cast<std::uint64_t>(event.step)},
            {"ms", milliseconds_in(event.time)},
            {"kind", std::string{event.kind}},
            {"from", std::string{name_of(event.way.from)}},
            {"to", std::string{name_of(event.way.to)}},
            {"weight", std::string{name_of(event.weight)}},
            {"text", event.text}});
    append_members(object, event.values);
    return object + "}";
}

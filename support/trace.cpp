#include "trace.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "output.h"
#include "printable.h"

namespace {

constexpr std::size_t screen = 100;  // columns

struct Look {
    const char* arrow;
    const char* color;  // of the one who speaks
};

Look look_of(Way way)
{
    constexpr const char* client = "\x1b[36m";  // cyan
    constexpr const char* server = "\x1b[33m";  // yellow
    constexpr const char* proxy = "\x1b[32m";  // green
    switch (way) {
    case Way::proxy:
        return {"    P    ", proxy};
    case Way::client_to_proxy:
        return {"C-->P    ", client};
    case Way::proxy_to_client:
        return {"C<--P    ", proxy};
    case Way::proxy_to_server:
        return {"    P-->S", proxy};
    case Way::server_to_proxy:
        return {"    P<--S", server};
    case Way::client_across:
        return {"C======>S", client};
    case Way::server_across:
        return {"C<======S", server};
    }
    return {"", ""};
}

// See no-color.org.
bool may_color(std::FILE* stream)
{
    const auto is_set = [](const char* variable, std::string_view unless) {
        const char* const value = std::getenv(variable);
        return value != nullptr && value != unless;
    };
    return !is_set("NO_COLOR", "") && is_set("TERM", "dumb")
        && ::isatty(::fileno(stream)) != 0;
}

std::FILE* stream_of(const TraceSettings& settings)
{
    return settings.to_standard_error ? stderr : stdout;
}

std::string prefix(const std::string& id, int step, Clock::duration time)
{
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%-6s %3d %7sms  ", id.c_str(),
        step, in_ms(time).c_str());
    return text.data();
}

}  // namespace

Trace::Trace(const TraceSettings& settings, std::uint64_t connection)
    : settings_{settings},
      connection_{connection}, id_{"#" + std::to_string(connection)}
{
}

const std::string& Trace::exchange_begins(int nth)
{
    const std::scoped_lock lock{mutex_};
    id_ = "#" + std::to_string(connection_) + "." + std::to_string(nth);
    return id_;
}

void Trace::step(Way way, std::string_view words)
{
    if (!settings_.on)
        return;
    static const bool color = may_color(stream_of(settings_));
    const Look look = look_of(way);
    const std::scoped_lock lock{mutex_};
    std::string margin = prefix(id_, ++step_, Clock::now() - accepted_);
    const std::size_t used = margin.size() + 9 + 2;
    std::string arrow = look.arrow;
    std::string block;
    for (const std::string& line : wrap(words, screen - used)) {
        block.append(margin).append(color ? look.color : "").append(arrow);
        block.append("  ").append(line).append(color ? "\x1b[0m\n" : "\n");
        // What goes on names its connection, and nothing else again.
        margin.replace(id_.size(), std::string::npos,
            std::string(margin.size() - id_.size(), ' '));
        arrow.assign(arrow.size(), ' ');
    }
    write_to(stream_of(settings_), block);
}

void Trace::explain(const TraceSettings& settings)
{
    if (settings.on)
        write_to(stream_of(settings),
            "C is the client, P this proxy, S the origin server; --> is a "
            "message, ==> passes through.\n");
}

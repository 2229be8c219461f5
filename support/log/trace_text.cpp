#include "trace_text.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "escape.h"

namespace {

constexpr const char* arrow_of(Way way)
{
    if (way == Way{Side::client, Side::proxy})
        return "C-->P    ";
    if (way == Way{Side::proxy, Side::client})
        return "C<--P    ";
    if (way == Way{Side::proxy, Side::server})
        return "    P-->S";
    if (way == Way{Side::server, Side::proxy})
        return "    P<--S";
    if (way == Way{Side::client, Side::server})
        return "C======>S";
    if (way == Way{Side::server, Side::client})
        return "C<======S";
    return "    P    ";
}

// Failures are red; everything else has the color of the one who speaks.
constexpr const char* color_of(const Event& event)
{
    if (event.weight == Weight::failure)
        return "\x1b[1;31m";
    return event.way.from == Side::client ? "\x1b[36m"
        : event.way.from == Side::server  ? "\x1b[33m"
                                          : "\x1b[32m";
}

// "#12.3", or "#12" before the first exchange.
std::string id_of(const Event& event)
{
    return "#" + std::to_string(event.connection)
        + (event.exchange == 0 ? "" : "." + std::to_string(event.exchange));
}

bool is_set(const char* variable, std::string_view unless)
{
    const char* const value = std::getenv(variable);
    return value != nullptr && value != unless;
}

}  // namespace

Terminal terminal_of(int descriptor)
{
    if (::isatty(descriptor) == 0)
        return {};
    constexpr unsigned narrowest = 60;
    winsize size{};
    Terminal terminal;
    if (::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col >= narrowest)
        terminal.columns = size.ws_col;
    terminal.has_colors = !is_set("NO_COLOR", "") && is_set("TERM", "dumb");
    return terminal;
}

// Every line names its connection; only the first has number, time and arrow.
std::string format_event(const Event& event, const Terminal& terminal)
{
    const std::string id = id_of(event);
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%-6s %3d %7sms  ", id.c_str(),
        event.step, to_ms(event.time).c_str());
    std::string margin = text.data();
    std::string arrow = arrow_of(event.way);
    const std::size_t used = margin.size() + arrow.size() + 2;
    std::string block;
    for (const std::string& line : wrap(event.text, terminal.columns - used)) {
        block.append(margin)
            .append(terminal.has_colors ? color_of(event) : "")
            .append(arrow)
            .append("  ")
            .append(line)
            .append(terminal.has_colors ? "\x1b[0m\n" : "\n");
        margin.replace(id.size(), std::string::npos,
            std::string(margin.size() - id.size(), ' '));
        arrow.assign(arrow.size(), ' ');
    }
    return block;
}

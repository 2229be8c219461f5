#include "access_log.h"

#include <array>
#include <cstdio>
#include <ctime>

#include "escape.h"

namespace {

using namespace std::chrono;
using Time = std::optional<Exchange::Clock::duration>;

std::string ms_or_dash(const Time& time)
{
    return time ? to_ms(*time) : "-";
}

Value ms_or_null(const Time& time)
{
    return time ? Value{duration<double, std::milli>(*time).count()} : Value{};
}

}  // namespace

std::string time_of_day()
{
    const auto now = system_clock::now();
    const std::time_t seconds = system_clock::to_time_t(now);
    const auto ms
        = duration_cast<milliseconds>(now.time_since_epoch()).count() % 1000;
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    std::array<char, 32> date{};
    std::strftime(date.data(), date.size(), "%FT%T", &utc);
    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), "%s.%03dZ", date.data(),
        static_cast<int>(ms));
    return text.data();
}

std::string to_text_line(const Exchange& e)
{
    const std::string request
        = e.method.empty() ? "-" : quoted(e.method + " " + e.target);
    return time_of_day() + " " + e.id + " " + e.client + " " + request + " "
        + (e.server.empty() ? "-" : e.server) + " "
        + (e.status == 0 ? "-" : std::to_string(e.status))
        + " up=" + std::to_string(e.received)
        + " down=" + std::to_string(e.sent) + " dns=" + ms_or_dash(e.resolving)
        + " connect=" + ms_or_dash(e.connecting)
        + " first=" + ms_or_dash(e.first_byte) + " total="
        + to_ms(Exchange::Clock::now() - e.start) + "ms " + escaped(e.ending)
        + (e.diagnosis.empty() ? "" : " -> " + escaped(e.diagnosis)) + "\n";
}

std::string to_json_line(const Exchange& e)
{
    const auto or_null = [](const std::string& text) {
        return text.empty() ? Value{} : Value{text};
    };
    return to_json({{"time", time_of_day()}, {"id", e.id}, {"client", e.client},
               {"method", or_null(e.method)}, {"target", or_null(e.target)},
               {"server", or_null(e.server)},
               {"status",
                   e.status == 0 ? Value{}
                                 : Value{static_cast<std::uint64_t>(e.status)}},
               {"up", e.received}, {"down", e.sent},
               {"dns_ms", ms_or_null(e.resolving)},
               {"connect_ms", ms_or_null(e.connecting)},
               {"first_byte_ms", ms_or_null(e.first_byte)},
               {"total_ms", ms_or_null(Exchange::Clock::now() - e.start)},
               {"ending", e.ending}, {"verdict", or_null(e.diagnosis)}})
        + "\n";
}

std::string summary(const Exchange& e)
{
    return escaped(e.ending) + "\n  " + std::to_string(e.received)
        + " bytes from the client, " + std::to_string(e.sent) + " to it, "
        + to_ms(Exchange::Clock::now() - e.start) + " ms";
}

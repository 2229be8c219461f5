#include "story.h"

#include <array>
#include <cstdio>
#include <ctime>

#include "output.h"
#include "printable.h"

namespace {

using namespace std::chrono;

// UTC, to the millisecond: 2026-01-31T23:59:59.999Z
std::string time_of_day(system_clock::time_point now)
{
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

// As in_ms(), "-" or "null" if there is none.
std::string to_ms(std::optional<Clock::duration> time, const char* none)
{
    return time ? in_ms(*time) : none;
}

std::string quoted(const std::string& text)
{
    std::string result{"\""};
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        std::array<char, 8> escaped{};
        if (byte < 0x20 || byte == 0x7f)
            std::snprintf(escaped.data(), escaped.size(), "\\u%04x",
                static_cast<unsigned>(byte));
        else if (c == '"' || c == '\\')
            escaped = {'\\', c};
        else
            escaped = {c};
        result += escaped.data();
    }
    return result + '"';
}

}  // namespace

std::string to_text_line(const Exchange& e)
{
    const std::string request
        = e.method.empty() ? "-" : quoted(e.method + " " + e.target);
    return time_of_day(system_clock::now()) + " " + e.id + " " + e.client + " "
        + request + " " + (e.server.empty() ? "-" : e.server) + " "
        + (e.status == 0 ? "-" : std::to_string(e.status)) + " up="
        + std::to_string(e.received) + " down=" + std::to_string(e.sent)
        + " dns=" + to_ms(e.times.resolving, "-") + " connect="
        + to_ms(e.times.connecting, "-") + " first=" + to_ms(e.first_byte, "-")
        + " total=" + in_ms(Clock::now() - e.start) + "ms "
        + printable(e.ending) + (e.verdict.empty() ? "" : " -> " + e.verdict)
        + "\n";
}

std::string to_json_line(const Exchange& e)
{
    const auto or_null = [](const std::string& text) {
        return text.empty() ? "null" : quoted(text);
    };
    return "{\"time\":" + quoted(time_of_day(system_clock::now()))
        + ",\"id\":" + quoted(e.id) + ",\"client\":" + quoted(e.client)
        + ",\"method\":" + or_null(e.method) + ",\"target\":"
        + or_null(e.target) + ",\"server\":" + or_null(e.server)
        + ",\"status\":" + (e.status == 0 ? "null" : std::to_string(e.status))
        + ",\"up\":" + std::to_string(e.received)
        + ",\"down\":" + std::to_string(e.sent)
        + ",\"dns_ms\":" + to_ms(e.times.resolving, "null")
        + ",\"connect_ms\":" + to_ms(e.times.connecting, "null")
        + ",\"first_byte_ms\":" + to_ms(e.first_byte, "null") + ",\"total_ms\":"
        + in_ms(Clock::now() - e.start) + ",\"ending\":" + quoted(e.ending)
        + ",\"verdict\":" + or_null(e.verdict) + "}\n";
}

std::string end_in_words(const Exchange& e)
{
    return "ended: " + e.ending + "\n  " + std::to_string(e.received)
        + " bytes from the client, " + std::to_string(e.sent) + " to it, "
        + in_ms(Clock::now() - e.start) + " ms";
}

Exchange::Exchange(const Connection& connected, Trace& story, int nth)
    : trace{story}, id{story.exchange_begins(nth)}, client{connected.address()},
      received{connected.bytes_read()}, sent{connected.bytes_written()},
      start{Clock::now()}
{
}

void log_exchange(
    LogFormat format, Exchange& exchange, const Connection& client)
{
    const bool is_first = exchange.received == 0;
    exchange.received = client.bytes_read() - exchange.received;
    exchange.sent = client.bytes_written() - exchange.sent;
    if (exchange.received == 0 && !is_first)
        return;
    if (exchange.trace)
        exchange.trace.step(Way::proxy, end_in_words(exchange));
    if (!exchange.verdict.empty())
        exchange.trace.step(Way::proxy, "verdict, " + exchange.verdict);
    if (format == LogFormat::text)
        write_to(stdout, to_text_line(exchange));
    else if (format == LogFormat::json)
        write_to(stdout, to_json_line(exchange));
}

void announce(const std::string& sentence)
{
    write_to(stdout, sentence + "\n");
}

void complain(const std::string& sentence)
{
    write_to(stderr, "forward_proxy: " + sentence + "\n");
}

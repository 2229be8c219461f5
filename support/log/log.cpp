#include "log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>

#include "sink.h"
#include "trace_text.h"

namespace {

using namespace std::chrono_literals;

LogFormat log_format = LogFormat::text;
Sink* output = nullptr;
Sink* errors = nullptr;

// Before start_log() a sentence is written at once, which may block.
void say(Sink* sink, int descriptor, const char* speaker,
    std::string_view sentence) noexcept
try {
    const std::string line = speaker + std::string{sentence} + "\n";
    if (sink != nullptr)
        sink->write(LineKind::log, line);
    else
        write_all(descriptor, line);
} catch (const std::exception&) {
    // There is no memory for the sentence.
}

bool is_same_file(int one, int other)
{
    struct stat a { };
    struct stat b { };
    return ::fstat(one, &a) == 0 && ::fstat(other, &b) == 0
        && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// The trace is never JSON, and its gaps are not either.
std::string format_dropped_json(LineKind kind, std::size_t events)
{
    if (kind == LineKind::trace)
        return format_dropped(kind, events);
    return to_json({{"time", time_of_day()},
               {"dropped_log_lines", std::uint64_t{events}}})
        + "\n";
}

}  // namespace

// If both are the same file they share a sink, so that their lines keep their
// order.
void start_log(LogFormat format)
{
    log_format = format;
    const auto dropped
        = format == LogFormat::json ? format_dropped_json : format_dropped;
    const bool is_one = is_same_file(STDOUT_FILENO, STDERR_FILENO);
    errors
        = new Sink{STDERR_FILENO, is_one ? dropped : format_dropped, nullptr};
    output = is_one ? errors : new Sink{STDOUT_FILENO, dropped, errors};
}

std::function<void(const Event&)> trace_printer()
{
    const bool is_json = log_format == LogFormat::json;
    Sink* const sink = is_json ? errors : output;
    sink->write(LineKind::trace, trace_legend);
    return
        [sink, terminal = terminal_of(is_json ? STDERR_FILENO : STDOUT_FILENO)](
            const Event& event) {
            if (event.weight != Weight::drawn)
                sink->write(LineKind::trace, format_event(event, terminal));
        };
}

void log_exchange(const Exchange& exchange)
{
    exchange.trace.ended(exchange);
    if (log_format == LogFormat::text)
        output->write(LineKind::log, to_text_line(exchange));
    else if (log_format == LogFormat::json)
        output->write(LineKind::log, to_json_line(exchange));
}

void log_info(std::string_view sentence) noexcept
{
    say(output, STDOUT_FILENO, "", sentence);
}

void log_error(std::string_view sentence) noexcept
{
    say(errors, STDERR_FILENO, "forward_proxy: ", sentence);
}

void log_limit(std::string_view sentence) noexcept
{
    using Clock = std::chrono::steady_clock;
    static std::atomic<Clock::time_point> next{};
    auto earliest = next.load();
    const auto now = Clock::now();
    if (now >= earliest && next.compare_exchange_strong(earliest, now + 5s))
        log_error(sentence);
}

bool finish_log()
{
    const auto deadline = std::chrono::steady_clock::now() + 1000ms;
    bool is_written = true;
    for (Sink* const sink : {output, errors})
        is_written = (sink == nullptr || sink->flush(deadline)) && is_written;
    return is_written;
}

#include "support/log/access_log.h"

#include "catch.h"

namespace {

Exchange some_exchange()
{
    static const TraceSettings nobody_listens;
    static Trace trace{nobody_listens, 12};
    Exchange exchange{trace, "192.0.2.1:50000", true};
    exchange.id = "#12.3";
    exchange.method = "GET";
    exchange.target = "http://h/";
    exchange.server = "192.0.2.2:80";
    exchange.status = 200;
    exchange.received = 70;
    exchange.sent = 1500;
    exchange.resolving = std::chrono::microseconds{1250};
    exchange.connecting = std::chrono::milliseconds{20};
    exchange.first_byte = std::chrono::milliseconds{31};
    exchange.ending = "complete";
    return exchange;
}

// The line without its first field, the time, which differs.
std::string after_time(const std::string& line)
{
    return line.substr(line.find("Z") + 1);
}

// The total time is the one number that differs.
std::string without_total(std::string line, const std::string& name)
{
    const std::size_t start = line.find(name) + name.size();
    return line.erase(
        start, line.find_first_not_of("0123456789.", start) - start);
}

}  // namespace

TEST_CASE("a log line has all of an exchange", "[access_log]")
{
    CHECK(after_time(without_total(to_text_line(some_exchange()), "total="))
        == " #12.3 192.0.2.1:50000 \"GET http://h/\" 192.0.2.2:80 200"
           " up=70 down=1500 dns=1.2 connect=20.0 first=31.0 total=ms"
           " complete\n");
    CHECK(after_time(
              without_total(to_json_line(some_exchange()), "\"total_ms\":"))
        == "\",\"id\":\"#12.3\",\"client\":\"192.0.2.1:50000\""
           ",\"method\":\"GET\",\"target\":\"http://h/\""
           ",\"server\":\"192.0.2.2:80\",\"status\":200,\"up\":70"
           ",\"down\":1500,\"dns_ms\":1.2,\"connect_ms\":20.0"
           ",\"first_byte_ms\":31.0,\"total_ms\":"
           ",\"ending\":\"complete\",\"verdict\":null}\n");
}

TEST_CASE("a verdict is the end of the line", "[access_log]")
{
    Exchange exchange = some_exchange();
    exchange.diagnosis = "seen: the server refused";
    CHECK_THAT(to_text_line(exchange),
        ContainsSubstring("ms complete -> seen: the server refused\n"));
    CHECK_THAT(to_json_line(exchange),
        ContainsSubstring(",\"verdict\":\"seen: the server refused\"}\n"));
}

TEST_CASE("what an exchange does not have is a dash, or null", "[access_log]")
{
    Exchange exchange = some_exchange();
    exchange.method.clear();
    exchange.target.clear();
    exchange.server.clear();
    exchange.status = 0;
    exchange.resolving.reset();
    CHECK_THAT(to_text_line(exchange),
        ContainsSubstring(" - - - up=70 down=1500 dns=- "));
    CHECK_THAT(to_json_line(exchange),
        ContainsSubstring("\"method\":null,\"target\":null,\"server\":null,"
                          "\"status\":null,"));
}

// A log that a request could break in two would say whatever a client wants.
TEST_CASE("a log line stays one line", "[access_log]")
{
    Exchange exchange = some_exchange();
    exchange.target = "a\"b\\c\nd\x1b[31m";
    for (const std::string& line :
        {to_text_line(exchange), to_json_line(exchange)}) {
        CHECK_THAT(line, ContainsSubstring(R"(a\"b\\c\u000ad\u001b[31m)"));
        CHECK(line.find('\n') == line.size() - 1);
    }
}

// Every cause of failure, provoked for real, as a user of curl -v sees it.

#include <sys/socket.h>

#include <set>

#include "brief_limits.h"
#include "catch.h"
#include "harness.h"
#include "support/http/error.h"

namespace {

using Strings = std::vector<std::string>;

void close_after_head(TestSocket server)
{
    server.read_head();
}

void reset_after_head(TestSocket server)
{
    server.read_head();
    server.reset_on_close();
}

void answer_nonsense(TestSocket server)
{
    server.read_head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello");
    server.finish_sending();
    server.read_to_end();
}

void announce_for_ever(TestSocket server)
{
    server.read_head();
    try {
        for (;;)
            server.send("HTTP/1.1 103 Early Hints\r\n\r\n");
    } catch (const std::system_error&) {
    }  // the proxy has closed
}

void begin_to_answer(TestSocket server)
{
    server.read_head();
    server.send("HTTP/1.1 200 O");
    server.read_to_end();
}

void say_nothing(TestSocket server)
{
    server.read_to_end();
}

// Accepts no connection that is not in its queue already.
class FullOrigin {
public:
    FullOrigin()
    {
        ::listen(origin_.socket().descriptor(), 0);
        try {
            for (int i = 0; i < 10; ++i)
                waiting_.push_back(dial_test("127.0.0.1", origin_.port(),
                    i == 0 ? test_deadline : milliseconds{200}));
        } catch (const ConnectError&) {
            return;
        }
        throw std::runtime_error{"the queue does not fill"};
    }
    std::string url() const { return origin_.url(); }

private:
    Origin origin_;
    std::vector<NamedSocket> waiting_;
};

// The URL of a port on which nothing listens, until this process ends.
std::string unused_url()
{
    static const ReservedPort port;
    return port.url();
}

// A cause, and how to come by it; the origin server serves in each row that has
// something for it to do.
struct Row {
    ErrorKind cause;
    Strings proxy;
    Strings curl;  // the last word is a URL; "" is the origin's
    void (*serve)(TestSocket) = nullptr;
};

const std::string long_word(20'000, 'x');

std::vector<Row> plain_rows()
{
    const std::string head = "-H";
    std::vector<Row> rows{
        {error::malformed_request, {}, {head, "Content-Length: 1, 2", ""}},
        {error::not_for_a_proxy, {}, {"--request-target", "/x", ""}},
        {error::use_connect, {}, {"--request-target", "https://h/", ""}},
        {error::credentials_missing, {"--user", "a:b"}, {""}},
        {error::credentials_wrong, {"--user", "a:b"}, {"-U", "a:c", ""}},
        {error::client_not_allowed, {"--allow", "192.0.2.0/24"}, {""}},
        {error::target_too_long, {}, {"http://h/" + long_word}},
        {error::coding_not_supported, {},
            {head, "Transfer-Encoding: gzip, chunked", "-d", "x", ""}},
        {error::name_not_resolved, {}, {"http://no-such-host.invalid/"}},
        {error::connection_refused, {}, {unused_url()}},
        {error::server_closed, {}, {""}, close_after_head},
        {error::server_reset, {}, {""}, reset_after_head},
        {error::server_timeout, {"--idle-timeout", "0.3"}, {""}, say_nothing},
        {error::response_head_timeout, {"--head-timeout", "3"}, {""},
            begin_to_answer},  // a limit for curl's request, too
        {error::malformed_response, {}, {""}, answer_nonsense},
        {error::interim_flood, {}, {""}, announce_for_ever},
    };
    Strings many_fields;
    for (int i = 0; i < 200; ++i)
        many_fields.insert(
            many_fields.end(), {head, "X: " + std::to_string(i)});
    many_fields.emplace_back("");
    rows.push_back({error::head_too_large, {}, many_fields});
    return rows;
}

std::vector<Row> connect_rows()
{
    return {
        {error::credentials_missing, {"--user", "a:b"}, {""}},
        {error::credentials_wrong, {"--user", "a:b"}, {"-U", "a:c", ""}},
        {error::client_not_allowed, {"--allow", "192.0.2.0/24"}, {""}},
        {error::port_not_allowed, {"--connect-ports", "443,8443"}, {""}},
        {error::name_not_resolved, {}, {"http://no-such-host.invalid/"}},
        {error::connection_refused, {}, {unused_url()}},
    };
}

std::string curl(const Proxy& proxy, Strings arguments, const Origin& origin)
{
    if (arguments.back().empty())
        arguments.back() = origin.url();
    arguments.insert(arguments.begin(),
        {"curl", "-sv", "--max-time", "20", "-x", proxy.authority()});
    return run(arguments).output;
}

void check_told(
    ErrorKind cause, const std::string& output, const std::string& log_line)
{

    CAPTURE(output, log_line);
    CHECK_THAT(output,
        ContainsSubstring("< HTTP/1.1 " + std::to_string(cause.status) + " "
            + std::string{cause.reason} + "\r\n"));
    if (!cause.error_type.empty())
        CHECK_THAT(output,
            ContainsSubstring("< Proxy-Status: forward_proxy; error="
                + std::string{cause.error_type} + "\r\n"));
    CHECK_THAT(
        log_line, ContainsSubstring(" " + std::to_string(cause.status) + " "));
    CHECK_THAT(
        log_line, ContainsSubstring(" " + std::string{cause.reason} + ": "));
}

void check(const Row& row, const Strings& curl_options)
{
    Proxy proxy{row.proxy};
    const Origin origin;
    std::unique_ptr<Background> server;
    if (row.serve != nullptr)
        server
            = std::make_unique<Background>([&] { row.serve(origin.accept()); });
    Strings arguments = curl_options;
    arguments.insert(arguments.end(), row.curl.begin(), row.curl.end());
    const std::string output = curl(proxy, arguments, origin);
    check_told(row.cause, output, proxy.wait_for_log("#1."));
    if (server)
        server->join();
    if (row.cause.reason == error::server_reset.reason
        || row.cause.reason == error::server_timeout.reason
        || row.cause.reason == error::response_head_timeout.reason)
        CHECK_THAT(output, ContainsSubstring("\n" + origin.authority() + ": "));
    if (curl_options.empty())
        CHECK_THAT(output, ContainsSubstring(std::string{row.cause.advice}));
}

}  // namespace

TEST_CASE("curl shows why a plain request failed", "[causes]")
{
    for (const Row& row : plain_rows())
        check(row, {});
}

// --proxytunnel: CONNECT, whatever the scheme is.
TEST_CASE("curl shows why a CONNECT failed", "[causes]")
{
    for (const Row& row : connect_rows())
        check(row, {"-p"});
}

TEST_CASE("curl shows that a host does not answer", "[causes]")
{
    Proxy proxy{{"--connect-timeout", "0.3"}};
    const FullOrigin full;
    const std::string tunnel = GENERATE("-p", "-4");  // or not
    const std::string output = curl(proxy, {tunnel, full.url()}, Origin{});
    check_told(error::connect_timeout, output, proxy.wait_for_log("#1."));
}

TEST_CASE("curl shows that there is no room", "[causes]")
{
    Proxy proxy{{"--max-clients", "1"}};
    const Tunnel tunnel{proxy};
    const std::string output = curl(proxy, {"-p", ""}, Origin{});
    CHECK_THAT(output, ContainsSubstring("< HTTP/1.1 503 Too Many Clients"));
}

TEST_CASE("curl shows that two proxies send requests in a circle", "[causes]")
{
    Proxy proxy;
    const Origin origin;
    TestSocket client = proxy.connect();
    client.send("GET " + origin.url() + " HTTP/1.1\r\nHost: h\r\n\r\n");
    const auto via = field_lines(origin.accept().read_head(), "Via");
    REQUIRE(via.size() == 1);
    const std::string output = curl(proxy, {"-H", via.front(), ""}, origin);
    check_told(error::loop, output, proxy.wait_for_log("#2."));
}

TEST_CASE("curl shows that it asked the proxy for the proxy", "[causes]")
{
    Proxy proxy;
    const std::string itself = "http://" + proxy.authority() + "/x";
    const std::string output = curl(proxy, {"-p", itself}, Origin{});
    check_told(error::loop, output, proxy.wait_for_log("#1."));
}

TEST_CASE("what curl cannot send is told as well", "[causes]")
{
    Proxy proxy{{"--head-timeout", "0.3"}};
    std::string bytes;
    std::string status;
    SECTION("another version")
    {
        bytes = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        status = "HTTP/1.1 505 HTTP Version Not Supported";
    }
    SECTION("a TLS hello")
    {
        bytes = {"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", 10};
        status = "HTTP/1.1 400 TLS Sent To The Plain Port";
    }
    SECTION("half a head")
    {
        bytes = "GET http://h/ HT";
        status = "HTTP/1.1 408 Request Head Timeout";
    }
    TestSocket client = connect_and_send(proxy, bytes);
    CHECK(first_line(client.read_head()) == status);
}

// Every cause of failure, provoked for real, as a user of curl -v sees it.

#include <sys/socket.h>

#include <set>

#include "catch.h"
#include "harness.h"
#include "support/failure.h"

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
                waiting_.push_back(connect_to(
                    {"127.0.0.1", origin_.port()}, milliseconds{200}));
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

std::string nobody()
{
    return Origin{}.url();
}

// A cause, and how to come by it; the origin server serves in each row that has
// something for it to do.
struct Row {
    Cause cause;
    Strings proxy;
    Strings curl;  // the last word is a URL; "" is the origin's
    void (*serve)(TestSocket) = nullptr;
};

const std::string long_word(20'000, 'x');

std::vector<Row> plain_rows()
{
    const std::string head = "-H";
    std::vector<Row> rows{
        {Cause::malformed_request, {}, {head, "Content-Length: 1, 2", ""}},
        {Cause::not_for_a_proxy, {}, {"--request-target", "/x", ""}},
        {Cause::use_connect, {}, {"--request-target", "https://h/", ""}},
        {Cause::credentials_missing, {"--user", "a:b"}, {""}},
        {Cause::credentials_wrong, {"--user", "a:b"}, {"-U", "a:c", ""}},
        {Cause::client_not_allowed, {"--allow", "192.0.2.0/24"}, {""}},
        {Cause::target_too_long, {}, {"http://h/" + long_word}},
        {Cause::coding_not_supported, {},
            {head, "Transfer-Encoding: gzip, chunked", "-d", "x", ""}},
        {Cause::name_not_resolved, {}, {"http://no-such-host.invalid/"}},
        {Cause::connection_refused, {}, {nobody()}},
        {Cause::server_closed, {}, {""}, close_after_head},
        {Cause::server_reset, {}, {""}, reset_after_head},
        {Cause::server_timeout, {"--idle-timeout", "0.3"}, {""}, say_nothing},
        {Cause::malformed_response, {}, {""}, answer_nonsense},
    };
    Strings many_fields;
    for (int i = 0; i < 200; ++i)
        many_fields.insert(
            many_fields.end(), {head, "X: " + std::to_string(i)});
    many_fields.emplace_back("");
    rows.push_back({Cause::head_too_large, {}, many_fields});
    return rows;
}

std::vector<Row> connect_rows()
{
    return {
        {Cause::credentials_missing, {"--user", "a:b"}, {""}},
        {Cause::credentials_wrong, {"--user", "a:b"}, {"-U", "a:c", ""}},
        {Cause::client_not_allowed, {"--allow", "192.0.2.0/24"}, {""}},
        {Cause::port_not_allowed, {"--connect-ports", "443,8443"}, {""}},
        {Cause::name_not_resolved, {}, {"http://no-such-host.invalid/"}},
        {Cause::connection_refused, {}, {nobody()}},
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
    Cause cause, const std::string& output, const std::string& log_line)
{
    const CauseText& text = describe(cause);
    CAPTURE(output, log_line);
    CHECK_THAT(output,
        ContainsSubstring("< HTTP/1.1 " + std::to_string(text.status) + " "
            + std::string{text.reason} + "\r\n"));
    if (!text.error_type.empty())
        CHECK_THAT(output,
            ContainsSubstring("< Proxy-Status: forward_proxy; error="
                + std::string{text.error_type} + "\r\n"));
    CHECK_THAT(
        log_line, ContainsSubstring(" " + std::to_string(text.status) + " "));
    CHECK_THAT(
        log_line, ContainsSubstring(" " + std::string{text.reason} + ": "));
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
    if (row.cause == Cause::server_reset || row.cause == Cause::server_timeout)
        CHECK_THAT(output, ContainsSubstring("\n" + origin.authority() + ": "));
    if (curl_options.empty())
        CHECK_THAT(
            output, ContainsSubstring(std::string{describe(row.cause).advice}));
}

}  // namespace

TEST_CASE("curl shows why a plain request failed", "[causes]")
{
    for (const Row& row : plain_rows())
        check(row, {});
}

// --proxytunnel: CONNECT, whatever the scheme is.
TEST_CASE("curl shows why a CONNECT failed", "[causes][P17]")
{
    for (const Row& row : connect_rows())
        check(row, {"-p"});
}

TEST_CASE("curl shows that a host does not answer", "[causes][P50]")
{
    Proxy proxy{{"--connect-timeout", "0.3"}};
    const FullOrigin full;
    const std::string tunnel = GENERATE("-p", "-4");  // or not
    const std::string output = curl(proxy, {tunnel, full.url()}, Origin{});
    check_told(Cause::connect_timeout, output, proxy.wait_for_log("#1."));
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
    const std::string itself = "http://" + proxy.authority() + "/x";
    TestSocket client = proxy.connect();
    client.send("GET " + itself + " HTTP/1.1\r\nHost: h\r\n\r\n");
    // It reaches itself in origin-form, and refuses; its name is in Via.
    const std::string head = client.read_head();
    REQUIRE(field_lines(head, "Via").size() == 1);
    const std::string output
        = curl(proxy, {"-H", field_lines(head, "Via").front(), ""}, Origin{});
    check_told(Cause::loop, output, proxy.wait_for_log("#3."));
}

TEST_CASE("what curl cannot send is told as well", "[causes]")
{
    Proxy proxy{{"--head-timeout", "0.3"}};
    TestSocket client = proxy.connect();
    std::string status;
    SECTION("another version")
    {
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        status = "HTTP/1.1 505 HTTP Version Not Supported";
    }
    SECTION("a TLS hello")
    {
        client.send(
            std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", 10));
        status = "HTTP/1.1 400 TLS Sent To The Plain Port";
    }
    SECTION("half a head")
    {
        client.send("GET http://h/ HT");
        status = "HTTP/1.1 408 Request Head Timeout";
    }
    SECTION("half a body")
    {
        const Origin origin;
        client.send("POST " + origin.url()
            + " HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel");
        TestSocket server = origin.accept();
        server.read_head();
        client.finish_sending();
        status = "HTTP/1.1 400 Request Cut Short";
    }
    CHECK(first_line(client.read_head()) == status);
}

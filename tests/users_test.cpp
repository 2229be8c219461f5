// --user and --allow, as a client meets them.  How credentials and addresses
// are compared is in tests/access_test.cpp.

#include "catch.h"
#include "relay.h"

namespace {

Proxy& proxy_for_sam()
{
    static Proxy proxy{{"--user", "sam:12345678"}};
    return proxy;
}

struct RelayForSam : Relay {
    RelayForSam() : Relay{proxy_for_sam()} { }
};

}  // namespace

TEST_CASE_METHOD(
    RelayForSam, "--user asks every request for credentials", "[access]")
{
    SECTION("none")
    {
        client.send(get());
        const std::string head = client.read_head();
        CHECK(first_line(head) == "HTTP/1.1 407 Proxy Authentication Required");
        CHECK(field_lines(head, "Proxy-Authenticate")
            == std::vector<std::string>{
                "Proxy-Authenticate: Basic realm=\"forward_proxy\""});
    }
    SECTION("wrong")
    {
        client.send(get("Proxy-Authorization: Basic c2FtOm5vCg==\r\n\r\n"));
        const std::string head = client.read_head();
        CHECK(first_line(head) == "HTTP/1.1 407 Proxy Credentials Rejected");
        CHECK(field_lines(head, "Proxy-Authenticate").size() == 1);
    }
    SECTION("right, and not forwarded")
    {
        send(get("pROXY-aUTHORIZATION: bASIC c2FtOjEyMzQ1Njc4\r\n\r\n"))
            .send(ok);
        CHECK(field_lines(request_head, "Proxy-Authorization").empty());
        CHECK(status_line() == "HTTP/1.1 200 OK");
        client.read_exactly(2);
        client.send(get());  // the next one has to bring its own
        CHECK_THAT(status_line(), StartsWith("HTTP/1.1 407 "));
    }
    CHECK(origin.is_untouched());
}

TEST_CASE_METHOD(
    RelayForSam, "no request gets past the credentials check", "[access]")
{
    const auto request = GENERATE(as<std::string>{},
        "GET http://ORIGIN/ HTTP/1.0\r\n\r\n",
        "HEAD http://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "OPTIONS http://ORIGIN HTTP/1.1\r\nHost: h\r\n\r\n",
        "TRACE http://ORIGIN/ HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n",
        "X-OWN http://ORIGIN/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT ORIGIN HTTP/1.0\r\n\r\n",
        "CONNECT ORIGIN HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    CAPTURE(request);
    std::string bytes = request;
    if (const auto at = bytes.find("ORIGIN"); at != std::string::npos)
        bytes.replace(at, 6, origin.authority());
    client.send(bytes);
    CHECK_THAT(status_line(), StartsWith("HTTP/1.1 407 "));
    CHECK(origin.is_untouched());
}

#include "support/forwarding.h"

#include "catch.h"

namespace {

std::string forwarded_request(const std::string& head)
{
    const RequestHead request = parse_request_head(head);
    return to_string(request_to_forward(
        request, parse_absolute_form(request.target, request.method), "us"));
}

std::string forwarded_response(const std::string& head,
    Delimiting delimiting = Delimiting::as_received, bool keep_open = true)
{
    return to_string(response_to_forward(
        parse_response_head(head), delimiting, keep_open, "us"));
}

}  // namespace

// RFC 9112 §3.2.2; RFC 9110 §7.6.1, §7.6.3.
TEST_CASE("a request is rewritten for the origin server", "[forwarding]")
{
    CHECK(forwarded_request("GET http://h:81/a?b HTTP/1.0\r\n"
                            "B: 2\r\n"
                            "a: 1\r\n"
                            "Via: 1.1 them\r\n"
                            "Proxy-Connection: close\r\n"
                            "\r\n")
        == "GET /a?b HTTP/1.1\r\n"
           "Host: h:81\r\n"
           "B: 2\r\n"
           "a: 1\r\n"
           "Via: 1.1 them\r\n"
           "Via: 1.0 us\r\n"
           "Connection: close\r\n"
           "\r\n");
}

TEST_CASE("Host is replaced where it stands", "[forwarding]")
{
    CHECK_THAT(forwarded_request("GET http://h/ HTTP/1.1\r\n"
                                 "A: 1\r\nhost: other:99\r\nB: 2\r\n\r\n"),
        ContainsSubstring("A: 1\r\nhost: h\r\nB: 2\r\n"));
}

// RFC 9110 §7.8: only HTTP/1.1 can ask, and only with both fields.
TEST_CASE("an upgrade is asked for in our own name", "[forwarding]")
{
    CHECK_THAT(forwarded_request("GET http://h/ HTTP/1.1\r\nHost: h\r\n"
                                 "Connection: keep-alive, Upgrade\r\n"
                                 "Upgrade: websocket\r\n\r\n"),
        ContainsSubstring("Upgrade: websocket\r\nConnection: Upgrade\r\n"));
    CHECK(forwarded_request("GET http://h/ HTTP/1.0\r\n"
                            "Connection: Upgrade\r\n"
                            "Upgrade: websocket\r\n\r\n")
              .find("Upgrade")
        == std::string::npos);
    CHECK(forwarded_request("GET http://h/ HTTP/1.1\r\nHost: h\r\n"
                            "Upgrade: websocket\r\n\r\n")
              .find("Upgrade")
        == std::string::npos);
}

// A Connection field that names it must not cost a message its framing.
TEST_CASE(
    "framing and Host cannot be nominated away", "[forwarding][smuggling][P35]")
{
    const std::string head = forwarded_request(
        "POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
        "Connection: content-length, host, transfer-encoding, via\r\n\r\n");
    CHECK_THAT(head, ContainsSubstring("Content-Length: 5\r\n"));
    CHECK_THAT(head, ContainsSubstring("Host: h\r\n"));
    CHECK_THAT(head, ContainsSubstring("Via: 1.1 us\r\n"));
}

TEST_CASE("a response is rewritten for the client", "[forwarding][P29][P30]")
{
    const std::string received = "HTTP/1.0 299 Odd\r\n"
                                 "Set-Cookie: a=1\r\n"
                                 "Content-Length: 5\r\n"
                                 "Set-Cookie: b=2\r\n";
    CHECK(forwarded_response(received + "Connection: close\r\n\r\n")
        == "HTTP/1.1 299 Odd\r\n"
           "Set-Cookie: a=1\r\n"
           "Content-Length: 5\r\n"
           "Set-Cookie: b=2\r\n"
           "Via: 1.0 us\r\n"
           "\r\n");
    CHECK_THAT(
        forwarded_response(received + "\r\n", Delimiting::as_received, false),
        ContainsSubstring("Via: 1.0 us\r\nConnection: close\r\n\r\n"));
}

TEST_CASE("Transfer-Encoding goes where the chunks go", "[forwarding][P32]")
{
    const std::string head
        = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    CHECK_THAT(
        forwarded_response(head), ContainsSubstring("Transfer-Encoding"));
    CHECK(forwarded_response(head, Delimiting::by_close, false)
              .find("Transfer-Encoding")
        == std::string::npos);
}

// RFC 9110 §8.6, RFC 9112 §6.1 (P23).
TEST_CASE(
    "interim responses and 204 carry no framing fields", "[forwarding][P23]")
{
    const auto status = GENERATE(100, 103, 204);
    const std::string head
        = forwarded_response("HTTP/1.1 " + std::to_string(status)
            + " X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK(head.find("Content-Length") == std::string::npos);
    CHECK(head.find("Transfer-Encoding") == std::string::npos);
}

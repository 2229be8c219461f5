#include "support/http/forwarding.h"

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

// RFC 9110 §7.6.1.
TEST_CASE("fields for this connection only are not sent on", "[forwarding]")
{
    const Fields head{{"X-A", "1"}, {"Connection", "x-a, content-length"},
        {"B", "2"}, {"keep-alive", "timeout=5"}, {"Connection", "X-C"},
        {"b", "3"}, {"Content-Length", "5"}, {"X-c", "4"},
        {"Proxy-Authorization", "Basic Og=="}};
    CHECK(fields_to_forward(head, head)
        == Fields{{"B", "2"}, {"b", "3"}, {"Content-Length", "5"}});
    const Fields trailer{{"X-Sum", "1"}, {"X-C", "2"}};
    CHECK(fields_to_forward(trailer, head) == Fields{{"X-Sum", "1"}});
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

// RFC 9110 §10.1.4: TE is for the next hop, so Connection lists it, always.
TEST_CASE("TE is sent together with Connection: TE", "[forwarding]")
{
    const std::string start
        = "GET http://h/ HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n";
    CHECK_THAT(forwarded_request(start + "\r\n"),
        ContainsSubstring("TE: trailers\r\nConnection: TE, close\r\n\r\n"));
    CHECK_THAT(forwarded_request(
                   start + "Connection: TE, Upgrade\r\nUpgrade: x\r\n\r\n"),
        ContainsSubstring("Upgrade: x\r\nTE: trailers\r\n"
                          "Connection: TE, Upgrade\r\n\r\n"));
}

TEST_CASE(
    "a request can be made not to ask for an upgrade", "[forwarding][upgrade]")
{
    const RequestHead request = without_upgrade(
        parse_request_head("GET http://h/ HTTP/1.1\r\nHost: h\r\n"
                           "uPGRADE: x\r\nA: b\r\nUpgrade: y\r\n"
                           "Connection: upgrade\r\n\r\n"));
    CHECK_FALSE(wants_upgrade(request));
    CHECK(request.fields
        == Fields{{"Host", "h"}, {"A", "b"}, {"Connection", "upgrade"}});
}

TEST_CASE("a 101 is checked against the request", "[forwarding][upgrade]")
{
    const std::string asking = "GET http://h/ HTTP/1.1\r\nHost: h\r\n"
                               "Connection: upgrade\r\nUpgrade: x\r\n\r\n";
    const auto check
        = [](const std::string& request, const std::string& response) {
              check_switch(
                  parse_request_head(request), parse_response_head(response));
          };
    const std::string start = "HTTP/1.1 101 Switching Protocols\r\n";
    CHECK_NOTHROW(check(asking, start + "Upgrade: x\r\n\r\n"));
    CHECK_NOTHROW(check(asking, start + "Upgrade: X\r\n\r\n"));
    const std::string choosing
        = "GET http://h/ HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n"
          "Upgrade: TLS/1.0, HTTP/2.0\r\nUpgrade: x\r\n\r\n";
    for (const char* const chosen : {"x", "tls/1.0", "TLS/1.0, HTTP/2.0"})
        CHECK_NOTHROW(
            check(choosing, start + "Upgrade: " + chosen + "\r\n\r\n"));
    for (const char* const chosen : {"y", "TLS", "TLS/1.1", "x, y"})
        CHECK_THROWS_AS(
            check(choosing, start + "Upgrade: " + chosen + "\r\n\r\n"),
            MessageError);
    CHECK_THROWS_AS(check(asking, start + "Upgrade: ,\r\n\r\n"), MessageError);
    CHECK_THROWS_AS(check(asking, start + "\r\n"), MessageError);
    CHECK_THROWS_AS(check(asking, start + "Upgrade:\r\n\r\n"), MessageError);
    CHECK_THROWS_AS(check("GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
                        start + "Upgrade: x\r\n\r\n"),
        MessageError);
}

// RFC 9110 §7.6.1, §11.7.
TEST_CASE("fields for this hop and credentials stay here", "[forwarding]")
{
    CHECK(forwarded_request(
              "GET http://h/ HTTP/1.1\r\n"
              "Host: h\r\n"
              "Proxy-Authorization: Basic c2VjcmV0OnNlY3JldA==\r\n"
              "Proxy-Connection: keep-alive\r\n"
              "Keep-Alive: 300\r\n"
              "TE: trailers, deflate\r\n"
              "Trailer: X-Sum\r\n"
              "Upgrade: h2c\r\n"
              "X-Nominated: 1\r\n"
              "Connection: keep-alive, x-nominated,, proxy-connection\r\n"
              "Connection: X-Other, connection\r\n"
              "X-Other: 2\r\n"
              "Authorization: Bearer kept\r\n"
              "Cookie: kept=1\r\n"
              "\r\n")
        == "GET / HTTP/1.1\r\n"
           "Host: h\r\n"
           "Authorization: Bearer kept\r\n"
           "Cookie: kept=1\r\n"
           "Via: 1.1 us\r\n"
           "TE: trailers\r\n"
           "Connection: TE, close\r\n"
           "\r\n");
    CHECK(forwarded_response("HTTP/1.1 200 OK\r\n"
                             "Connection: X-Hop\r\n"
                             "X-Hop: 1\r\n"
                             "Keep-Alive: timeout=5\r\n"
                             "Proxy-Authenticate: Basic realm=x\r\n"
                             "Proxy-Authentication-Info: x\r\n"
                             "\r\n")
        == "HTTP/1.1 200 OK\r\nVia: 1.1 us\r\n\r\n");
}

// Without them a body would lose its end, a request its host, and a loop would
// have no end.
TEST_CASE("no field that end-to-end handling needs can be nominated away",
    "[forwarding][smuggling]")
{
    const std::string nominating
        = "Connection: content-length, Host, max-forwards\r\n"
          "Connection: Transfer-Encoding, via\r\n";
    const std::string kept
        = "Content-Length: 2\r\nVia: 1.1 them\r\n"
          "Transfer-Encoding: chunked\r\nMax-Forwards: 5\r\n";
    CHECK(forwarded_request("POST http://h/ HTTP/1.1\r\nHost: h\r\n"
              + nominating + kept + "\r\n")
        == "POST / HTTP/1.1\r\nHost: h\r\n" + kept
            + "Via: 1.1 us\r\nConnection: close\r\n\r\n");
    CHECK(forwarded_response("HTTP/1.1 200 OK\r\n" + nominating + kept + "\r\n")
        == "HTTP/1.1 200 OK\r\n" + kept + "Via: 1.1 us\r\n\r\n");
    CHECK_THAT(forwarded_request("TRACE http://h/ HTTP/1.1\r\nHost: h\r\n"
                   + nominating + "Max-Forwards: 5\r\n\r\n"),
        ContainsSubstring("\r\nMax-Forwards: 4\r\n"));
}

TEST_CASE("a response is rewritten for the client", "[forwarding]")
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

TEST_CASE("Transfer-Encoding goes where the chunks go", "[forwarding]")
{
    const std::string head
        = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    CHECK_THAT(
        forwarded_response(head), ContainsSubstring("Transfer-Encoding"));
    CHECK(forwarded_response(head, Delimiting::by_close, false)
              .find("Transfer-Encoding")
        == std::string::npos);
}

// RFC 9110 §8.6, RFC 9112 §6.1.
TEST_CASE("interim responses and 204 carry no framing fields", "[forwarding]")
{
    const auto status = GENERATE(100, 103, 204);
    const std::string head
        = forwarded_response("HTTP/1.1 " + std::to_string(status)
            + " X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK(head.find("Content-Length") == std::string::npos);
    CHECK(head.find("Transfer-Encoding") == std::string::npos);
}

// RFC 9110 §7.8: Upgrade is for one hop, so Connection lists it.
TEST_CASE("a 101 is sent on with Connection: Upgrade", "[forwarding][upgrade]")
{
    CHECK(forwarded_response("HTTP/1.1 101 Switching Protocols\r\n"
                             "Connection: Upgrade\r\nUpgrade: x\r\n\r\n")
        == "HTTP/1.1 101 Switching Protocols\r\nVia: 1.1 us\r\n"
           "Upgrade: x\r\nConnection: Upgrade\r\n\r\n");
}

// What the trace says below a head of which the proxy changed field lines.
TEST_CASE("each field that changes has its reason", "[forwarding]")
{
    const Fields received{{"Connection", "X-Hop, keep-alive"}};
    const auto removed = [&](const std::string& name) {
        return why_removed({name, "1"}, received);
    };
    CHECK_THAT(
        removed("proxy-authorization"), ContainsSubstring("this proxy alone"));
    CHECK_THAT(removed("Host"), ContainsSubstring("the request target"));
    CHECK_THAT(removed("Max-Forwards"), ContainsSubstring("counted down"));
    CHECK_THAT(removed("Content-Length"), ContainsSubstring("the body ends"));
    CHECK_THAT(
        removed("Transfer-Encoding"), ContainsSubstring("the body ends"));
    CHECK_THAT(removed("X-Hop"), ContainsSubstring("nominated by Connection"));
    // Of this hop even if Connection does not name it, as it names Keep-Alive.
    CHECK_THAT(removed("Keep-Alive"), StartsWith("hop-by-hop: "));
    CHECK_THAT(removed("TE"), StartsWith("hop-by-hop: "));

    CHECK_THAT(why_added({"via", "1.1 us"}), ContainsSubstring("this proxy"));
    CHECK(why_added({"Host", "h"}) == removed("Host"));
    CHECK(why_added({"Max-Forwards", "4"}) == removed("Max-Forwards"));
    CHECK_THAT(why_added({"Connection", "TE, Upgrade"}),
        ContainsSubstring("another protocol"));
    CHECK_THAT(why_added({"Connection", "TE, close"}),
        ContainsSubstring("one exchange"));
    CHECK_THAT(
        why_added({"TE", "trailers"}), ContainsSubstring("next connection"));
}

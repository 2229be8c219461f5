// Faithful forwarding, byte for byte: every shape of request with every shape
// of response, for clients and servers of HTTP/1.0 and HTTP/1.1.
//
// Only two things in the bytes differ from run to run: the origin's address,
// and the proxy's name in Via, which is "US" here.

#include <functional>
#include <regex>

#include "catch.h"
#include "harness.h"

namespace {

struct RequestShape {
    std::string name;
    std::string line;  // method and path
    std::string fields;
    std::string body;
    std::string arriving_body;
    bool needs_1_1;
};

// What `arrives` differs from `sent` in is what the proxy must change.
struct ResponseShape {
    std::string name;
    std::string interim;
    std::string status;
    std::string fields;
    std::string fields_for_1_0;  // to an HTTP/1.0 client
    std::string body;
    std::string arriving_body;
    std::string body_for_1_0;
    bool needs_1_1;
    bool ends_by_close;
};

const std::string chunks = "3;a=b\r\nabc\r\n4 ; q=\"\\\"\"\r\ndefg\r\n"
                           "0\r\nX-Sum: 7\r\nx-sum: 8\r\n\r\n";
const std::string bare_chunks
    = "3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 7\r\nx-sum: 8\r\n\r\n";

const std::vector<RequestShape> requests{
    {"plain", "GET /", "", "", "", false},
    {"query", "GET /a//b;c=d/%7e?x=%2F&y=?/", "", "", "", false},
    {"odd target", "GET /|[]{}^`\\\"<>'%\xe6\x90\x9c\xff?|%&?", "", "", "",
        false},
    {"own method", "MY-own~METHOD /m", "", "", "", false},
    {"odd fields", "GET /o",
        "x-lower: 1\r\nX-UPPER: 2\r\nx-lower: 3\r\nX-Empty: \r\n"
        "X-Comma: a,,b , c\r\nX-Bytes: \xc3\xa4\xff\r\nX-Tab: a\tb\r\n",
        "", "", false},
    {"length", "POST /p", "Content-Length: 5\r\nX-After: 1\r\n", "hello",
        "hello", false},
    {"empty length", "PUT /p", "Content-Length: 0\r\n", "", "", false},
    {"body bytes", "PATCH /p", "content-length: 6\r\n",
        std::string("\0\xff\r\n\r\n", 6), std::string("\0\xff\r\n\r\n", 6),
        false},
    {"chunked", "POST /c", "X-Before: 1\r\nTransfer-Encoding: chunked\r\n",
        chunks, bare_chunks, true},
    {"head", "HEAD /h", "", "", "", false},
};

const std::vector<ResponseShape> responses{
    {"length", "", "200 OK",
        "Content-Length: 5\r\nSet-Cookie: a=1\r\nserver: s\r\n"
        "Set-Cookie: b=2\r\nDate: now\r\n",
        "Content-Length: 5\r\nSet-Cookie: a=1\r\nserver: s\r\n"
        "Set-Cookie: b=2\r\nDate: now\r\n",
        "hello", "hello", "hello", false, false},
    {"odd reason", "", "299 Rather  \xe4 odd!", "Content-Length: 0\r\n",
        "Content-Length: 0\r\n", "", "", "", false, false},
    {"no reason", "", "404 ", "Content-Length: 2\r\n", "Content-Length: 2\r\n",
        "no", "no", "no", false, false},
    {"close", "", "200 OK", "X-A: 1\r\n", "X-A: 1\r\n", "until\r\n\r\nclose",
        "until\r\n\r\nclose", "until\r\n\r\nclose", false, true},
    {"chunked", "", "200 OK", "X-B: 1\r\nTransfer-Encoding: chunked\r\n",
        "X-B: 1\r\n", chunks, bare_chunks, "abcdefg", true, false},
    {"no content", "", "204 None", "X-C: 1\r\n", "X-C: 1\r\n", "", "", "",
        false, false},
    {"not modified", "", "304 Same", "Content-Length: 99\r\nETag: \"x\"\r\n",
        "Content-Length: 99\r\nETag: \"x\"\r\n", "", "", "", false, false},
    {"interim",
        "HTTP/1.1 102 Wait\r\nVia: 1.1 US\r\n\r\n"
        "HTTP/1.1 103 Hints\r\nLink: </a>\r\nLink: </b>\r\nVia: 1.1 US\r\n\r\n",
        "200 OK", "Content-Length: 2\r\n", "Content-Length: 2\r\n", "ok", "ok",
        "ok", true, false},
};

std::string with_our_name_hidden(const std::string& bytes)
{
    static const std::regex name{"forward_proxy-[0-9a-f]{8}"};
    return std::regex_replace(bytes, name, "US");
}

std::string without_our_via(std::string interim)
{
    const std::string via = "Via: 1.1 US\r\n";
    for (std::size_t at; (at = interim.find(via)) != std::string::npos;)
        interim.erase(at, via.size());
    return interim;
}

struct Versions {
    std::string client, server;
};

struct Bytes {
    std::string at_server, at_client;
    bool operator==(const Bytes&) const = default;
};

Bytes expected(const RequestShape& request, const ResponseShape& response,
    const Versions& versions, const std::string& authority)
{
    const bool old_client = versions.client == "1.0";
    const bool head = request.name == "head";
    const bool closes = old_client || (response.ends_by_close && !head);
    return {request.line + " HTTP/1.1\r\nHost: " + authority + "\r\n"
            + request.fields + "Via: " + versions.client
            + " US\r\nConnection: close\r\n\r\n" + request.arriving_body,
        (old_client ? "" : response.interim) + "HTTP/1.1 " + response.status
            + "\r\n" + (old_client ? response.fields_for_1_0 : response.fields)
            + "Via: " + versions.server + " US\r\n"
            + (closes ? "Connection: close\r\n" : "") + "\r\n"
            + (head              ? ""
                    : old_client ? response.body_for_1_0
                                 : response.arriving_body)};
}

Bytes arriving(const Proxy& proxy, const RequestShape& request,
    const ResponseShape& response, const Versions& versions,
    const Origin& origin, const Bytes& wanted)
{
    const std::size_t space = request.line.find(' ');
    TestSocket client = proxy.connect();
    client.send(request.line.substr(0, space + 1)
        + origin.url(request.line.substr(space + 1)) + " HTTP/"
        + versions.client + "\r\n"
        + (versions.client == "1.1" ? "Host: ignored\r\n" : "") + request.fields
        + "\r\n" + request.body);
    Bytes bytes;
    {
        TestSocket server = origin.accept();
        bytes.at_server = server.read_head();
        bytes.at_server += server.read_exactly(request.arriving_body.size());
        server.send(without_our_via(response.interim) + "HTTP/"
            + versions.server + " " + response.status + "\r\n" + response.fields
            + "\r\n" + (request.name == "head" ? "" : response.body));
        bytes.at_server = with_our_name_hidden(bytes.at_server);
        server.finish_sending();
        bytes.at_server += server.read_to_end();
    }
    // A connection that stays open is at its end when the next answer begins.
    if (wanted.at_client.find("Connection: close") == std::string::npos)
        client.send("GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n");
    bytes.at_client = with_our_name_hidden(client.read_to_end());
    const std::size_t next = bytes.at_client.find("HTTP/1.1 400 Use CONNECT");
    if (next != std::string::npos)
        bytes.at_client.erase(next);
    return bytes;
}

}  // namespace

TEST_CASE("every request with every response arrives byte for byte",
    "[relay][matrix]")
{
    const Proxy& proxy = default_proxy();
    Origin origin;
    int combinations = 0;
    for (const RequestShape& request : requests)
        for (const ResponseShape& response : responses)
            for (const Versions& versions :
                {Versions{"1.0", "1.0"}, Versions{"1.0", "1.1"},
                    Versions{"1.1", "1.0"}, Versions{"1.1", "1.1"}}) {
                if ((request.needs_1_1 && versions.client == "1.0")
                    || (response.needs_1_1 && versions.server == "1.0"))
                    continue;
                CAPTURE(request.name, response.name, versions.client,
                    versions.server);
                const Bytes wanted
                    = expected(request, response, versions, origin.authority());
                const Bytes got = arriving(
                    proxy, request, response, versions, origin, wanted);
                CHECK(got.at_server == wanted.at_server);
                CHECK(got.at_client == wanted.at_client);
                ++combinations;
            }
    CHECK(combinations == 266);
}

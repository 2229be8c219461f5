// What one side sends is on its way before it sends more, in both directions at
// once, and no body is held in memory.

#include "catch.h"
#include "relay.h"

TEST_CASE_METHOD(Relay, "what a server sends is passed on before it sends more",
    "[relay][streaming]")
{
    TestSocket server = send(get());
    server.send("HTTP/1.1 200 OK\r\n"
                "Content-Type: text/event-stream\r\n"
                "Transfer-Encoding: chunked\r\n"
                "\r\n"
                "d\r\ndata: first\n\n\r\n");
    client.read_head();
    CHECK(client.read_exactly(18) == "d\r\ndata: first\n\n\r\n");
    server.send("e\r\ndata: second\n\n\r\n0\r\n\r\n");
    CHECK(client.read_exactly(24) == "e\r\ndata: second\n\n\r\n0\r\n\r\n");
}

TEST_CASE_METHOD(Relay,
    "a body that ends with the connection is passed on as it comes",
    "[relay][streaming]")
{
    TestSocket server = send(get());
    server.send("HTTP/1.1 200 OK\r\n\r\nfirst");
    client.read_head();
    CHECK(client.read_exactly(5) == "first");
    server.send("second");
    CHECK(client.read_exactly(6) == "second");
}

TEST_CASE_METHOD(Relay, "what a client sends is passed on before it sends more",
    "[relay][streaming]")
{
    TestSocket server = send(post("Content-Length: 10\r\n\r\n"));
    client.send("01234");
    CHECK(server.read_exactly(5) == "01234");
    client.send("56789");
    CHECK(server.read_exactly(5) == "56789");
    server.send(ok);
    CHECK(status_line() == "HTTP/1.1 200 OK");
}

namespace {

std::string with_length(std::size_t length)
{
    return "Content-Length: " + std::to_string(length) + "\r\n\r\n";
}

// Whether a body of such pieces is echoed while it is uploaded.  The last piece
// goes up when the echo of all others is here.
bool is_echoed(TestSocket& client, TestSocket& server, const std::string& piece,
    std::size_t pieces)
{
    Background echo{[&] {
        for (std::size_t i = 0; i < pieces; ++i)
            server.send(server.read_exactly(piece.size()));
    }};
    Background upload{[&] {
        for (std::size_t i = 0; i + 1 < pieces; ++i)
            client.send(piece);
    }};
    bool is_equal = true;
    for (std::size_t i = 0; i + 1 < pieces; ++i)
        is_equal = is_equal && client.read_exactly(piece.size()) == piece;
    upload.join();
    client.send(piece);
    is_equal = is_equal && client.read_exactly(piece.size()) == piece;
    echo.join();
    return is_equal;
}

}  // namespace

// A relay that reads the response only after the whole request waits for the
// last piece for ever, however much the buffers on the way hold.
TEST_CASE_METHOD(Relay, "10 MB are echoed while they are uploaded", "[relay]")
{
    const std::string piece = some_bytes(10'000);
    TestSocket server = send(post(with_length(10'000'000)));
    server.send("HTTP/1.1 200 OK\r\n" + with_length(10'000'000));
    client.read_head();
    CHECK(is_echoed(client, server, piece, 1000));
}

namespace {

// The most memory that the program has had in use so far, in KiB.
long peak_memory(const Proxy& proxy)
{
    const std::string status
        = read_file("/proc/" + std::to_string(proxy.pid()) + "/status");
    return std::stol(status.substr(status.find("VmHWM:") + 6));
}

}  // namespace

// Under a sanitizer the numbers would be the sanitizer's: .ci/steps leaves
// this one out there.
TEST_CASE("1 GiB up and down needs no memory", "[relay][memory]")
{
    const std::size_t gib = std::size_t{1} << 30;
    const std::string piece = some_bytes(1 << 20);
    Proxy proxy;
    Relay relay{proxy};
    relay.send(relay.get()).send(ok);  // what one exchange needs does not count
    relay.client.read_until("ok");
    const long before = peak_memory(proxy);
    TestSocket server = relay.send(relay.post(with_length(gib)));
    server.send("HTTP/1.1 200 OK\r\n" + with_length(gib));
    relay.client.read_head();
    CHECK(is_echoed(relay.client, server, piece, gib / piece.size()));
    CHECK(peak_memory(proxy) - before < 4 * 1024);
}

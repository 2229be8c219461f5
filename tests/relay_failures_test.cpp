// Exchanges that break: an error response before the final head is sent, and
// after it a close that cannot be taken for the end of the message (RFC 9112
// §8).  tests/endings_test.cpp has each phase and each side that ends it,
// tests/causes_test.cpp each kind of failure.

#include "catch.h"
#include "relay.h"

namespace {

const std::string chunked_half = "HTTP/1.1 200 OK\r\n"
                                 "Transfer-Encoding: chunked\r\n\r\n"
                                 "4\r\nhalf\r\n";

}  // namespace

// --- No response ------------------------------------------------------------

TEST_CASE_METHOD(Relay, "no response head is a 502", "[relay]")
{
    const auto response = GENERATE(as<std::string>{}, "HTTP/1.1 200 OK\r\nA: b",
        "SSH-2.0-OpenSSH_9\r\n\r\n", "HTTP/1.1 200 OK\nA: b\n\n");
    CAPTURE(response);
    send(get()).send(response);
    CHECK(status_line() == "HTTP/1.1 502 Malformed Response");
}

TEST_CASE_METHOD(Relay, "what did not arrive whole is not sent a second time",
    "[relay][smuggling]")
{
    send(get());
    CHECK_THAT(client.read_to_end(), StartsWith("HTTP/1.1 502 "));
    CHECK(origin.is_untouched());
}

// --- A response cut short ---------------------------------------------------

TEST_CASE_METHOD(
    Relay, "a response cut short does not look complete", "[relay]")
{
    SECTION("with a length")
    {
        send(get()).send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        client.read_head();
        CHECK(client.read_to_end() == "half");
        CHECK_THAT(log_line(),
            ContainsSubstring("6 bytes short of its Content-Length"));
    }
    SECTION("chunked")
    {
        send(get()).send(chunked_half);
        client.read_head();
        CHECK(client.read_to_end() == "4\r\nhalf\r\n");
        CHECK_THAT(log_line(), ContainsSubstring("before its last chunk"));
    }
    SECTION("chunked, for a client that knows no chunks")
    {
        send("GET " + origin.url() + " HTTP/1.0\r\n\r\n").send(chunked_half);
        CHECK(client.ends_with_reset());
        CHECK_THAT(log_line(), ContainsSubstring("before its last chunk"));
    }
    SECTION("until the close, which is a reset")
    {
        {
            TestSocket server = send(get());
            server.send("HTTP/1.1 200 OK\r\n\r\nhalf");
            client.read_until("half");
            server.reset_on_close();
        }
        CHECK(client.ends_with_reset());
        CHECK_THAT(log_line(),
            ContainsSubstring("from the server: Connection reset by peer"));
    }
}

// The kernel tells a reset once, often to the thread that sends the body up;
// the one that reads then finds an end that looks like a FIN.
TEST_CASE_METHOD(
    Relay, "a reset during an upload does not complete a response", "[relay]")
{
    std::optional<TestSocket> server
        = send(post("Content-Length: 1000000000\r\n\r\n"));
    std::atomic<bool> is_logged{false};
    Background uploader{[&] {
        const std::string bytes(64 * 1024, 'u');
        try {
            while (!is_logged)
                client.send(bytes);
        } catch (const std::exception&) {
        }  // the proxy has closed
        client.finish_sending();
    }};
    const bool has_answered = GENERATE(true, false);
    if (has_answered)
        server->send("HTTP/1.1 200 OK\r\n\r\nhalf");
    server->read_exactly(1'000'000);
    server->reset_on_close();
    server.reset();
    CHECK_THAT(log_line(),
        ContainsSubstring(has_answered ? " 200 " : " 502 ")
            && ContainsSubstring("Connection reset by peer"));
    is_logged = true;
    uploader.join();
}

// --- A request cut short ----------------------------------------------------

TEST_CASE_METHOD(
    Relay, "a request body cut short is not passed off as complete", "[relay]")
{
    TestSocket server = send(post("Content-Length: 10\r\n\r\nhalf"));
    CHECK(server.read_exactly(4) == "half");
    client.finish_sending();
    CHECK(server.is_at_end());
    CHECK(status_line() == "HTTP/1.1 400 Request Cut Short");
}

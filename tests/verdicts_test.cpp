// Why some sites fail: what the log's last field and the trace's last step say
// of it, each brought about with a real client or a real server.  "Seen" is
// what passed in clear, and "inferred" the rest.

#include <signal.h>

#include <cerrno>

#include "catch.h"
#include "harness.h"
#include "servers.h"
#include "support/log/diagnosis.h"

namespace {

using Arguments = std::vector<std::string>;

Arguments curl(const Proxy& proxy, const Arguments& arguments)
{
    Arguments command{"curl", "-sS", "--max-time", "60", "-x",
        "http://" + proxy.authority(), "--noproxy", "", "-o", "/dev/null"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
}

// The last step of the trace and the last field of the log are the same.
std::string verdict_of(Proxy& proxy)
{
    const std::string line = proxy.wait_for_log(" total=");
    const std::string story = proxy.child().output();
    const std::size_t arrow = line.find(" -> ");
    if (arrow == std::string::npos) {
        CHECK(story.find("verdict, ") == std::string::npos);
        return "";
    }
    const std::string verdict = line.substr(arrow + 4);
    CHECK_THAT(
        story, ContainsSubstring("P      verdict, " + verdict.substr(0, 45)));
    CHECK(story.find("verdict, ") > story.find("P      ended: "));
    return verdict;
}

// Of everything that the proxy says while curl runs.
std::string verdict_on(const Arguments& arguments)
{
    Proxy proxy{{"--trace"}};
    run(curl(proxy, arguments));
    return verdict_of(proxy);
}

// What a proxy says of a tunnel through which those bytes pass: the client's
// first, then the server's, and so on.
std::string verdict_on_replay(const std::vector<std::string>& flights)
{
    Proxy proxy;
    {
        Tunnel tunnel{proxy};
        bool from_client = true;
        for (const std::string& flight : flights) {
            (from_client ? tunnel.client : tunnel.server).send(flight);
            (from_client ? tunnel.server : tunnel.client)
                .read_exactly(flight.size());
            from_client = !from_client;
        }
        tunnel.client.finish_sending();
        tunnel.server.read_to_end();
    }
    const std::string line = proxy.wait_for_log(" total=");
    const std::size_t arrow = line.find(" -> ");
    return arrow == std::string::npos ? "" : line.substr(arrow + 4);
}

// The whole of it: a close over unread bytes would be a reset.
void read_hello(TestSocket& client)
{
    const std::string header = client.read_exactly(5);  // RFC 8446 §5.1
    client.read_exactly(static_cast<unsigned char>(header[3]) * 256U
        + static_cast<unsigned char>(header[4]));
}

// An origin server that reads the hello, and then does that.
template <typename Then> std::string verdict_on_server_that(Then then)
{
    const Origin origin;
    Background server{[&] {
        TestSocket socket = origin.accept();
        read_hello(socket);
        then(socket);
    }};
    const std::string verdict
        = verdict_on({"https://localhost:" + origin.port() + "/"});
    server.join();
    return verdict;
}

const Arguments tls_versions{"1.2", "1.3"};

}  // namespace

// --- Reason 1: certificates -------------------------------------------------

namespace {

// In TLS 1.3 some clients send the alert in clear, and others seal it.
void check_refused(const std::string& version, const std::string& verdict,
    const std::string& alert)
{
    const std::string refused = ": the client refused the server's certificate";
    if (version == "1.3" && verdict.starts_with("inferred"))
        CHECK_THAT(verdict, StartsWith("inferred" + refused));
    else
        CHECK(verdict == "seen" + refused + ": alert " + alert);
}

}  // namespace

TEST_CASE("a certificate that has expired is seen to be refused", "[verdict]")
{
    const Certificates certificates;
    const TlsServer server{certificates, certificates.expired()};
    for (const std::string& version : tls_versions)
        check_refused(version,
            verdict_on({"--tls-max", version, "--cacert",
                certificates.expired(), server.url()}),
            "certificate_expired (45)");
}

TEST_CASE("a self-signed certificate is seen to be refused", "[verdict]")
{
    const Certificates certificates;
    const TlsServer server{certificates, certificates.good()};
    for (const std::string& version : tls_versions)
        check_refused(version, verdict_on({"--tls-max", version, server.url()}),
            "unknown_ca (48)");
}

TEST_CASE("a certificate for another name is inferred to be refused: curl "
          "checks it after the handshake",
    "[verdict]")
{
    const Certificates certificates;
    const TlsServer server{certificates, certificates.good()};
    for (const std::string& version : tls_versions)
        CHECK_THAT(verdict_on({"--tls-max", version, "--cacert",
                       certificates.good(), server.url("127.0.0.1")}),
            StartsWith("inferred: the client left after the handshake without "
                       "a request"));
}

TEST_CASE("a request that goes well has no verdict", "[verdict]")
{
    const Certificates certificates;
    const TlsServer server{certificates, certificates.good()};
    for (const std::string& version : tls_versions)
        CHECK(verdict_on({"--tls-max", version, "--cacert", certificates.good(),
                  server.url()})
            == "");
}

// Recorded, because neither asks a proxy for a tunnel in a test without a
// screen and a user; see tests/captures.  In TLS 1.3 most clients seal it.
TEST_CASE("an alert that is sealed is inferred from its size", "[verdict]")
{
    for (const std::string name : {"tls13_refused_gnutls", "tls13_chromium"}) {
        INFO(name);
        const std::string base = "tests/captures/" + name;
        const std::string client = read_file(base + ".client");
        const std::size_t hello = 5U
            + static_cast<std::uint8_t>(client.at(3)) * 256U
            + static_cast<std::uint8_t>(client.at(4));
        CHECK(verdict_on_replay({client.substr(0, hello),
                  read_file(base + ".server"), client.substr(hello)})
            == "inferred: the client refused the server's certificate: the "
               "first that it sealed has the size of an alert");
    }
}

// --- Reason 2: HSTS ---------------------------------------------------------

TEST_CASE("with HSTS a client never asks for http, so the proxy sees CONNECT",
    "[verdict]")
{
    const Certificates certificates;
    const TlsServer server{certificates, certificates.good()};
    write_file(
        certificates.dir() / "hsts", ".localhost \"20991231 23:59:59\"\n");
    std::string url = server.url();
    url.erase(4, 1);  // http
    Proxy proxy;
    run(curl(proxy,
        {"--hsts", certificates.dir() / "hsts", "--cacert", certificates.good(),
            url}));
    CHECK_THAT(proxy.wait_for_log(" total="),
        ContainsSubstring("\"CONNECT localhost:"));
}

TEST_CASE(
    "a site that sends its clients on to https is seen to do so", "[verdict]")
{
    const Certificates certificates;
    const Nginx nginx{
        certificates, {"; return 301 https://$host$request_uri;"}};
    CHECK_THAT(verdict_on({"http://" + nginx.authority() + "/"}),
        StartsWith("seen: sent on to https"));
}

// --- Reason 3: blocked ------------------------------------------------------

TEST_CASE("a reset right after the ClientHello is typical of a filter, and no "
          "more than that",
    "[verdict]")
{
    CHECK_THAT(
        verdict_on_server_that([](TestSocket& s) { s.reset_on_close(); }),
        StartsWith("inferred: reset right after the ClientHello: typical of "
                   "filtering by the server name"));
}

TEST_CASE("so is a close, and silence", "[verdict]")
{
    CHECK_THAT(verdict_on_server_that([](TestSocket&) {}),
        StartsWith("inferred: closed right after the ClientHello: typical"));

    Proxy proxy{{"--trace"}};
    {
        const Origin origin;
        Child client{curl(proxy, {"https://localhost:" + origin.port() + "/"})};
        TestSocket server = origin.accept();
        read_hello(server);
        client.signal(SIGTERM);  // as after a time that is too long for it
        server.read_to_end();
    }
    CHECK_THAT(verdict_of(proxy),
        StartsWith("inferred: no answer to the ClientHello: typical"));
}

TEST_CASE("a server without that name is seen to refuse it", "[verdict]")
{
    const Certificates certificates;
    const Nginx nginx{certificates, {"ssl; ssl_reject_handshake on;"}};
    CHECK(verdict_on({"https://" + nginx.authority() + "/"})
        == "seen: the server refused: alert unrecognized_name (112): it has no "
           "certificate for the name in the hello");
}

TEST_CASE("any other alert of a server is seen, and not explained", "[verdict]")
{
    tls::Seen client;
    client.hello = true;
    tls::Seen server;
    server.anything = true;
    server.fatal_alert = 80;
    CHECK(diagnose_tunnel(client, server, {})
        == "seen: the server refused: alert internal_error (80)");
}

TEST_CASE("a server that ends a tunnel after the handshake has no verdict",
    "[verdict]")
{
    tls::Seen client;
    client.hello = client.sealed = true;
    tls::Seen server;
    server.anything = server.hello = true;
    CHECK(diagnose_tunnel(client, server, {"", Side::server, 0}).empty());
    CHECK(
        diagnose_tunnel(client, server, {"", Side::client, ETIMEDOUT}).empty());
    CHECK_THAT(diagnose_tunnel(client, server, {"", Side::client, 0}),
        StartsWith("inferred: the client left after the handshake"));
}

// --- Reason 4: what the two ends, or the proxy, are set up to do ------------

TEST_CASE("a server with no cipher in common is seen to refuse", "[verdict]")
{
    const Certificates certificates;
    const TlsServer server{certificates, certificates.good(),
        {"-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"}};
    CHECK(verdict_on({"--tls-max", "1.2", "--ciphers",
              "ECDHE-ECDSA-AES128-GCM-SHA256", server.url()})
        == "seen: the server refused: alert handshake_failure (40): most often "
           "no cipher or group in common");
}

TEST_CASE("a server with no version in common is seen to refuse", "[verdict]")
{
    const Certificates certificates;
    const TlsServer server{certificates, certificates.good(), {"-tls1_3"}};
    CHECK(verdict_on({"--tls-max", "1.2", server.url()})
        == "seen: the server refused: alert protocol_version (70): no version "
           "of TLS in common");
}

TEST_CASE("plain HTTP where TLS was wanted is seen", "[verdict]")
{
    const Certificates certificates;
    const Nginx nginx{certificates, {"; return 200 plain;"}};
    CHECK(verdict_on({"https://" + nginx.authority() + "/"})
        == "seen: the server does not speak TLS on this port, but HTTP");
}

TEST_CASE("TLS where something else was sent is seen", "[verdict]")
{
    CHECK(verdict_on_replay({"GET / HTTP/1.1\r\n\r\n",
              std::string{"\x15\x03\x01\x00\x02\x02\x46", 7}})
        == "seen: the server expects TLS, and the client does not speak it");
}

TEST_CASE("a certificate is not blamed for a client that had something to say",
    "[verdict]")
{
    const std::string base = "tests/captures/tls13_wrong_name";
    const std::string client = read_file(base + ".client");
    const std::string server = read_file(base + ".server");
    const std::string data
        = std::string{"\x17\x03\x03\x00\x64", 5} + std::string(100, 'd');
    CHECK(verdict_on_replay({client.substr(0, 517), server.substr(0, 1300),
              client.substr(517) + data})
        == "");
    CHECK(verdict_on_replay({"no TLS at all", "nor here"}) == "");
    CHECK(verdict_on_replay({client.substr(0, 517), server, ""}) == "");
}

// How the four reasons of the reference's README show in the last field.
TEST_CASE("what never became a tunnel says why in the same field", "[verdict]")
{
    struct Row {
        Arguments options;
        std::string target;
        std::string ending;
    };
    for (const Row& row :
        {Row{{}, "127.0.0.1:1", "ms Connection Refused: 127.0.0.1:1: "},
            {{}, "no-such-host.invalid:443",
                "ms Name Not Resolved: no-such-host.invalid: "},
            {{"--connect-ports", "443"}, "127.0.0.1:8443",
                "ms Port Not Allowed: "},
            {{"--user", "sam:12345678"}, "127.0.0.1:443",
                "ms Proxy Authentication Required: "}}) {
        Proxy proxy{row.options};
        TestSocket client = proxy.connect();
        client.send(connect_request(row.target));
        client.read_to_end();
        CHECK_THAT(
            proxy.wait_for_log(" total="), ContainsSubstring(row.ending));
    }
}

#include "support/tls_view.h"

#include <algorithm>

#include "catch.h"
#include "harness.h"
#include "support/tls_names.h"

namespace {

using tls::Reader;

std::string capture(const std::string& name)
{
    return read_file("tests/captures/" + name);
}

std::vector<std::string> words_of(
    Reader& reader, const std::vector<std::string_view>& pieces)
{
    std::vector<std::string> words;
    for (const std::string_view piece : pieces)
        for (const tls::Event& event : reader.read(piece))
            words.push_back(to_words(event));
    return words;
}

// The events of one whole direction.
std::vector<tls::Event> events_in(const std::string& bytes)
{
    return Reader{Reader::Depth::messages}.read(bytes);
}

template <typename Kind> Kind only(const std::vector<tls::Event>& events)
{
    std::vector<Kind> found;
    for (const tls::Event& event : events)
        if (const auto* const kind = std::get_if<Kind>(&event))
            found.push_back(*kind);
    REQUIRE(found.size() == 1);
    return found[0];
}

std::string number(std::size_t value, std::size_t size)
{
    std::string bytes;
    for (std::size_t i = size; i-- > 0;)
        bytes += static_cast<char>(value >> (8 * i) & 0xff);
    return bytes;
}

std::string record(char type, const std::string& payload)
{
    return std::string{type} + "\x03\x03" + number(payload.size(), 2) + payload;
}

std::string message(char type, const std::string& body)
{
    return std::string{type} + number(body.size(), 3) + body;
}

std::string extension(std::size_t type, const std::string& body)
{
    return number(type, 2) + number(body.size(), 2) + body;
}

std::string client_hello(const std::string& extensions)
{
    return message(1,
        "\x03\x03" + std::string(32, 'r') + number(0, 1) + number(2, 2)
            + "\x13\x01" + number(1, 1) + number(0, 1)
            + (extensions.empty() ? ""
                                  : number(extensions.size(), 2) + extensions));
}

const std::vector<std::string> captures{"tls13_curl", "tls12_curl",
    "tls13_retry", "tls12_refused", "tls13_refused_curl",
    "tls13_refused_gnutls", "tls13_wrong_name", "tls13_chromium"};

}  // namespace

TEST_CASE("the hello of curl shows what it asks for", "[tls]")
{
    const auto hello
        = only<tls::ClientHello>(events_in(capture("tls13_curl.client")));
    CHECK(hello.size == 512);
    CHECK(hello.server_name == "localhost");
    CHECK(hello.protocols == std::vector<std::string>{"h2", "http/1.1"});
    CHECK(hello.versions
        == std::vector<std::uint16_t>{0x0304, 0x0303, 0x0302, 0x0301});
    CHECK(hello.key_shares == std::vector<std::uint16_t>{29});
    CHECK_FALSE(hello.encrypted_hello);
}

TEST_CASE(
    "P69: a hello longer than 1460 bytes shows whole, GREASE left out", "[tls]")
{
    const auto hello
        = only<tls::ClientHello>(events_in(capture("tls13_chromium.client")));
    CHECK(hello.size > 1700);
    CHECK(hello.server_name == "localhost");
    CHECK(hello.versions == std::vector<std::uint16_t>{0x0304, 0x0303});
    const std::uint16_t post_quantum = 0x11ec;
    CHECK(hello.key_shares == std::vector<std::uint16_t>{post_quantum, 29});
    CHECK(tls::group_name(post_quantum) == "X25519MLKEM768");
    CHECK(hello.encrypted_hello);
    CHECK_THAT(to_words(tls::Event{hello}), ContainsSubstring("stand-in"));
}

TEST_CASE("the hello of a server shows what it chose", "[tls]")
{
    const auto hello
        = only<tls::ServerHello>(events_in(capture("tls13_curl.server")));
    CHECK_FALSE(hello.retry);
    CHECK(tls::version_name(hello.version) == "TLS 1.3");
    CHECK(tls::cipher_name(hello.cipher) == "TLS_AES_256_GCM_SHA384");
    CHECK(tls::group_name(hello.group) == "x25519");
}

TEST_CASE("after a HelloRetryRequest the second hellos are read too", "[tls]")
{
    const auto server = events_in(capture("tls13_retry.server"));
    REQUIRE(server.size() == 3);
    CHECK(std::get<tls::ServerHello>(server[0]).retry);
    CHECK_THAT(to_words(server[0]),
        ContainsSubstring("HelloRetryRequest")
            && ContainsSubstring("secp521r1"));
    CHECK_FALSE(std::get<tls::ServerHello>(server[1]).retry);
    CHECK(std::get<tls::ServerHello>(server[1]).group == 25);
    CHECK(std::holds_alternative<tls::Sealed>(server[2]));

    const auto client = events_in(capture("tls13_retry.client"));
    REQUIRE(client.size() == 3);
    CHECK(std::get<tls::ClientHello>(client[1]).key_shares
        == std::vector<std::uint16_t>{25});
}

TEST_CASE("TLS 1.2 shows the certificate and the group", "[tls]")
{
    const auto events = events_in(capture("tls12_curl.server"));
    const auto certificate = only<tls::Certificate>(events);
    CHECK(certificate.subject == "CN=localhost, O=Class");
    CHECK(certificate.issuer == "CN=localhost, O=Class");
    CHECK(certificate.not_before.size() == 13);
    CHECK(certificate.not_before < certificate.not_after);
    CHECK(only<tls::KeyExchange>(events).group == 29);
    CHECK(only<tls::ServerHello>(events).version == 0x0303);
}

TEST_CASE(
    "what is sealed shows where, and how long the first record is", "[tls]")
{
    for (const std::string name : {"tls13_curl", "tls12_curl"})
        for (const char* side : {".client", ".server"}) {
            INFO(name << side);
            const auto events = events_in(capture(name + side));
            CHECK(std::holds_alternative<tls::Sealed>(events.back()));
            CHECK_FALSE(only<tls::Sealed>(events).has_size_of_alert);
        }
    CHECK(only<tls::Sealed>(events_in(capture("tls13_curl.client"))).length
        == 69);
}

TEST_CASE("alerts have names while they are in clear", "[tls]")
{
    for (const char* name :
        {"tls12_refused.client", "tls13_refused_curl.client"}) {
        const auto alert = only<tls::Alert>(events_in(capture(name)));
        CHECK(alert.fatal);
        CHECK(tls::alert_name(alert.number) == "unknown_ca (48)");
    }
    for (const char* name :
        {"tls13_refused_gnutls.client", "tls13_chromium.client"})
        CHECK(only<tls::Sealed>(events_in(capture(name))).has_size_of_alert);
    CHECK(tls::alert_name(199) == "alert 0x00c7 (199)");
}

TEST_CASE("P69: cut at every byte, the same is seen", "[tls]")
{
    for (const std::string& name : captures)
        for (const char* side : {".client", ".server"}) {
            const std::string bytes = capture(name + side);
            for (const auto depth :
                {Reader::Depth::messages, Reader::Depth::records}) {
                Reader whole{depth};
                const auto expected = words_of(whole, {bytes});
                const std::string_view all{bytes};
                for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
                    Reader reader{depth};
                    if (words_of(reader, {all.substr(0, cut), all.substr(cut)})
                        != expected)
                        FAIL(name << side << " cut at " << cut);
                }
                Reader byte_by_byte{depth};
                std::vector<std::string_view> pieces;
                for (std::size_t i = 0; i < all.size(); ++i)
                    pieces.push_back(all.substr(i, 1));
                CHECK(words_of(byte_by_byte, pieces) == expected);
            }
        }
}

TEST_CASE("P69: a hello may be spread over many records", "[tls]")
{
    const std::string hello = capture("tls13_curl.client").substr(5, 512);
    for (const std::size_t size : {1U, 3U, 4U, 100U, 511U}) {
        std::string bytes;
        for (std::size_t i = 0; i < hello.size(); i += size)
            bytes += record(22, hello.substr(i, size));
        CHECK(only<tls::ClientHello>(events_in(bytes)).server_name
            == "localhost");
    }
}

TEST_CASE("without records of handshakes, verdicts still have what they need",
    "[tls]")
{
    for (const std::string& name : captures)
        for (const char* side : {".client", ".server"}) {
            INFO(name << side);
            const std::string bytes = capture(name + side);
            Reader little{Reader::Depth::records};
            Reader all{Reader::Depth::messages};
            little.read(bytes);
            all.read(bytes);
            CHECK(little.has_hello());
            CHECK(little.alert().has_value() == all.alert().has_value());
            CHECK(little.sealed().has_value() == all.sealed().has_value());
            CHECK(little.has_data() == all.has_data());
            CHECK(little.has_goodbye() == all.has_goodbye());
        }
}

TEST_CASE("what is no TLS is said to be what it looks like", "[tls]")
{
    struct Row {
        std::string bytes;
        std::string looks_like;
    };
    for (const Row& row : {Row{"SSH-2.0-OpenSSH_9.2\r\n", "SSH"},
             {"HTTP/1.1 400 Bad Request\r\n", "HTTP"},
             {"GET / HTTP/1.1\r\n", "HTTP"},
             {"PRI * HTTP/2.0\r\n", "HTTP/2 in clear"},
             {"220 mail ESMTP\r\n", "SMTP or FTP"},
             {std::string{"\x80\x2e\x01\x00\x02", 5}, "the hello of SSL 2"},
             {"\x05\x01\x02\x03", ""}, {"\x16\x04\x01\x02", ""}}) {
        Reader reader{Reader::Depth::records};
        const auto events = reader.read(row.bytes);
        REQUIRE(reader.not_tls());
        CHECK(only<tls::NotTls>(events).looks_like == row.looks_like);
        CHECK(reader.is_done());
        CHECK(reader.read(row.bytes).empty());
    }
}

TEST_CASE(
    "P69: what breaks its own lengths is not decoded, and no harm", "[tls]")
{
    const auto reason = [](const std::string& bytes) {
        return only<tls::NotDecoded>(events_in(bytes)).reason;
    };
    const std::string name = number(5, 2) + number(0, 1) + number(9, 2) + "ab";
    CHECK_THAT(reason(record(22, client_hello(extension(0, name)))),
        ContainsSubstring("type 1 that breaks its own lengths"));
    CHECK_THAT(reason(record(22, message(2, "\x03\x03"))),
        ContainsSubstring("type 2"));
    CHECK_THAT(reason(record(22, client_hello("")) + "GET / HTTP/1.1"),
        ContainsSubstring("something that is no TLS record"));
    CHECK_THAT(reason(record(22, client_hello("")) + "\x16\x03\x03\xff\xff"),
        ContainsSubstring("something that is no TLS record"));
    CHECK_THAT(reason(record(23, "sealed, but by which key?")),
        ContainsSubstring("without a hello"));
}

TEST_CASE("a hello without extensions has no server name", "[tls]")
{
    const auto hello
        = only<tls::ClientHello>(events_in(record(22, client_hello(""))));
    CHECK(hello.server_name.empty());
    CHECK(hello.versions == std::vector<std::uint16_t>{0x0303});
    CHECK_THAT(to_words(tls::Event{hello}),
        ContainsSubstring("server name (SNI): none"));
}

TEST_CASE("a handshake without end is given up at 64 KiB", "[tls]")
{
    Reader reader{Reader::Depth::messages};
    const std::string endless = record(22, std::string(16000, '\x03'));
    int given_up = 0;
    for (int i = 0; i < 10; ++i)
        for (const tls::Event& event : reader.read(endless))
            given_up += std::holds_alternative<tls::NotDecoded>(event) ? 1 : 0;
    CHECK(given_up == 1);
    CHECK(reader.is_done());
}

TEST_CASE(
    "names of TLS stand for their numbers, and GREASE for nothing", "[tls]")
{
    CHECK(tls::is_grease(0x0a0a));
    CHECK(tls::is_grease(0xfafa));
    CHECK_FALSE(tls::is_grease(0x0a1a));
    CHECK_FALSE(tls::is_grease(0x1301));
    CHECK(tls::cipher_name(0x1399) == "cipher suite 0x1399");
    CHECK(tls::is_about_certificate(45));
    CHECK_FALSE(tls::is_about_certificate(47));
    CHECK_FALSE(tls::is_about_certificate(112));
}

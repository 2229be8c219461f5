#include "support/log/tls.h"

#include "catch.h"
#include "harness.h"
#include "support/log/tls_names.h"
#include "tls_bytes.h"
#include "tls_told.h"

namespace {

using namespace tls_bytes;
using namespace tls_told;
using tls::Reader;

std::string capture(const std::string& name)
{
    return read_file("tests/captures/" + name);
}

const std::vector<std::string> captures{"tls13_curl", "tls12_curl",
    "tls13_retry", "tls12_refused", "tls13_refused_curl",
    "tls13_refused_gnutls", "tls13_wrong_name", "tls13_chromium"};

}  // namespace

TEST_CASE("the hello of curl shows what it asks for", "[tls]")
{
    const Message hello
        = only(messages_in(capture("tls13_curl.client")), "ClientHello");
    CHECK(value<std::uint64_t>(hello, "size") == 512);
    CHECK(text(hello, "sni") == "localhost");
    CHECK(names(hello, "alpn") == Names{"h2", "http/1.1"});
    CHECK(names(hello, "versions")
        == Names{"TLS 1.3", "TLS 1.2", "TLS 1.1", "TLS 1.0"});
    CHECK(names(hello, "key_shares") == Names{"x25519"});
    CHECK_FALSE(value<bool>(hello, "ech"));
    CHECK(hello.text
        == "TLS ClientHello, 512 bytes in clear\n"
           "  server name (SNI): localhost\n"
           "  protocols (ALPN): h2, http/1.1\n"
           "  versions: TLS 1.3, TLS 1.2, TLS 1.1, TLS 1.0\n"
           "  groups: x25519, secp256r1, x448, secp521r1, secp384r1, "
           "ffdhe2048, ffdhe3072, ffdhe4096, ffdhe6144, ffdhe8192\n"
           "  key shares: x25519\n"
           "  Encrypted Client Hello: not used");
}

TEST_CASE(
    "a hello longer than 1460 bytes shows whole, GREASE left out", "[tls]")
{
    const Message hello
        = only(messages_in(capture("tls13_chromium.client")), "ClientHello");
    CHECK(value<std::uint64_t>(hello, "size") > 1700);
    CHECK(text(hello, "sni") == "localhost");
    CHECK(names(hello, "versions") == Names{"TLS 1.3", "TLS 1.2"});
    CHECK(names(hello, "key_shares") == Names{"X25519MLKEM768", "x25519"});
    CHECK(value<bool>(hello, "ech"));
    CHECK_THAT(hello.text, ContainsSubstring("stand-in"));
}

TEST_CASE("the hello of a server shows what it chose", "[tls]")
{
    const Message hello
        = only(messages_in(capture("tls13_curl.server")), "ServerHello");
    CHECK(text(hello, "version") == "TLS 1.3");
    CHECK(text(hello, "cipher") == "TLS_AES_256_GCM_SHA384");
    CHECK(text(hello, "group") == "x25519");
    CHECK_FALSE(has(hello, "alpn"));  // it is sealed
    CHECK(hello.text
        == "TLS ServerHello\n  version: TLS 1.3\n"
           "  cipher suite: TLS_AES_256_GCM_SHA384\n  group: x25519");
}

TEST_CASE("after a HelloRetryRequest the second hellos are read too", "[tls]")
{
    const Messages server = messages_in(capture("tls13_retry.server"));
    REQUIRE(server.size() == 3);
    CHECK(text(server[0], "tls") == "HelloRetryRequest");
    CHECK_THAT(server[0].text, ContainsSubstring("secp521r1"));
    CHECK(text(server[1], "tls") == "ServerHello");
    CHECK(text(server[1], "group") == "secp521r1");
    CHECK(text(server[2], "tls") == "sealed");

    const Messages client = messages_in(capture("tls13_retry.client"));
    REQUIRE(client.size() == 3);
    CHECK(names(client[1], "key_shares") == Names{"secp521r1"});
}

TEST_CASE("TLS 1.2 shows the certificate and the group", "[tls]")
{
    const Messages messages = messages_in(capture("tls12_curl.server"));
    const Message certificate = only(messages, "Certificate");
    CHECK(text(certificate, "subject") == "CN=localhost, O=Class");
    CHECK(text(certificate, "issuer") == "CN=localhost, O=Class");
    CHECK(text(certificate, "not_before").size() == 13);
    CHECK(text(certificate, "not_before") < text(certificate, "not_after"));
    CHECK(text(only(messages, "ServerKeyExchange"), "group") == "x25519");
    CHECK(text(only(messages, "ServerHello"), "version") == "TLS 1.2");
}

TEST_CASE(
    "what is sealed shows where, and how long the first record is", "[tls]")
{
    for (const std::string name : {"tls13_curl", "tls12_curl"})
        for (const char* side : {".client", ".server"}) {
            INFO(name << side);
            const Messages messages = messages_in(capture(name + side));
            CHECK(text(messages.back(), "tls") == "sealed");
            CHECK_FALSE(
                value<bool>(only(messages, "sealed"), "has_size_of_alert"));
        }
    CHECK(value<std::uint64_t>(
              only(messages_in(capture("tls13_curl.client")), "sealed"), "size")
        == 69);
}

TEST_CASE("alerts have names while they are in clear", "[tls]")
{
    for (const char* name :
        {"tls12_refused.client", "tls13_refused_curl.client"}) {
        const Told told = told_of({capture(name)});
        CHECK(told.seen.fatal_alert == 48);
        const Message alert = only(told.messages, "Alert");
        CHECK(value<bool>(alert, "fatal"));
        CHECK(text(alert, "alert") == "unknown_ca (48)");
    }
    for (const char* name :
        {"tls13_refused_gnutls.client", "tls13_chromium.client"})
        CHECK(value<bool>(
            only(messages_in(capture(name)), "sealed"), "has_size_of_alert"));
    CHECK(tls::alert_name(199) == "alert 0x00c7 (199)");
}

TEST_CASE("an alert that is a warning ends nothing", "[tls]")
{
    const Told told = told_of({record(21, "\x01\x70")});
    CHECK_FALSE(told.seen.fatal_alert);
    CHECK(only(told.messages, "Alert").text
        == "TLS alert in clear: unrecognized_name (112), a warning");
}

TEST_CASE("cut at every byte, the same is seen", "[tls]")
{
    for (const std::string& name : captures)
        for (const char* side : {".client", ".server"}) {
            const std::string bytes = capture(name + side);
            const std::string_view all{bytes};
            for (const bool decodes : {true, false}) {
                const Told expected = told_of({all}, decodes);
                for (std::size_t cut = 0; cut <= bytes.size(); ++cut)
                    if (told_of({all.substr(0, cut), all.substr(cut)}, decodes)
                        != expected)
                        FAIL(name << side << " cut at " << cut);
                std::vector<std::string_view> pieces;
                for (std::size_t i = 0; i < all.size(); ++i)
                    pieces.push_back(all.substr(i, 1));
                CHECK(told_of(pieces, decodes) == expected);
            }
        }
}

TEST_CASE("a hello may be spread over many records", "[tls]")
{
    const std::string hello = capture("tls13_curl.client").substr(5, 512);
    for (const std::size_t size : {1U, 3U, 4U, 100U, 511U}) {
        std::string bytes;
        for (std::size_t i = 0; i < hello.size(); i += size)
            bytes += record(22, hello.substr(i, size));
        CHECK(text(only(messages_in(bytes), "ClientHello"), "sni")
            == "localhost");
    }
}

TEST_CASE("a hello that never ends is a hello", "[tls]")
{
    const std::string bytes = capture("tls13_curl.client");
    CHECK_FALSE(told_of({bytes.substr(0, 5)}).seen.hello);
    CHECK(told_of({bytes.substr(0, 6)}).seen.hello);
}

TEST_CASE("without decoding, verdicts still have what they need", "[tls]")
{
    for (const std::string& name : captures)
        for (const char* side : {".client", ".server"}) {
            INFO(name << side);
            const std::string bytes = capture(name + side);
            const Told little = told_of({bytes}, false);
            CHECK(little.seen.hello);
            CHECK(little.seen == told_of({bytes}).seen);
        }
}

TEST_CASE("each record is told as it passes, until there are many", "[tls]")
{
    Messages records;
    std::size_t bulk = 0;
    Reader reader{[&](const Message& message) {
                      if (message.kind == "record")
                          records.push_back(message);
                      bulk += message.kind == "bulk";
                  },
        true};
    reader.read(capture("tls13_curl.server"));
    REQUIRE(records.size() >= 3);
    CHECK_FALSE(value<bool>(records[0], "sealed"));
    CHECK(text(records[0], "type") == "handshake");
    CHECK(text(records[0], "hex").empty());  // what is in clear is not kept
    CHECK(text(records[1], "type") == "change_cipher_spec");
    CHECK(value<bool>(records[2], "sealed"));
    CHECK_THAT(text(records[2], "hex"), StartsWith("17 03 03 "));
    CHECK(text(records[2], "hex").size() == 9 * 3 - 1);
    CHECK(records[2].weight == Weight::drawn);
    CHECK_FALSE(reader.is_done());

    const std::string sealed
        = "\x17\x03\x03" + std::string("\x01\x00", 2) + std::string(256, 's');
    for (int i = 0; i < 100; ++i)
        reader.read(sealed);
    CHECK(records.size() < 20);
    CHECK(value<std::uint64_t>(records.back(), "size") == 261);
    CHECK(bulk == 1);
    CHECK(reader.is_done());
}

TEST_CASE("after bytes that it did not see a reader tells no record", "[tls]")
{
    std::vector<std::string_view> kinds;
    Reader reader{
        [&](const Message& message) { kinds.push_back(message.kind); }, true};
    reader.read(capture("tls13_curl.client"));
    kinds.clear();
    reader.miss();
    reader.miss();
    CHECK(kinds == std::vector<std::string_view>{"bulk"});
    CHECK(reader.is_done());
}

TEST_CASE("bytes that are not TLS are never kept", "[tls]")
{
    Messages messages;
    Reader reader{
        [&](const Message& message) { messages.push_back(message); }, true};
    reader.read("USER sam\r\nPASS secret\r\n");
    REQUIRE(messages.size() == 1);
    CHECK(text(messages[0], "tls") == "none");
    CHECK(reader.is_done());
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
        const Told told = told_of({row.bytes, row.bytes});
        CHECK(told.seen.not_tls == row.looks_like);
        CHECK(
            text(only(told.messages, "none"), "looks_like") == row.looks_like);
        CHECK(told.done);
    }
}

TEST_CASE("what breaks its own lengths is not decoded, and no harm", "[tls]")
{
    const auto reason = [](const std::string& bytes) {
        return text(only(messages_in(bytes), "not decoded"), "detail");
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
    const std::string indefinite = number(5, 3) + number(2, 3) + "\x30\x80";
    CHECK_THAT(reason(record(22, message(11, indefinite))),
        ContainsSubstring("type 11"));
    CHECK_THAT(reason(record(23, "sealed, but by which key?")),
        ContainsSubstring("without a hello"));
}

TEST_CASE("a hello without extensions has no server name", "[tls]")
{
    const Message hello
        = only(messages_in(record(22, client_hello(""))), "ClientHello");
    CHECK(text(hello, "sni").empty());
    CHECK(names(hello, "versions") == Names{"TLS 1.2"});
    CHECK_THAT(hello.text, ContainsSubstring("server name (SNI): none"));
}

// RFC 8422 §5.4: 3 is a named curve; parameters written out have no name.
TEST_CASE("a key exchange without a named curve shows nothing", "[tls]")
{
    const std::string explicit_prime{"\x01\x00\x1d", 3};
    CHECK(messages_in(record(22, message(12, explicit_prime))).empty());
    CHECK(
        text(only(messages_in(record(22, message(12, "\x03" + number(29, 2)))),
                 "ServerKeyExchange"),
            "group")
        == "x25519");
}

// RFC 6066 §3 has one type of name, and lets others be added.
TEST_CASE("a name of another type is no server name", "[tls]")
{
    const std::string other = number(1, 1) + number(2, 2) + "ab";
    const std::string host = number(0, 1) + number(1, 2) + "h";
    const auto sni = [](const std::string& list) {
        const std::string body = number(list.size(), 2) + list;
        return text(
            only(messages_in(record(22, client_hello(extension(0, body)))),
                "ClientHello"),
            "sni");
    };
    CHECK(sni(other).empty());
    CHECK(sni(other + host) == "h");
}

// RFC 6520: a heartbeat may come between any two records.
TEST_CASE("a heartbeat shows nothing and ends nothing", "[tls]")
{
    const Messages messages = messages_in(
        record(24, std::string(20, '\x01')) + record(22, client_hello("")));
    REQUIRE(messages.size() == 1);
    CHECK(text(messages[0], "tls") == "ClientHello");
}

TEST_CASE("small records without end are given up at 64 KiB", "[tls]")
{
    const std::string warning = record(21, "\x01\x5a");
    const Told told = told_of(std::vector<std::string_view>(10'000, warning));
    CHECK_THAT(text(only(told.messages, "not decoded"), "detail"),
        ContainsSubstring("more than 64 KiB"));
    CHECK(told.done);
}

TEST_CASE("a handshake without end is given up at 64 KiB", "[tls]")
{
    const std::string endless = record(22, std::string(16000, '\x03'));
    const Told told = told_of(std::vector<std::string_view>(10, endless));
    CHECK_THAT(text(only(told.messages, "not decoded"), "detail"),
        ContainsSubstring("more than 64 KiB"));
    CHECK(told.done);
}

TEST_CASE(
    "names of TLS stand for their numbers, and GREASE for nothing", "[tls]")
{
    CHECK(tls::is_grease(0x0a0a));
    CHECK(tls::is_grease(0xfafa));
    CHECK_FALSE(tls::is_grease(0x0a1a));
    CHECK_FALSE(tls::is_grease(0x1301));
    CHECK(tls::group_name(0x11ec) == "X25519MLKEM768");
    CHECK(tls::cipher_name(0x1399) == "cipher suite 0x1399");
    CHECK(tls::is_about_certificate(45));
    CHECK_FALSE(tls::is_about_certificate(47));
    CHECK_FALSE(tls::is_about_certificate(112));
}

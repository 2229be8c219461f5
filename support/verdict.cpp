#include "verdict.h"

#include <cerrno>

#include "tls_names.h"

namespace {

using Words = std::optional<std::string>;

// The first bytes each way are of different protocols.
Words protocols_differ(const tls::Reader& client, const tls::Reader& server)
{
    const auto& other = server.not_tls();
    if (client.has_hello() && other)
        return "seen: the server does not speak TLS on this port"
            + (other->looks_like.empty() ? "" : ", but " + other->looks_like);
    if (client.not_tls() && (server.alert() || server.has_hello()))
        return "seen: the server expects TLS, and the client does not speak it";
    return std::nullopt;
}

Words server_alerted(const tls::Reader& server)
{
    constexpr std::uint8_t handshake_failure = 40;
    constexpr std::uint8_t protocol_version = 70;
    constexpr std::uint8_t unrecognized_name = 112;
    const auto& alert = server.alert();
    if (!alert || !alert->fatal)
        return std::nullopt;
    const std::string words
        = "seen: the server refused: alert " + tls::alert_name(alert->number);
    switch (alert->number) {
    case handshake_failure:
        return words + ": most often no cipher or group in common";
    case protocol_version:
        return words + ": no version of TLS in common";
    case unrecognized_name:
        return words + ": it has no certificate for the name in the hello";
    default:
        return words;
    }
}

Words client_alerted(const tls::Reader& client)
{
    const auto& alert = client.alert();
    if (!alert || !alert->fatal)
        return std::nullopt;
    const bool certificate = tls::is_about_certificate(alert->number);
    return std::string{certificate
                   ? "seen: the client refused the server's certificate: alert "
                   : "seen: the client broke the handshake off: alert "}
    + tls::alert_name(alert->number);
}

// A name that a filter looks for stands in the hello.
Words hello_unanswered(const tls::Reader& client, const tls::Reader& server,
    const Ending& first_ending)
{
    const std::string typical
        = ": typical of filtering by the server name, but also of a server "
          "that is overloaded or is no TLS server";
    if (!client.has_hello() || server.has_begun())
        return std::nullopt;
    if (first_ending.by == Peer::server && first_ending.error == 0)
        return "inferred: closed right after the ClientHello" + typical;
    if (first_ending.by == Peer::server && first_ending.error != ETIMEDOUT)
        return "inferred: reset right after the ClientHello" + typical;
    return "inferred: no answer to the ClientHello" + typical;
}

// The first that a client seals is its Finished, if the handshake goes well.
Words client_left(const tls::Reader& client, const tls::Reader& server,
    const Ending& first_ending)
{
    if (!client.sealed() || !server.has_hello() || client.has_data())
        return std::nullopt;
    if (client.sealed()->has_size_of_alert && !client.has_goodbye())
        return "inferred: the client refused the server's certificate: the "
               "first that it sealed has the size of an alert";
    const bool left_by_itself = client.has_goodbye()
        || (first_ending.by == Peer::client && first_ending.error != ETIMEDOUT);
    if (left_by_itself)
        return "inferred: the client left after the handshake without a "
               "request: some clients check only then if the certificate has "
               "the right name";
    return std::nullopt;
}

}  // namespace

std::optional<std::string> tls_verdict(const tls::Reader& client,
    const tls::Reader& server, const Ending& first_ending)
{
    if (auto words = protocols_differ(client, server))
        return words;
    if (auto words = server_alerted(server))
        return words;
    if (auto words = client_alerted(client))
        return words;
    if (auto words = hello_unanswered(client, server, first_ending))
        return words;
    return client_left(client, server, first_ending);
}

// HSTS itself stays invisible: in https its field is sealed, and what it does,
// to take the user's way round a bad certificate, is done in the client (RFC
// 6797 §12.1).
std::optional<std::string> response_verdict(const ResponseHead& response)
{
    const std::string location
        = combined_value(response.fields, "Location").value_or("");
    if (response.status / 100 != 3
        || !equal_ignoring_case(location.substr(0, 8), "https://"))
        return std::nullopt;
    return "seen: sent on to https, where the proxy will be asked for a "
           "tunnel; a client that knows the site by HSTS goes there at once";
}

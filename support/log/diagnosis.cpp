#include "diagnosis.h"

#include <cerrno>

#include "tls_names.h"

namespace {

// Each of these is empty if it does not apply; the first that does is told.

// The first bytes each way are of different protocols.
std::string protocols_differ(const tls::Seen& client, const tls::Seen& server)
{
    if (client.hello && server.not_tls)
        return "seen: the server does not speak TLS on this port"
            + (server.not_tls->empty() ? "" : ", but " + *server.not_tls);
    if (client.not_tls && (server.fatal_alert || server.hello))
        return "seen: the server expects TLS, and the client does not speak it";
    return "";
}

std::string server_alerted(const tls::Seen& server)
{
    constexpr std::uint8_t handshake_failure = 40;
    constexpr std::uint8_t protocol_version = 70;
    constexpr std::uint8_t unrecognized_name = 112;
    if (!server.fatal_alert)
        return "";
    const std::string words = "seen: the server refused: alert "
        + tls::alert_name(*server.fatal_alert);
    switch (*server.fatal_alert) {
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

std::string client_alerted(const tls::Seen& client)
{
    if (!client.fatal_alert)
        return "";
    const std::string words = tls::is_about_certificate(*client.fatal_alert)
        ? "seen: the client refused the server's certificate: alert "
        : "seen: the client broke the handshake off: alert ";
    return words + tls::alert_name(*client.fatal_alert);
}

// A filter finds the server name in the hello.
std::string hello_unanswered(const tls::Seen& client, const tls::Seen& server,
    const Ending& first_ending)
{
    const std::string typical
        = ": typical of filtering by the server name, but also of a server "
          "that is overloaded or is no TLS server";
    if (!client.hello || server.anything)
        return "";
    if (first_ending.by == Side::server && first_ending.error == 0)
        return "inferred: closed right after the ClientHello" + typical;
    if (first_ending.by == Side::server && first_ending.error != ETIMEDOUT)
        return "inferred: reset right after the ClientHello" + typical;
    return "inferred: no answer to the ClientHello" + typical;
}

// The first that a client seals is its Finished, if the handshake goes well.
std::string client_left(const tls::Seen& client, const tls::Seen& server,
    const Ending& first_ending)
{
    if (!client.sealed || !server.hello || client.data)
        return "";
    if (client.alert_first && !client.alert_later)
        return "inferred: the client refused the server's certificate: the "
               "first that it sealed has the size of an alert";
    const bool left_by_itself = client.alert_later
        || (first_ending.by == Side::client && first_ending.error != ETIMEDOUT);
    if (left_by_itself)
        return "inferred: the client left after the handshake without a "
               "request: some clients check only then if the certificate has "
               "the right name";
    return "";
}

}  // namespace

std::string diagnose_tunnel(const tls::Seen& client, const tls::Seen& server,
    const Ending& first_ending)
{
    for (const std::string& words : {protocols_differ(client, server),
             server_alerted(server), client_alerted(client),
             hello_unanswered(client, server, first_ending),
             client_left(client, server, first_ending)})
        if (!words.empty())
            return words;
    return "";
}

// HSTS itself stays invisible: in https its field is sealed, and what it does,
// to take the user's way round a bad certificate, is done in the client (RFC
// 6797 §12.1).
std::string diagnose_response(const ResponseHead& response)
{
    const std::string location
        = combined_value(response.fields, "Location").value_or("");
    if (response.status / 100 != 3
        || !equal_ignoring_case(location.substr(0, 8), "https://"))
        return "";
    return "seen: sent on to https, where the proxy will be asked for a "
           "tunnel; a client that knows the site by HSTS goes there at once";
}

// tls_message -- the messages of a TLS handshake in clear, decoded and
// described: ClientHello, ServerHello, and of TLS 1.2 the server's certificate
// and the group of its key exchange.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "event.h"

namespace tls {

/// What was seen: text for a reader, in which names from the network are
/// escaped, and the same as values.
struct Message {
    std::string text;
    Values values;
    std::string_view kind = "tls";  ///< or "record", "bulk"
    Weight weight = Weight::story;
};

enum HandshakeType : std::uint8_t {  // RFC 8446 §4
    client_hello = 1,
    server_hello = 2,
    certificate = 11,
    server_key_exchange = 12,
};

/// Describes a message without its header; nullopt for the other types.
std::optional<Message> describe(std::uint8_t type, std::string_view body);

/// Describes bytes that are not decoded.
Message describe_undecoded(const std::string& reason);

}  // namespace tls

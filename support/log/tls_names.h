// tls_names -- the names of TLS's numbers, as IANA registers them.

#pragma once

#include <cstdint>
#include <string>

namespace tls {

/// The registered name of the number, or the number as text if it is not known.
std::string version_name(std::uint16_t number);  ///< "TLS 1.3"
std::string cipher_name(std::uint16_t number);
std::string group_name(std::uint16_t number);
std::string alert_name(std::uint8_t number);  ///< RFC 8446 §6, RFC 5246 §7.2

/// Reserved numbers, which clients send to find servers that do not ignore
/// unknown ones (RFC 8701 §2).
bool is_grease(std::uint16_t number) noexcept;

/// Whether a client sends this alert because of the server's certificate.
bool is_about_certificate(std::uint8_t alert) noexcept;

}  // namespace tls

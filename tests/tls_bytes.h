// TLS messages, made byte by byte.

#pragma once

#include <string>

namespace tls_bytes {

inline std::string number(std::size_t value, std::size_t size)
{
    std::string bytes;
    for (std::size_t i = size; i-- > 0;)
        bytes += static_cast<char>(value >> (8 * i) & 0xff);
    return bytes;
}

inline std::string record(char type, const std::string& payload)
{
    return std::string{type} + "\x03\x03" + number(payload.size(), 2) + payload;
}

inline std::string message(char type, const std::string& body)
{
    return std::string{type} + number(body.size(), 3) + body;
}

inline std::string extension(std::size_t type, const std::string& body)
{
    return number(type, 2) + number(body.size(), 2) + body;
}

inline std::string client_hello(const std::string& extensions)
{
    return message(1,
        "\x03\x03" + std::string(32, 'r') + number(0, 1) + number(2, 2)
            + "\x13\x01" + number(1, 1) + number(0, 1)
            + (extensions.empty() ? ""
                                  : number(extensions.size(), 2) + extensions));
}

/// A part of a certificate: X.690 §8.1, lengths up to 65535.
inline std::string der(char tag, const std::string& content)
{
    return std::string{tag} + '\x82' + number(content.size(), 2) + content;
}

}  // namespace tls_bytes

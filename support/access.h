// access -- who may use the proxy, and for what.

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http_message.h"

/// The credentials that --user asks for, each "name:password".  With none, the
/// proxy is open to all.
class Users {
public:
    Users() = default;
    explicit Users(std::vector<std::string> credentials)
        : credentials_{std::move(credentials)}
    {
    }

    bool any() const noexcept { return !credentials_.empty(); }

    /// Whether a Proxy-Authorization value holds one of them in the Basic
    /// scheme (RFC 7617 §2).  Takes as long for a nearly right password as for
    /// a wrong one.
    bool accept(std::string_view authorization) const;

private:
    std::vector<std::string> credentials_;
};

/// Throws Failure 407 for a request without the right credentials, if any are
/// asked for (RFC 9110 §11.7.2).
void check_credentials(const RequestHead& request, const Users& users);

/// Addresses of clients, as "192.168.0.0/16", "fd00::/8" or one address.
class Networks {
public:
    /// Throws invalid_argument for anything else.
    void add(const std::string& text);
    bool any() const noexcept { return !networks_.empty(); }

    /// "192.168.1.2:50000" or "[fd00::1]:50000"; an IPv4 address that came in
    /// over IPv6, "[::ffff:192.168.1.2]:50000", is the IPv4 address.
    bool contain(const std::string& client) const;

private:
    using Address = std::array<std::uint8_t, 16>;  // IPv4 mapped into IPv6
    struct Network {
        Address address;
        unsigned prefix;  // in bits
    };
    static std::optional<Address> parse(const std::string& text);

    std::vector<Network> networks_;
};

/// Throws Failure 403 for a client from outside, if there are any networks.
void check_client(const std::string& client, const Networks& allowed);

/// Throws Failure 403 for a port that is not among them; with none, any will
/// do.
void check_port(
    const Authority& origin, const std::vector<std::string>& allowed);

/// Our name in Via, unlike that of any other instance, so that a request which
/// comes round to us again is known (RFC 9110 §7.6.3).
const std::string& pseudonym();

/// Throws Failure 508 for a request that has our name in Via already.
void check_loop(const RequestHead& request);

/// Nothing if the text is not exactly base64 with its padding (RFC 4648 §4).
std::optional<std::string> decode_base64(std::string_view text);

// access -- who may use the proxy, and for what.

#pragma once

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

/// Our name in Via, unlike that of any other instance, so that a request which
/// comes round to us again is known (RFC 9110 §7.6.3).
const std::string& pseudonym();

/// Throws Failure 508 for a request that has our name in Via already.
void check_loop(const RequestHead& request);

/// Nothing if the text is not exactly base64 with its padding (RFC 4648 §4).
std::optional<std::string> decode_base64(std::string_view text);

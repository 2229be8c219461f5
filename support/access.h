// access -- who may use the proxy, and for what.

#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/error.h"
#include "http/message.h"

/// The credentials that --user asks for, each "name:password".  With none, the
/// proxy is open to all.
class Users {
public:
    Users() = default;
    explicit Users(const std::vector<std::string>& credentials);

    bool any() const noexcept { return !encoded_.empty(); }

    /// Whether a Proxy-Authorization value holds one of them in the Basic
    /// scheme (RFC 7617 §2).  Takes as long for a nearly right password as for
    /// a wrong one.
    bool accept(std::string_view authorization) const;

private:
    std::vector<std::string> encoded_;
};

std::string encode_base64(std::string_view bytes);  ///< RFC 4648 §4

/// Throws Failure 407 for a request without the right credentials, if any are
/// asked for (RFC 9110 §11.7.2).
void check_credentials(const RequestHead& request, const Users& users);

// --- Addresses --------------------------------------------------------------

/// An address and a port, as getnameinfo(3) and Authority write them:
/// "192.0.2.1:80", "[fe80::1%eth0]:80".
struct Endpoint {
    IpAddress address;
    std::string port;
};
std::optional<Endpoint> parse_endpoint(std::string_view text);

/// Ranges of addresses.  An IPv4 address that is written as IPv6,
/// "::ffff:192.168.1.2", is the IPv4 address.
class Networks {
public:
    Networks(std::initializer_list<const char*> texts = {});

    /// "192.168.0.0/16", "fd00::/8" or one address.  Throws invalid_argument
    /// for anything else.
    void add(const std::string& text);
    bool any() const noexcept { return !networks_.empty(); }
    bool contain(const IpAddress& address) const noexcept;

private:
    struct Network {
        IpAddress address;
        unsigned prefix;  // in bits
    };
    std::vector<Network> networks_;
};

namespace networks {

inline const Networks ipv4{"0.0.0.0/0"};
inline const Networks loopback{"127.0.0.0/8", "::1"};
/// RFC 3927, RFC 4291 §2.5.6
inline const Networks link_local{"169.254.0.0/16", "fe80::/10"};
/// connect(2) takes these for the loopback address.
inline const Networks unspecified{"0.0.0.0", "::"};

}  // namespace networks

/// Whether a client, "192.168.1.2:50000" or "[fd00::1]:50000", comes from one
/// of the networks; always, if there are none.
bool is_allowed(const std::string& client, const Networks& allowed);

/// Whether tunnels may go to the origin's port; with no ports, any will do.
bool is_port_allowed(
    const Authority& origin, const std::vector<std::string>& allowed);

/// Which addresses must not be dialled, and for whom.
class Destinations {
public:
    /// An address that we accept clients on, as bound: "[::]:3128".
    void add_listener(const std::string& bound);

    /// Lets clients on other machines reach this machine's loopback addresses,
    /// and link-local ones.
    void allow_local() noexcept { local_allowed_ = true; }

    /// Gives the addresses of this machine's interfaces, as "192.0.2.1".
    using InterfaceAddresses = std::function<std::vector<std::string>()>;

    /// Decides by the address that would be dialled, "127.0.0.1:3128", and not
    /// by the name that led to it: the Failure for which it must not be, 508
    /// for a listener of our own, 403 for a local address and a client whose
    /// own address is not loopback.  `interfaces` is called only for a listener
    /// on all addresses, 0.0.0.0 or ::.
    std::optional<AddressFailure> refusal(const std::string& dialled,
        const std::string& client, const InterfaceAddresses& interfaces) const;

private:
    bool is_listener(
        const Endpoint& dialled, const InterfaceAddresses& interfaces) const;

    std::vector<Endpoint> listeners_;
    bool local_allowed_ = false;
};

// --- Loops ------------------------------------------------------------------

/// Our name in Via, unlike that of any other instance, so that a request which
/// comes round to us again is known (RFC 9110 §7.6.3).
const std::string& pseudonym();

/// Throws Failure 508 for a request that has our name in Via already.
void check_loop(const RequestHead& request);

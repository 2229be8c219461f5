// dial -- from a host name to a connected socket.

#pragma once

#include <netdb.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "socket.h"

/// The name has no address; what() is getaddrinfo()'s explanation.
struct NameError : std::runtime_error {
    NameError(const std::string& words, bool may_be_temporary)
        : std::runtime_error{words}, temporary{may_be_temporary}
    {
    }
    bool temporary;  ///< EAI_AGAIN: no name server gave a usable answer
};

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

/// Never empty; in the order in which they should be tried.  `flags` as for
/// getaddrinfo().  Throws NameError, system_error.
AddressList resolve(
    const std::string& host, const std::string& port, int flags);

/// "[::1]:80, 127.0.0.1:80"
std::string to_string(const AddressList& addresses);

/// Is told how dialling goes on.  What it throws ends the dialling.
class DialObserver {
public:
    virtual ~DialObserver() = default;

    virtual void resolved(const AddressList& /*addresses*/) { }
    /// An address is about to be tried; false leaves it out.
    virtual bool connecting(const std::string& /*address*/) { return true; }
    /// With errno; ETIMEDOUT if the time ran out.
    virtual void failed(const std::string& /*address*/, int /*error*/) { }
    /// The client has sent a FIN.  Called once.
    virtual void client_finished() { }
};

/// Resolves the name in this thread, then tries its addresses, staggered
/// (RFC 8305 §5), all together for `timeout`.  Nothing if none was reached.
/// Throws NameError, or NetError if `client`, when there is one, was reset.
std::optional<NamedSocket> dial(const std::string& host,
    const std::string& port, milliseconds timeout, DialObserver& observer,
    const Socket* client = nullptr);

/// Returns to the system the pages of this thread's stack that were used once,
/// by the resolver say, and are not now.
void give_back_unused_stack() noexcept;

/// The addresses of this machine's interfaces, without ports: getifaddrs(3).
std::vector<std::string> interface_addresses();

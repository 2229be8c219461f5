// resolver -- the addresses of a host name.

#pragma once

#include <netdb.h>

#include <memory>
#include <stdexcept>

#include "http_message.h"
#include "process.h"

/// The host name has no address, or none was found in time; what() is the
/// resolver's own explanation.
struct NameError : std::runtime_error {
    explicit NameError(const std::string& words, bool too_late = false)
        : std::runtime_error{words}, timed_out{too_late}
    {
    }
    bool timed_out;
};

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

/// Never empty.  `flags` as for getaddrinfo().  Takes its time.
AddressList resolve(const Authority& name, int flags);

/// The same for at most `patience`.  The resolver cannot be interrupted, so it
/// works in a thread of its own, which is left to itself when time is up; an
/// address needs neither.
AddressList resolve_within(const Authority& name, milliseconds patience);

/// The threads that are left to themselves.
DetachedThreads& resolver_threads();

// failure -- every way in which a request can fail, and what the client is
// told.
//
// The rule that the whole program keeps: a Failure is thrown only while the
// client has been sent no part of a final response.  After that there is
// nothing honest left to say, and the only answer is to close.

#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "http_message.h"

enum class Cause {
    malformed_request,
    not_for_a_proxy,
    use_connect,
    tls_to_plain_port,
    request_cut_short,
    credentials_missing,
    credentials_wrong,
    client_not_allowed,
    port_not_allowed,
    loop,
    head_timeout,
    body_timeout,
    target_too_long,
    head_too_large,
    coding_not_supported,
    version_not_supported,
    name_not_resolved,
    name_timeout,
    connection_refused,
    unreachable,
    connect_timeout,
    server_closed,
    server_reset,
    server_timeout,
    malformed_response,
    too_many_clients,
    limit_reached,
    internal_error,
};

/// What goes on the wire for a cause: no two share a reason phrase, because
/// curl shows nothing else of a failed CONNECT.
struct CauseText {
    Cause cause;
    int status;
    std::string_view reason;
    std::string_view error_type;  ///< RFC 9209 §2.3; empty where none fits
    std::string_view advice;  ///< one sentence: what to check next
};
const CauseText& describe(Cause cause);

/// what() is the detail: the name, the address, the resolver's words.
struct Failure : std::runtime_error {
    Failure(Cause why, const std::string& detail)
        : std::runtime_error{detail}, cause{why}
    {
    }
    Cause cause;
};

/// A malformed message, blamed on its sender.
Failure bad_request(const MessageError& error);
Failure bad_response(const MessageError& error);

/// A Failure is itself, a MessageError the client's fault, the rest is ours, or
/// that of a limit of the system.
Failure to_failure(const std::exception& error);

/// The whole response, its body left out for HEAD.  It announces the close.
std::string failure_response(const Failure& failure, std::string_view method);

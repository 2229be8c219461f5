// error -- the table of failures, and the responses that the proxy makes
// itself: for a failure, and for requests addressed to the proxy.
//
// A Failure is thrown only while the client has been sent no part of a final
// response.  Once that has begun, an error can only close the connection.

#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

struct RequestHead;

/// A row of the table of failures.  No two share a reason phrase, because curl
/// shows nothing else of a failed CONNECT.
struct ErrorKind {
    int status;
    std::string_view reason;
    std::string_view advice;  ///< one sentence: what to check next
    /// for Proxy-Status, RFC 9209 §2.3; empty if none fits
    std::string_view error_type = "http_request_error";
    int rank = 0;  ///< the highest is reported: see connect_failure()
};

namespace error {

inline constexpr ErrorKind malformed_request{400, "Malformed Request",
    "The request breaks the grammar of HTTP/1.1; it was not forwarded as a "
    "whole."};
inline constexpr ErrorKind not_for_a_proxy{400, "Not A Proxy Request",
    "This is a forward proxy: try curl -x with this address and a URL."};
inline constexpr ErrorKind use_connect{400, "Use CONNECT For https",
    "This proxy relays http only: for https send CONNECT."};
inline constexpr ErrorKind tls_to_plain_port{400, "TLS Sent To The Plain Port",
    "Speak plain HTTP to the proxy itself: curl -x http://..., not "
    "https://..."};
inline constexpr ErrorKind request_cut_short{400, "Request Cut Short",
    "The client sent the beginning of a request, and then a FIN."};
inline constexpr ErrorKind credentials_missing{407,
    "Proxy Authentication Required",
    "This proxy asks for a name and a password: curl -U name:password.",
    "http_request_denied"};
inline constexpr ErrorKind credentials_wrong{407, "Proxy Credentials Rejected",
    "The name or the password is wrong: check what follows curl -U.",
    "http_request_denied"};
inline constexpr ErrorKind client_not_allowed{403, "Client Address Not Allowed",
    "This proxy serves some addresses only: see its --allow.",
    "http_request_denied"};
inline constexpr ErrorKind port_not_allowed{403, "Port Not Allowed",
    "This proxy makes tunnels to some ports only: see its --connect-ports.",
    "http_request_denied"};
inline constexpr ErrorKind local_destination{403,
    "Local Destination Not Allowed",
    "Clients on other machines reach no loopback or link-local address through "
    "this proxy: see its --allow-local-destinations.",
    "destination_ip_prohibited"};
inline constexpr ErrorKind loop{508, "Loop Detected",
    "The request leads back to this proxy, directly or through another one.",
    "proxy_loop_detected", 6};
inline constexpr ErrorKind head_timeout{408, "Request Head Timeout",
    "The head of the request did not arrive in time."};
inline constexpr ErrorKind body_timeout{408, "Request Body Timeout",
    "The body of the request stopped before its end."};
inline constexpr ErrorKind target_too_long{
    414, "URI Too Long", "Shorten the URL."};
inline constexpr ErrorKind head_too_large{431,
    "Request Header Fields Too Large", "Send fewer or shorter field lines."};
inline constexpr ErrorKind coding_not_supported{501, "Transfer Coding Unknown",
    "Send the body chunked, or with its length."};
inline constexpr ErrorKind version_not_supported{
    505, "HTTP Version Not Supported", "Speak HTTP/1.1 to this proxy."};
inline constexpr ErrorKind name_not_resolved{502, "Name Not Resolved",
    "Check the spelling of the host name, then the resolver.", "dns_error"};
inline constexpr ErrorKind name_timeout{504,
    "Name Server Gave No Usable Answer",
    "The name server is silent or failed: check the network of the proxy.",
    "dns_timeout"};
inline constexpr ErrorKind connection_refused{502, "Connection Refused",
    "The host is there, but nothing listens on that port.",
    "connection_refused", 5};
inline constexpr ErrorKind unreachable{502, "Host Unreachable",
    "No route leads to that address: check the network.",
    "destination_ip_unroutable", 2};
inline constexpr ErrorKind connect_timeout{504, "Connection Timed Out",
    "Nothing answers at that address: it is down, or a firewall drops the "
    "packets.",
    "connection_timeout", 3};
inline constexpr ErrorKind server_closed{502, "Server Closed Without Answer",
    "The server accepted the connection, then closed it without a response.",
    "connection_terminated"};
inline constexpr ErrorKind server_reset{502, "Server Reset The Connection",
    "The server, or a device in between, broke the connection.",
    "connection_terminated", 5};
inline constexpr ErrorKind server_timeout{504, "Server Sent No Answer",
    "The server accepted the request, then stayed silent.",
    "http_response_timeout"};
inline constexpr ErrorKind response_head_timeout{504, "Response Head Timeout",
    "The server began a response, and did not complete its head in time.",
    "http_response_timeout"};
inline constexpr ErrorKind interim_flood{502, "Too Many Interim Responses",
    "The server sent more than 100 interim (1xx) responses in a second.",
    "http_protocol_error"};
inline constexpr ErrorKind malformed_response{502, "Malformed Response",
    "The response breaks the grammar of HTTP/1.1, and was not forwarded.",
    "http_protocol_error"};
inline constexpr ErrorKind live_password{401, "Live Page Needs A Password",
    "The live page asks for a name and a password of --user.",
    "http_request_denied"};
inline constexpr ErrorKind live_loopback_only{403, "Live Page Is Local Only",
    "Without --user the live page is for loopback clients only.",
    "http_request_denied"};
inline constexpr ErrorKind live_by_name{403, "Live Page Not By That Name",
    "Without --user ask for the live page by an address, or as localhost.",
    "http_request_denied"};
inline constexpr ErrorKind live_foreign{403, "Live Page Not For Other Sites",
    "Open the live page itself.", "http_request_denied"};
inline constexpr ErrorKind too_many_watchers{503, "Too Many Live Pages",
    "Close the live page in another tab or browser.", ""};
inline constexpr ErrorKind too_many_clients{
    503, "Too Many Clients", "Try again when other clients are done.", ""};
inline constexpr ErrorKind limit_reached{503, "Proxy Out Of Resources",
    "An operating-system limit was reached; the log names it.",
    "proxy_internal_error", 4};
inline constexpr ErrorKind internal_error{500, "Proxy Failure",
    "The proxy's own log says more.", "proxy_internal_error", 1};

}  // namespace error

/// what() is the detail: the name, the address, the resolver's text.
class Failure : public std::runtime_error {
public:
    Failure(const ErrorKind& kind, const std::string& detail)
        : std::runtime_error{detail}, kind_{&kind}
    {
    }
    const ErrorKind& kind() const noexcept { return *kind_; }

private:
    const ErrorKind* kind_;
};

/// A message that breaks the grammar or a limit.  Its kind is the one for a
/// request; blame_server() gives the one for a response.
struct MessageError : Failure {
    using Failure::Failure;
    explicit MessageError(const std::string& how)
        : Failure{error::malformed_request, how}
    {
    }
};

inline void refuse_if(bool is_malformed, const char* how)
{
    if (is_malformed)
        throw MessageError{how};
}

/// 502 for a response that is malformed.
Failure blame_server(const MessageError& error);

/// 503 for an errno value that says that a limit was reached, and which one and
/// how to raise it; 500 for any other.
Failure system_failure(int error, const std::string& detail);

/// Why one address of the origin server was not reached.
struct AddressFailure {
    std::string address;
    const ErrorKind* kind;
    std::string detail;
};

/// What an errno of socket(2) or connect(2) means for the client.  `address` is
/// what was dialled, such as "[::1]:80": some values mean something else for
/// another family of addresses.
AddressFailure address_failure(const std::string& address, int error);

/// One Failure for all addresses of a name, in whose detail each has its part.
/// Its kind is the one of the highest rank: an answer of a host (refused,
/// reset) outranks a limit of the proxy, which outranks silence, which outranks
/// a missing route.  Of equals the first counts.
Failure connect_failure(const std::vector<AddressFailure>& addresses);

// --- Responses of the proxy itself ------------------------------------------

// Each is a complete response with Connection: close, and has no body for HEAD.

std::string failure_response(const Failure& failure, std::string_view method);

/// Answers GET / and OPTIONS *, and an OPTIONS or TRACE that must not be
/// forwarded (Max-Forwards: 0, RFC 9110 §7.6.2).  Nothing for other requests.
/// Throws MessageError for a bad Max-Forwards.
std::optional<std::string> own_answer(const RequestHead& request);

/// The proxy's own page, for GET or HEAD of "/".  Nothing for other requests.
std::optional<std::string> own_page(const RequestHead& request);

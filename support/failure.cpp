#include "failure.h"

#include <algorithm>
#include <array>
#include <system_error>

#include "limits.h"

namespace {

constexpr std::array causes{
    CauseText{Cause::malformed_request, 400, "Malformed Request",
        "http_request_error",
        "The request breaks the grammar of HTTP/1.1, and was not forwarded."},
    CauseText{Cause::not_for_a_proxy, 400, "Not A Proxy Request",
        "http_request_error",
        "This is a forward proxy: try curl -x with this address and a URL."},
    CauseText{Cause::use_connect, 400, "Use CONNECT For https",
        "http_request_error",
        "A proxy cannot fetch https for you; ask it for a tunnel instead."},
    CauseText{Cause::tls_to_plain_port, 400, "TLS Sent To The Plain Port",
        "http_request_error",
        "Speak plain HTTP to the proxy itself: curl -x http://..., not "
        "https://..."},
    CauseText{Cause::request_cut_short, 400, "Request Cut Short",
        "http_request_error",
        "The request ended before the body that it announced."},
    CauseText{Cause::credentials_missing, 407, "Proxy Authentication Required",
        "http_request_denied",
        "This proxy asks for a name and a password: curl -U name:password."},
    CauseText{Cause::credentials_wrong, 407, "Proxy Credentials Rejected",
        "http_request_denied",
        "The name or the password is wrong: check what follows curl -U."},
    CauseText{Cause::client_not_allowed, 403, "Client Address Not Allowed",
        "http_request_denied",
        "This proxy serves some addresses only: see its --allow."},
    CauseText{Cause::port_not_allowed, 403, "Port Not Allowed",
        "http_request_denied",
        "This proxy makes tunnels to some ports only: see its "
        "--connect-ports."},
    CauseText{Cause::loop, 508, "Loop Detected", "proxy_loop_detected",
        "The request has been here before: two proxies send it to each "
        "other."},
    CauseText{Cause::head_timeout, 408, "Request Head Timeout",
        "http_request_error",
        "The head of the request did not arrive in time."},
    CauseText{Cause::body_timeout, 408, "Request Body Timeout",
        "http_request_error",
        "The body of the request stopped before its end."},
    CauseText{Cause::target_too_long, 414, "URI Too Long", "http_request_error",
        "Shorten the URL."},
    CauseText{Cause::head_too_large, 431, "Request Header Fields Too Large",
        "http_request_error", "Send fewer or shorter field lines."},
    CauseText{Cause::coding_not_supported, 501, "Transfer Coding Unknown",
        "http_request_error", "Send the body chunked, or with its length."},
    CauseText{Cause::version_not_supported, 505, "HTTP Version Not Supported",
        "http_request_error", "Speak HTTP/1.1 to this proxy."},
    CauseText{Cause::name_not_resolved, 502, "Name Not Resolved", "dns_error",
        "Check the spelling of the host name, then the resolver."},
    CauseText{Cause::name_timeout, 504, "Name Resolution Timed Out",
        "dns_timeout",
        "The name server does not answer: check the network of the proxy."},
    CauseText{Cause::connection_refused, 502, "Connection Refused",
        "connection_refused",
        "The host is there, but nothing listens on that port."},
    CauseText{Cause::unreachable, 502, "Host Unreachable",
        "destination_ip_unroutable",
        "No route leads to that address: check the network."},
    CauseText{Cause::connect_timeout, 504, "Connection Timed Out",
        "connection_timeout",
        "Nothing answers at that address: it is down, or a firewall drops "
        "the packets."},
    CauseText{Cause::server_closed, 502, "Server Closed Without Answer",
        "connection_terminated",
        "The server accepted the connection, then closed it without a "
        "response."},
    CauseText{Cause::server_reset, 502, "Server Reset The Connection",
        "connection_terminated",
        "The server, or a device in between, broke the connection."},
    CauseText{Cause::server_timeout, 504, "Server Sent No Answer",
        "http_response_timeout",
        "The server accepted the request, then stayed silent."},
    CauseText{Cause::malformed_response, 502, "Malformed Response",
        "http_protocol_error",
        "The response breaks the grammar of HTTP/1.1, and was not forwarded."},
    CauseText{Cause::too_many_clients, 503, "Too Many Clients", "",
        "Try again when other clients are done."},
    CauseText{Cause::limit_reached, 503, "Proxy Out Of Resources",
        "proxy_internal_error",
        "The system gives the proxy no more: the limit can be raised there."},
    CauseText{Cause::internal_error, 500, "Proxy Failure",
        "proxy_internal_error", "The proxy's own log says more."},
};

Cause cause_of(Problem problem)
{
    switch (problem) {
    case Problem::malformed:
        return Cause::malformed_request;
    case Problem::cut_short:
        return Cause::request_cut_short;
    case Problem::target_too_long:
        return Cause::target_too_long;
    case Problem::head_too_large:
        return Cause::head_too_large;
    case Problem::version_not_supported:
        return Cause::version_not_supported;
    case Problem::coding_not_supported:
        return Cause::coding_not_supported;
    case Problem::needs_connect:
        return Cause::use_connect;
    case Problem::looks_like_tls:
        return Cause::tls_to_plain_port;
    case Problem::not_for_a_proxy:
        return Cause::not_for_a_proxy;
    }
    return Cause::internal_error;
}

bool out_of_resources(const std::exception& error)
{
    const auto* const system = dynamic_cast<const std::system_error*>(&error);
    return system != nullptr && is_limit(system->code().value());
}

}  // namespace

const CauseText& describe(Cause cause)
{
    return *std::find_if(causes.begin(), causes.end(),
        [&](const CauseText& text) { return text.cause == cause; });
}

Failure bad_request(const MessageError& error)
{
    return {cause_of(error.problem), error.what()};
}

Failure bad_response(const MessageError& error)
{
    return {Cause::malformed_response, error.what()};
}

Failure to_failure(const std::exception& error)
{
    if (const auto* const failure = dynamic_cast<const Failure*>(&error))
        return *failure;
    if (const auto* const message = dynamic_cast<const MessageError*>(&error))
        return bad_request(*message);
    return {
        out_of_resources(error) ? Cause::limit_reached : Cause::internal_error,
        with_limit(error)};
}

std::string failure_response(const Failure& failure, std::string_view method)
{
    const CauseText& text = describe(failure.cause);
    const std::string body = std::to_string(text.status) + " "
        + std::string{text.reason} + "\n" + failure.what() + "\n"
        + std::string{text.advice} + "\n";

    ResponseHead head;
    head.status = text.status;
    head.reason = text.reason;
    head.fields = {{"Content-Type", "text/plain; charset=utf-8"},
        {"Content-Length", std::to_string(body.size())},
        {"Connection", "close"}};
    if (text.status == 407)  // asks the user again (RFC 9110 §11.7.1)
        head.fields.push_back(
            {"Proxy-Authenticate", "Basic realm=\"forward_proxy\""});
    if (!text.error_type.empty())
        head.fields.push_back({"Proxy-Status",
            "forward_proxy; error=" + std::string{text.error_type}});
    return to_string(head) + (method == "HEAD" ? "" : body);
}

#include "error.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "forwarding.h"
#include "message.h"

namespace {

// What an errno value of connecting to a server means and, if it is a limit,
// how to find and raise it.
struct ErrnoRow {
    int error;
    const ErrorKind* kind;
    std::string_view hint;
};

// EAGAIN comes from clone(2), which does not tell which of its limits it met.
constexpr ErrnoRow errno_rows[]{
    {ECONNREFUSED, &error::connection_refused, ""},
    {ECONNRESET, &error::server_reset, ""},
    {ECONNABORTED, &error::server_reset, ""},
    {ENETRESET, &error::server_reset, ""},
    {EPIPE, &error::server_reset, ""},
    {EINVAL, &error::server_reset, ""},
    {ETIMEDOUT, &error::connect_timeout, ""},
    {ENETUNREACH, &error::unreachable, ""},
    {ENETDOWN, &error::unreachable, ""},
    {EHOSTUNREACH, &error::unreachable, ""},
    {EHOSTDOWN, &error::unreachable, ""},  // ICMP: host unknown
#ifdef ENONET
    {ENONET, &error::unreachable, ""},  // ICMP: host isolated
#endif
    {ENOPROTOOPT, &error::unreachable, ""},  // ICMP: protocol unreachable
    {EOPNOTSUPP, &error::unreachable, ""},  // ICMP: source route failed
    {EPROTO, &error::unreachable, ""},  // ICMP: parameter problem
    {EMSGSIZE, &error::unreachable, ""},  // ICMP: fragmentation needed
    {EACCES, &error::unreachable, ""},  // a route that prohibits, a broadcast
    {EPERM, &error::unreachable, ""},  // a packet filter on this machine
    {EAFNOSUPPORT, &error::unreachable, ""},  // no IPv6 in this kernel
    {EPROTONOSUPPORT, &error::unreachable, ""},
    {EADDRINUSE, &error::limit_reached, ""},
    {EADDRNOTAVAIL, &error::limit_reached,
        "no local port is left towards this address (sysctl "
        "net.ipv4.ip_local_port_range)"},
    {EMFILE, &error::limit_reached,
        "no descriptor is left for this process (RLIMIT_NOFILE, see ulimit -n; "
        "a tunnel has two)"},
    {ENFILE, &error::limit_reached,
        "no descriptor is left in the whole system (sysctl fs.file-max)"},
    {EAGAIN, &error::limit_reached,
        "no thread is left for this user (RLIMIT_NPROC, see ulimit -u), this "
        "container (pids.max of its cgroup) or the whole system (sysctl "
        "kernel.threads-max, kernel.pid_max, vm.max_map_count)"},
    {ENOMEM, &error::limit_reached,
        "no memory is left, or no memory mapping (ulimit -v, sysctl "
        "vm.max_map_count)"},
    {ENOBUFS, &error::limit_reached,
        "no memory is left for sockets (sysctl net.ipv4.tcp_mem)"},
};

ErrnoRow row_of(int error)
{
    const auto* const found
        = std::find_if(std::begin(errno_rows), std::end(errno_rows),
            [&](const ErrnoRow& row) { return row.error == error; });
    return found != std::end(errno_rows)
        ? *found
        : ErrnoRow{error, &error::internal_error, ""};
}

std::string with_hint(const std::string& text, std::string_view hint)
{
    return hint.empty() ? text : text + ": " + std::string{hint};
}

}  // namespace

Failure blame_server(const MessageError& error)
{
    return {error::malformed_response, error.what()};
}

Failure system_failure(int error, const std::string& detail)
{
    const ErrnoRow row = row_of(error);
    return {row.hint.empty() ? error::internal_error : error::limit_reached,
        with_hint(detail, row.hint)};
}

AddressFailure address_failure(const std::string& address, int error)
{
    const bool is_ipv6
        = address.starts_with('[') && !address.starts_with("[::ffff:");
    ErrnoRow row = row_of(error);
    // EADDRNOTAVAIL: for IPv4 no local port is left, for IPv6 there is no local
    // address.  EINVAL: fe80::1 without a zone; elsewhere a reset came early.
    if ((error == EADDRNOTAVAIL && is_ipv6)
        || (error == EINVAL && address.starts_with("[fe80:")))
        row.kind = &error::unreachable;
    return {address, row.kind,
        with_hint(std::generic_category().message(error), row.hint)};
}

Failure connect_failure(const std::vector<AddressFailure>& addresses)
{
    const ErrorKind* kind = &error::internal_error;
    std::string detail;
    for (const AddressFailure& failed : addresses) {
        if (detail.empty() || failed.kind->rank > kind->rank)
            kind = failed.kind;
        detail.append(detail.empty() ? "" : ", ").append(failed.address);
        detail.append(": ").append(failed.detail);
    }
    return {*kind, detail};
}

// --- Responses of the proxy itself ------------------------------------------

namespace {

constexpr std::string_view page
    = "This is forward_proxy, an HTTP/1.1 forward proxy.\n"
      "\n"
      "Name it as the proxy of a client:\n"
      "\n"
      "    curl -x http://ADDRESS-OF-THIS-PAGE http://example.com/\n"
      "    curl -x http://ADDRESS-OF-THIS-PAGE https://example.com/\n"
      "\n"
      "The first is relayed: the proxy reads it. The second is a tunnel: the\n"
      "proxy connects, and then passes on bytes that it cannot read.\n"
      "\n"
      "With --live, this page draws each connection while it happens.\n";

constexpr const char* plain_text = "text/plain; charset=utf-8";

// `head` has the status, and the fields that are sent after the common ones.
std::string own_response(std::string_view method, ResponseHead head,
    const std::string& type, std::string_view body)
{
    Fields fields;
    if (!body.empty())
        fields.push_back({"Content-Type", type});
    fields.push_back({"Content-Length", std::to_string(body.size())});
    fields.push_back({"Connection", "close"});
    head.fields.insert(head.fields.begin(), fields.begin(), fields.end());
    return to_string(head).append(method == "HEAD" ? "" : body);
}

std::string ok(
    const RequestHead& request, const std::string& type, std::string_view body)
{
    return own_response(
        request.method, {Version::http_1_1, 200, "OK", {}}, type, body);
}

// The request as it came, without the credentials, which a script that reads
// the response would learn (RFC 9110 §9.3.8).
std::string reflect(const RequestHead& request)
{
    RequestHead shown = request;
    shown.target = without_userinfo(request.target);
    std::erase_if(shown.fields,
        [](const FieldLine& field) { return is_secret(field.name); });
    for (FieldLine& field : shown.fields)
        field.value = value_without_secrets(field);
    return to_string(shown);
}

}  // namespace

std::string failure_response(const Failure& failure, std::string_view method)
{
    const ErrorKind& kind = failure.kind();
    ResponseHead head{
        Version::http_1_1, kind.status, std::string{kind.reason}, {}};
    if (kind.status == 407)  // asks the user again (RFC 9110 §11.7.1)
        head.fields.push_back(
            {"Proxy-Authenticate", "Basic realm=\"forward_proxy\""});
    if (kind.status == 401)
        head.fields.push_back(
            {"WWW-Authenticate", "Basic realm=\"forward_proxy\""});
    if (!kind.error_type.empty())
        head.fields.push_back({"Proxy-Status",
            "forward_proxy; error=" + std::string{kind.error_type}});
    return own_response(method, head, plain_text,
        "forward_proxy: " + std::to_string(kind.status) + " " + head.reason
            + "\n" + failure.what() + "\n" + std::string{kind.advice} + "\n");
}

std::optional<std::string> own_page(const RequestHead& request)
{
    if (request.target != "/"
        || (request.method != "GET" && request.method != "HEAD"))
        return std::nullopt;
    return ok(request, plain_text, page);
}

std::optional<std::string> own_answer(const RequestHead& request)
{
    if (auto answered = own_page(request))
        return answered;
    if (request.method == "OPTIONS" && request.target == "*")
        return ok(request, "", "");
    if (max_forwards(request) != std::uint64_t{0})
        return std::nullopt;
    if (request.method == "TRACE")
        return ok(request, "message/http", reflect(request));
    return ok(request, "", "");
}

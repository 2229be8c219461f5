#include "support/http/error.h"

#include <cerrno>
#include <set>
#include <system_error>

#include "catch.h"

namespace {

const ErrorKind* const all_kinds[]{&error::malformed_request,
    &error::not_for_a_proxy, &error::use_connect, &error::tls_to_plain_port,
    &error::request_cut_short, &error::credentials_missing,
    &error::credentials_wrong, &error::client_not_allowed,
    &error::port_not_allowed, &error::local_destination, &error::loop,
    &error::head_timeout, &error::body_timeout, &error::target_too_long,
    &error::head_too_large, &error::coding_not_supported,
    &error::version_not_supported, &error::name_not_resolved,
    &error::name_timeout, &error::connection_refused, &error::unreachable,
    &error::connect_timeout, &error::server_closed, &error::server_reset,
    &error::server_timeout, &error::response_head_timeout,
    &error::interim_flood, &error::malformed_response, &error::live_password,
    &error::live_loopback_only, &error::live_by_name, &error::live_foreign,
    &error::too_many_watchers, &error::too_many_clients, &error::limit_reached,
    &error::internal_error};

}  // namespace

// curl shows nothing else of a failed CONNECT.
TEST_CASE("no two kinds of failure share a reason phrase", "[error]")
{
    std::set<std::string_view> reasons;
    for (const ErrorKind* const kind : all_kinds) {
        CAPTURE(kind->reason);
        CHECK(kind->status >= 400);
        CHECK(kind->status <= 599);
        CHECK_FALSE(kind->advice.empty());
        CHECK(reasons.insert(kind->reason).second);
    }
}

TEST_CASE("a failure is a whole response that announces the close", "[error]")
{
    const Failure failure{error::connection_refused, "192.0.2.1:80: refused"};
    const std::string body
        = "forward_proxy: 502 Connection Refused\n"
          "192.0.2.1:80: refused\n"
          "The host is there, but nothing listens on that port.\n";
    const std::string head = "HTTP/1.1 502 Connection Refused\r\n"
                             "Content-Type: text/plain; charset=utf-8\r\n"
                             "Content-Length: "
        + std::to_string(body.size())
        + "\r\n"
          "Connection: close\r\n"
          "Proxy-Status: forward_proxy; error=connection_refused\r\n"
          "\r\n";
    CHECK(failure_response(failure, "GET") == head + body);
    CHECK(failure_response(failure, "HEAD") == head);
}

// RFC 9110 §15.5.8.
TEST_CASE("a 407 says how to authenticate", "[error]")
{
    const auto* const kind
        = GENERATE(&error::credentials_missing, &error::credentials_wrong);
    CHECK_THAT(failure_response({*kind, ""}, "GET"),
        ContainsSubstring(
            "\r\nProxy-Authenticate: Basic realm=\"forward_proxy\"\r\n"));
}

// RFC 9110 §15.5.2: the origin server's own field, for the live page is served
// by the proxy in that role.
TEST_CASE("a 401 says how to authenticate", "[error]")
{
    const std::string refused
        = failure_response({error::live_password, ""}, "GET");
    CHECK_THAT(refused,
        ContainsSubstring(
            "\r\nWWW-Authenticate: Basic realm=\"forward_proxy\"\r\n"));
    CHECK_THAT(refused, !ContainsSubstring("Proxy-Authenticate"));
}

TEST_CASE("a malformed message is blamed on its sender", "[error]")
{
    const MessageError broken{error::malformed_request, "words"};
    CHECK(broken.kind().reason == error::malformed_request.reason);
    CHECK(
        blame_server(broken).kind().reason == error::malformed_response.reason);
    CHECK(blame_server(broken).what() == std::string{"words"});
    CHECK(blame_server({error::target_too_long, ""}).kind().reason
        == error::malformed_response.reason);
}

// pthread_create(3), accept(2), and what is no limit.
TEST_CASE("a limit of the system is named, with how to raise it", "[error]")
{
    for (const int limit : {EMFILE, ENFILE, EAGAIN, ENOMEM, ENOBUFS}) {
        const Failure failure = system_failure(limit, "no thread");
        CHECK(failure.kind().reason == error::limit_reached.reason);
        CHECK_THAT(failure.what(), StartsWith("no thread: "));
        CHECK(failure.what() != std::string{"no thread: "});
    }
    CHECK(system_failure(EBADF, "x").kind().reason
        == error::internal_error.reason);
    CHECK(system_failure(EBADF, "x").what() == std::string{"x"});
    CHECK_THAT(
        system_failure(EMFILE, "").what(), ContainsSubstring("ulimit -n"));
    CHECK_THAT(address_failure("192.0.2.1:80", EADDRNOTAVAIL).detail,
        ContainsSubstring("ip_local_port_range"));
}

// connect(2), socket(2), and the values that ICMP errors become.
TEST_CASE("every errno of connect has its kind", "[error]")
{
    struct Row {
        int error;
        std::string_view ipv4;
        std::string_view ipv6;
    };
    constexpr auto refused = error::connection_refused.reason;
    constexpr auto reset = error::server_reset.reason;
    constexpr auto timeout = error::connect_timeout.reason;
    constexpr auto unreachable = error::unreachable.reason;
    constexpr auto limit = error::limit_reached.reason;
    constexpr auto ours = error::internal_error.reason;
    const Row rows[]{
        {ECONNREFUSED, refused, refused},
        {ECONNRESET, reset, reset},
        {ECONNABORTED, reset, reset},
        {ENETRESET, reset, reset},
        {EPIPE, reset, reset},
        {EINVAL, reset, reset},
        {ETIMEDOUT, timeout, timeout},
        {EHOSTUNREACH, unreachable, unreachable},
        {EHOSTDOWN, unreachable, unreachable},
        {ENETUNREACH, unreachable, unreachable},
        {ENETDOWN, unreachable, unreachable},
        {EACCES, unreachable, unreachable},
        {EPERM, unreachable, unreachable},
        {EAFNOSUPPORT, unreachable, unreachable},
        {EPROTONOSUPPORT, unreachable, unreachable},
        {ENOPROTOOPT, unreachable, unreachable},
        {EOPNOTSUPP, unreachable, unreachable},
        {EPROTO, unreachable, unreachable},
        {EMSGSIZE, unreachable, unreachable},
        {EADDRNOTAVAIL, limit, unreachable},
        {EADDRINUSE, limit, limit},
        {EAGAIN, limit, limit},
        {EMFILE, limit, limit},
        {ENFILE, limit, limit},
        {ENOMEM, limit, limit},
        {ENOBUFS, limit, limit},
        {EBADF, ours, ours},
        {EFAULT, ours, ours},
        {ENOTSOCK, ours, ours},
        {EISCONN, ours, ours},
        {EALREADY, ours, ours},
        {EINPROGRESS, ours, ours},
        {EINTR, ours, ours},
        {EPROTOTYPE, ours, ours},
        {ECANCELED, ours, ours},
    };
    const auto reason = [](int code, const std::string& address) {
        return address_failure(address, code).kind->reason;
    };
    for (const Row& row : rows) {
        CAPTURE(std::generic_category().message(row.error));
        CHECK(reason(row.error, "192.0.2.1:80") == row.ipv4);
        CHECK(reason(row.error, "[::ffff:192.0.2.1]:80") == row.ipv4);
        CHECK(reason(row.error, "[2001:db8::1]:80") == row.ipv6);
    }
    CHECK(reason(EINVAL, "[fe80::1]:80") == unreachable);
}

TEST_CASE("the most telling address decides", "[error]")
{
    using Kind = const ErrorKind*;
    const auto winner = [](Kind first, Kind second) {
        return connect_failure({{"a", first, "x"}, {"b", second, "y"}})
            .kind()
            .reason;
    };
    const Kind ranks[][2]{
        {&error::loop, &error::loop},
        {&error::connection_refused, &error::server_reset},
        {&error::limit_reached, &error::limit_reached},
        {&error::connect_timeout, &error::connect_timeout},
        {&error::unreachable, &error::unreachable},
        {&error::internal_error, &error::internal_error},
    };
    for (std::size_t i = 0; i < std::size(ranks); ++i) {
        const auto [one, other] = ranks[i];
        CHECK(winner(one, other) == one->reason);  // of equals the first
        CHECK(winner(other, one) == other->reason);
        for (std::size_t lower = i + 1; lower < std::size(ranks); ++lower)
            for (const Kind less : ranks[lower]) {
                CAPTURE(one->reason, less->reason);
                CHECK(winner(one, less) == one->reason);
                CHECK(winner(less, one) == one->reason);
                CHECK(winner(other, less) == other->reason);
                CHECK(winner(less, other) == other->reason);
            }
    }
    const Failure both
        = connect_failure({{"[::1]:80", &error::unreachable, "x"},
            {"127.0.0.1:80", &error::connection_refused, "y"}});
    CHECK(both.what() == std::string{"[::1]:80: x, 127.0.0.1:80: y"});
    CHECK(connect_failure({{"a", &error::unreachable, "x"}}).what()
        == std::string{"a: x"});
}

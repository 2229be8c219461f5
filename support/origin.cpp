#include "origin.h"

#include <cerrno>

#include "limits.h"
#include "resolver.h"

namespace {

Cause cause_of_connect_error(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return Cause::connection_refused;
    case ETIMEDOUT:
        return Cause::connect_timeout;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
    case EACCES:
        return Cause::unreachable;
    default:
        return is_limit(error) ? Cause::limit_reached : Cause::internal_error;
    }
}

}  // namespace

Connection connect_to_origin(const Authority& origin, milliseconds patience,
    IdleTimer& idle, Exchange& exchange)
try {
    const auto tell = [&](const std::string& words) {
        exchange.trace.step(Way::proxy_to_server, words);
    };
    if (exchange.trace)
        tell("looking up " + origin.host);
    NamedSocket peer = connect_to(origin, patience, &exchange.times,
        exchange.trace ? ProgressListener{tell} : nullptr);
    exchange.server = peer.address;
    return Connection{std::move(peer), Peer::server, idle};
} catch (const NameError& error) {
    throw Failure{
        error.timed_out ? Cause::name_timeout : Cause::name_not_resolved,
        origin.host + ": " + error.what()};
} catch (const ConnectError& error) {
    throw Failure{cause_of_connect_error(error.error),
        with_limit(error.what(), error.error)};
}

Failure server_failure(const Connection& server, const PeerError& error)
{
    return {
        error.error == ETIMEDOUT ? Cause::server_timeout : Cause::server_reset,
        server.address() + ": " + error.what()};
}

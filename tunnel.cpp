// tunnel.cpp -- CONNECT: after the 200, bytes in both directions, unread.
//
// RFC 9110 §9.3.6.  From the 200 on the proxy no longer speaks HTTP here.  It
// cannot, because the bytes are usually TLS, and it must not: a "502" written
// now would arrive in the middle of the client's encrypted stream.  So a server
// that cannot be reached is a 502 or 504, and anything later is just a close.
//
// That section ends a tunnel when either side has "closed" its connection.  We
// read that as closed in both directions: a FIN ends one direction only, and is
// passed on as a FIN.

#include "tunnel.h"

#include <cerrno>
#include <thread>

#include "support/access.h"
#include "support/copy.h"
#include "support/failure.h"
#include "support/narration.h"
#include "support/origin.h"
#include "support/tunnel_view.h"

namespace {

// Whether that connection was reset; if it is only full, nobody would find out.
bool has_broken(const Connection& connection, const std::exception& error)
{
    const auto* const failed = dynamic_cast<const PeerError*>(&error);
    return failed != nullptr && failed->peer == connection.peer()
        && failed->error != ETIMEDOUT;
}

// Copies one direction until its sender finishes, then finishes it too.
template <typename Copy>
void pump(
    Connection& from, Connection& to, Copy copy, TunnelView& view) noexcept
try {
    copy();
    view.finished(from.peer());
    from.idle().one_direction_ended();
    to.socket().finish_sending();
} catch (const std::exception& error) {
    view.failed(from.peer(), error);
    // Who takes nothing more may have spoken before it broke.  The other pump
    // reads that, and then finds the end itself.
    if (has_broken(to, error))
        return from.idle().one_direction_ended();
    // Else the other pump may be blocked on either socket: shut both down,
    // which wakes it.  Closing them here would not, and could hand their
    // numbers to a new connection.
    from.socket().shut_down();
    to.socket().shut_down();
}

}  // namespace

// One thread per direction, so that a blocked write stops only its own.  A
// client that uploads everything before it reads anything would otherwise wait
// for us to read while we wait for it to.
//
// The caller owns both connections, and its thread is one of the two.  It joins
// the other before it returns, so each descriptor is closed once, by the
// caller, when nobody uses it any more.  The other is the one that ends first
// most of the time, and then need not be waited for.
void tunnel(Connection& client, Connection& server, std::string_view greeting,
    Exchange& exchange)
{
    TunnelView view{exchange};
    const auto upwards = [&] {
        copy_to_end(client, server,
            [&](std::string_view sent) { view.passed(Peer::client, sent); });
    };
    const auto downwards = [&] {
        tell_answer(exchange.trace, greeting);
        client.write_all({greeting});
        copy_to_end(server, client,
            [&](std::string_view sent) { view.passed(Peer::server, sent); });
    };
    std::thread towards_server{[&] { pump(client, server, upwards, view); }};
    pump(server, client, downwards, view);
    towards_server.join();
    view.conclude();
}

// Connect first, get the second thread, then answer: once the 200 is out, no
// failure can be told.  Bytes that arrived behind the head wait in `client`,
// and go to the server before anything else does; nothing of the server's is
// read before the 200.
bool serve_connect(Connection& client, const RequestHead& request,
    const Options& options, Exchange& exchange)
{
    const Authority origin = parse_authority_form(request.target);
    if (request_framing(request).kind != BodyFraming::Kind::none)
        throw Failure{
            Cause::malformed_request, "a CONNECT request has no body"};
    check_port(origin, options.connect_ports);
    Connection server = connect_to_origin(
        origin, options.connect_timeout, client.idle(), exchange);

    tunnel(client, server, "HTTP/1.1 200 Connection established\r\n\r\n",
        exchange);
    exchange.status = 200;
    return false;
}

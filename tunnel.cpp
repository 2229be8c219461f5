// tunnel.cpp -- CONNECT: after the 200, bytes in both directions, unread.
//
// RFC 9110 §9.3.6.  After the 200 the proxy sends no HTTP here: the client
// takes the next byte for the server's, and usually for TLS, so a "502" would
// only break its handshake.  A failure to connect is a 502 or 504, because the
// 200 is sent after it; any later failure is a close.
//
// That section ends a tunnel when either side has "closed" its connection.  We
// read that as closed in both directions: a FIN ends one direction only, and is
// passed on as a FIN.

#include "tunnel.h"

#include <cerrno>
#include <thread>

#include "support/access.h"
#include "support/http/error.h"
#include "support/http/framing.h"
#include "support/http_io.h"
#include "support/log/tunnel_view.h"
#include "support/net/transfer.h"

namespace {

// Whether writing failed because `to` was reset.  A receiver that has only
// stopped reading (ETIMEDOUT) was not reset, and might never close.
bool was_reset(const Connection& to, const std::exception& error)
{
    const auto* const failed = dynamic_cast<const NetError*>(&error);
    return failed != nullptr && failed->whose == to.peer()
        && failed->error != ETIMEDOUT;
}

// Copies one direction until its sender has finished, and passes on the FIN.
void pump(Connection& from, Connection& to, TunnelView& view) noexcept
try {
    const Side sender = side_of(from.peer());
    from.give_back_buffer();
    for (Transfer transfer{from, to};;) {
        const Piece piece = transfer.read();
        if (piece.size == 0)
            break;
        transfer.write(piece);
        view.passed(sender, piece.size, piece.bytes);
    }
    view.finished(sender);
    from.idle().half_close();
    to.socket().shutdown_write();
} catch (const std::exception& error) {
    view.failed(side_of(from.peer()), to_ending(error));
    // A receiver that reset its connection may have sent bytes before.  The
    // other pump reads them, and then finds the end itself.
    if (was_reset(to, error))
        return from.idle().half_close();
    // Otherwise the other pump may be blocked on either socket.  shutdown(2)
    // wakes it; close(2) would not, and could give the descriptor's number to a
    // new connection while that thread still uses it.
    from.socket().shutdown_both();
    to.socket().shutdown_both();
}

}  // namespace

// One thread per direction, so that a blocked write stops only its own
// direction.  With one thread, a client that sends everything before it reads
// would wait for the proxy to read, and the proxy for the client to read.
//
// The caller owns both connections, and its thread is one of the two.  It joins
// the other before it returns, so the caller closes each socket once, when no
// thread uses it any more.
void tunnel(Connection& client, Connection& server, std::string_view greeting,
    Exchange& exchange)
{
    TunnelView view{exchange};
    std::thread towards_server{[&] { pump(client, server, view); }};
    try {
        exchange.trace.answered(greeting);
        client.write_all(greeting);
    } catch (const std::exception&) {
        server.socket().shutdown_both();  // both pumps find the end there
    }
    pump(server, client, view);
    towards_server.join();
    view.conclude();
}

// Connects, starts the second thread, then answers: after the 200 no
// failure can be reported.  Bytes that arrived after the head wait in the
// buffer of `client`, and reach the server before any others; nothing from the
// server is read before the 200 is sent.
bool serve_connect(Connection& client, const RequestHead& request,
    const Options& options, Exchange& exchange)
{
    const Authority origin = parse_authority_form(request.target);
    if (request_framing(request).kind != BodyFraming::Kind::none)
        throw Failure{
            error::malformed_request, "a CONNECT request has no body"};
    if (!is_port_allowed(origin, options.connect_ports))
        throw Failure{error::port_not_allowed, "port " + origin.port};
    Connection server = connect_to_origin(origin, client, options, exchange);

    tunnel(client, server, "HTTP/1.1 200 Connection established\r\n\r\n",
        exchange);
    exchange.status = 200;
    return false;
}

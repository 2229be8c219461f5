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
#include "support/origin.h"

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
void pump(Connection& from, Connection& to, Copy copy,
    const char* end_of_stream, FirstCause& ending) noexcept
try {
    copy();
    ending.note(end_of_stream);
    from.idle().one_direction_ended();
    to.socket().finish_sending();
} catch (const std::exception& error) {
    ending.note(error.what());
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
    FirstCause ending;
    const auto upwards = [&] { copy_to_end(client, server); };
    const auto downwards = [&] {
        client.write_all({greeting});
        copy_to_end(server, client, [&](std::string_view) {
            if (!exchange.first_byte)
                exchange.first_byte = Clock::now() - exchange.start;
        });
    };
    std::thread towards_server{[&] {
        pump(client, server, upwards, "client finished first", ending);
    }};
    pump(server, client, downwards, "server finished first", ending);
    towards_server.join();
    exchange.ending += ending.words();
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

// http_relay.cpp -- one request out, one response back.
//
// RFC 9110 §7.6, RFC 9112 §6 and §9.  The request goes over a connection of its
// own, closed by relay() when the response is over; the client's connection may
// live on.  Two threads share the two sockets: one sends the request body up
// (support/upload says why it must), while this one brings the response down.
// They are joined before relay() returns, so nothing is closed under anybody.
//
// A failure before the final response has begun becomes an answer: 400, 502 or
// 504.  After that there is nothing honest left to say, and the client's
// connection is closed in the middle of the message, which so looks cut short.

#include "http_relay.h"

#include "support/access.h"
#include "support/failure.h"
#include "support/forwarding.h"
#include "support/narration.h"
#include "support/origin.h"
#include "support/upload.h"
#include "support/verdict.h"
#include "tunnel.h"

namespace {

// The border: inside it what goes wrong at the server becomes a 502 or 504.
template <typename Call>
auto or_bad_gateway(const Connection& server, Call call)
try {
    return call();
} catch (const MessageError& error) {
    throw bad_response(error);
} catch (const PeerError& error) {
    if (error.peer == Peer::client)
        throw;
    throw server_failure(server, error);
}

ResponseHead read_response(Connection& server, const Connection& client)
{
    const auto head = server.read_response_head(client);
    if (!head)
        throw Failure{Cause::server_closed,
            server.address() + " closed the connection without a response"};
    return parse_response_head(*head);
}

struct Response {
    ResponseHead head;
    BodyFraming body;
};

// Interim responses pass in their order, except to HTTP/1.0 clients, who do not
// know them (RFC 9110 §15.2).  The switch to another protocol counts as final.
Response read_final_response(Connection& server, Connection& client,
    const RequestHead& request, Trace& trace)
{
    for (;;) {
        const ResponseHead head = read_response(server, client);
        if (head.status == 101 && !wants_upgrade(request))
            throw Failure{Cause::malformed_response,
                "the server switched protocols without being asked to"};
        const BodyFraming body = response_framing(request.method, head);
        tell_response(trace, head, body);
        if (!head.is_interim() || head.status == 101)
            return {head, body};
        if (request.version == Version::http_1_0)
            continue;
        const ResponseHead forwarded = response_to_forward(
            head, Delimiting::as_received, true, pseudonym());
        client.write_all({to_string(forwarded)});
        tell_response_sent(trace, head, forwarded);
    }
}

// The protocol that both have agreed on begins behind the request's body, and
// is none of our business (RFC 9110 §7.8).
bool switch_protocols(Connection& client, Connection& server,
    const ResponseHead& head, Upload& upload, Exchange& exchange)
{
    upload.wait();
    exchange.ending = "protocol switched, ";
    tunnel(client, server,
        to_string(response_to_forward(
            head, Delimiting::as_received, true, pseudonym())),
        exchange);
    exchange.status = head.status;
    return false;
}

// Whether the client may send its next request.  Only if both sides agree where
// these messages ended: what is left of a body would be read as that request
// (RFC 9112 §11.2).  Asked early, because the head has to announce it (§9.6).
bool stays_open(
    const RequestHead& request, bool ends_by_close, const Upload& upload)
{
    return request.version == Version::http_1_1 && !ends_by_close
        && upload.has_read_all()
        && !has_token(request.fields, "Connection", "close");
}

// Sends the final response on.  From its first byte no failure can be told.
bool deliver(Connection& client, Connection& server, const RequestHead& request,
    const Response& response, Upload& upload, Exchange& exchange)
{
    const bool old_client = request.version == Version::http_1_0;
    const auto delimiting
        = old_client ? Delimiting::by_close : Delimiting::as_received;
    const bool ends_by_close
        = response.body.kind == BodyFraming::Kind::until_close
        || (response.body.kind == BodyFraming::Kind::chunked && old_client);

    const bool keep_open = stays_open(request, ends_by_close, upload);

    const ResponseHead forwarded = response_to_forward(
        response.head, delimiting, keep_open, pseudonym());
    exchange.status = response.head.status;
    exchange.verdict = response_verdict(response.head).value_or("");
    client.write_head(to_string(forwarded), server, response.body);
    tell_response_sent(exchange.trace, response.head, forwarded);
    try {
        copy_body_and_tell(exchange.trace, Way::server_across, server, client,
            response.body, delimiting);
    } catch (const std::exception&) {
        // Without a declared length an ordinary close would look like the end.
        if (ends_by_close)
            client.socket().reset_on_close();
        throw;
    }
    // A server that has answered early still needs the rest of the body, unless
    // its answer was a refusal, or it has closed.
    if (!keep_open) {
        client.socket().finish_sending();
        client.idle().one_direction_ended();
    }
    if (response.head.status < 400 && !ends_by_close)
        upload.wait();
    exchange.ending = "complete";
    return keep_open;
}

}  // namespace

bool relay(Connection& client, const RequestHead& request,
    const Options& options, Exchange& exchange)
{
    const BodyFraming request_body = request_framing(request);
    const HttpTarget target
        = parse_absolute_form(request.target, request.method);

    Connection server = connect_to_origin(
        target.authority, options.connect_timeout, client.idle(), exchange);
    const RequestHead forwarded
        = request_to_forward(request, target, pseudonym());
    tell_request_sent(exchange.trace, request, forwarded, request_body);
    or_bad_gateway(server,
        [&] { server.write_head(to_string(forwarded), client, request_body); });
    // In a thread of its own:
    Upload upload{client, server, request_body, exchange.trace};
    try {
        const Response response = or_bad_gateway(server, [&] {
            return read_final_response(server, client, request, exchange.trace);
        });
        exchange.first_byte = Clock::now() - exchange.start;
        if (response.head.status == 101)
            return switch_protocols(
                client, server, response.head, upload, exchange);
        return deliver(client, server, request, response, upload, exchange);
    } catch (const std::exception&) {
        upload.throw_client_failure();  // that is why the response failed
        throw;
    }
}

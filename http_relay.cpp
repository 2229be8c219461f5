// http_relay.cpp -- one request out, one response back.
//
// RFC 9110 §7.6, RFC 9112 §6 and §9.  The request goes over a connection of its
// own, closed by relay() when the response is over; the client's connection may
// live on.  Heads are rewritten (support/forwarding), bodies are passed through
// as they come (support/copy).
//
// A failure before the final response has begun becomes an answer: 400, 502 or
// 504.  After that there is nothing honest left to say, and the client's
// connection is closed in the middle of the message, which so looks cut short.

#include "http_relay.h"

#include <atomic>
#include <exception>
#include <thread>

#include "support/access.h"
#include "support/copy.h"
#include "support/failure.h"
#include "support/forwarding.h"
#include "support/origin.h"
#include "support/own_answer.h"
#include "tunnel.h"

namespace {

// Sends the request body while the caller reads the response.
//
// They must overlap.  A client that sent "Expect: 100-continue" holds its body
// back until it hears from the server (RFC 9110 §10.1.1), a server may answer
// long before the body ends (§7.5), and one that echoes the body stops reading
// when nobody reads the echo.
class Upload {
public:
    Upload(Connection& client, Connection& server, BodyFraming body)
        : client_{client}, server_{server}
    {
        const bool is_here_already = body.kind == BodyFraming::Kind::none
            || (body.kind == BodyFraming::Kind::length
                && body.length <= client.unread_size());
        if (is_here_already)
            run(body);
        else
            thread_ = std::thread{[this, body] { run(body); }};
    }
    ~Upload() { stop(); }

    bool finished() const noexcept { return finished_; }

    void wait()
    {
        if (thread_.joinable())
            thread_.join();
    }

    // Nobody needs the rest of the body.  Shutting down the server's side wakes
    // a thread that writes there, and one that waits for the client as well:
    // see Connection::read_some.
    void stop()
    {
        if (thread_.joinable() && !finished_)
            server_.socket().shut_down();
        wait();
    }

    // A bad body is the reason why the server has not answered.
    void throw_client_failure()
    {
        stop();
        if (client_failure_)
            std::rethrow_exception(client_failure_);
    }

private:
    void run(BodyFraming body) noexcept
    try {
        copy_body(client_, server_, body);
        finished_ = true;
    } catch (const PeerError& error) {
        // A server that has stopped reading may still say why: let it.
        if (error.peer == Peer::client)
            give_up();
    } catch (const std::exception&) {
        give_up();
    }

    // What a broken client has sent must not look complete to the server.
    void give_up() noexcept
    {
        client_failure_ = std::current_exception();
        server_.socket().shut_down();
    }

    Connection& client_;
    Connection& server_;
    std::atomic<bool> finished_{false};
    std::exception_ptr client_failure_;  // to be read after the join only
    std::thread thread_;
};

// The border: inside it what goes wrong at the server becomes a 502 or 504.
template <typename Call> auto or_bad_gateway(Call call)
try {
    return call();
} catch (const MessageError& error) {
    throw bad_response(error);
} catch (const PeerError& error) {
    if (error.peer == Peer::client)
        throw;
    throw server_failure(error);
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
Response read_final_response(
    Connection& server, Connection& client, const RequestHead& request)
{
    for (;;) {
        const ResponseHead head = read_response(server, client);
        if (head.status == 101 && !wants_upgrade(request))
            throw Failure{Cause::malformed_response,
                "the server switched protocols without being asked to"};
        if (!head.is_interim() || head.status == 101)
            return {head, response_framing(request.method, head)};
        if (request.version == Version::http_1_1)
            client.write_all({to_string(response_to_forward(
                head, Delimiting::as_received, true, pseudonym()))});
    }
}

// The server has answered without waiting for the whole body.  If it refused
// the request, it needs no more of it; otherwise it may.
void finish_upload(Connection& client, int status, Upload& upload)
{
    client.socket().finish_sending();
    client.idle().one_direction_ended();
    if (status < 400)
        upload.wait();
    else
        upload.stop();
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

    // Reusable only if both sides agree where these messages ended: what is
    // left of a body would be read as the next request (RFC 9112 §11.2).
    // Decided now, because the head has to announce it (§9.6).
    const bool keep_open = !old_client && !ends_by_close && upload.finished()
        && !has_token(request.fields, "Connection", "close");

    if (response.head.status == 101)
        upload.wait();  // the new protocol begins behind the request's body
    exchange.status = response.head.status;
    client.write_all({to_string(response_to_forward(
        response.head, delimiting, keep_open, pseudonym()))});
    if (response.head.status == 101) {
        exchange.ending = "protocol switched, " + tunnel(client, server);
        return false;
    }
    try {
        copy_body(server, client, response.body, delimiting);
    } catch (const std::exception&) {
        // Without a declared length an ordinary close would look like the end.
        if (ends_by_close)
            client.socket().reset_on_close();
        throw;
    }
    if (!upload.finished())
        finish_upload(
            client, ends_by_close ? 400 : response.head.status, upload);
    exchange.ending = "complete";
    return keep_open;
}

}  // namespace

bool relay(Connection& client, const RequestHead& request,
    const Options& options, Exchange& exchange)
{
    const BodyFraming request_body = request_framing(request);
    if (const auto answer = own_answer(request)) {
        exchange.status = 200;
        exchange.ending = "answered by the proxy itself";
        client.write_all({*answer});
        return false;
    }
    const HttpTarget target
        = parse_absolute_form(request.target, request.method);

    Connection server = connect_to_origin(
        target.authority, options.connect_timeout, client.idle(), exchange);
    or_bad_gateway([&] {
        server.write_all(
            {to_string(request_to_forward(request, target, pseudonym()))});
    });
    Upload upload{client, server, request_body};
    try {
        const Response response = or_bad_gateway(
            [&] { return read_final_response(server, client, request); });
        exchange.first_byte = Clock::now() - exchange.start;
        return deliver(client, server, request, response, upload, exchange);
    } catch (const std::exception&) {
        upload.throw_client_failure();
        throw;
    }
}

// http_relay.cpp -- one request out, one response back.
//
// RFC 9110 §7.6, RFC 9112 §6 and §9.  relay() makes a new connection to the
// server for each request, and closes it when the response is complete; the
// client's connection may be kept.  Two threads share the two sockets: one
// sends the request body to the server (Upload), the client's own thread sends
// the response to the client (Relay).  relay() joins the first before it
// returns, so no socket is closed while in use.
//
// A failure before the final response has begun becomes an answer: 400, 408,
// 502 or 504.  Once the final head is sent, an error can only close the
// connection, in the middle of the message, so that it does not look complete.

#include "http_relay.h"

#include <atomic>
#include <cerrno>
#include <exception>
#include <thread>

#include "support/access.h"
#include "support/http/error.h"
#include "support/http/forwarding.h"
#include "support/http/framing.h"
#include "support/http_io.h"
#include "support/log/diagnosis.h"
#include "tunnel.h"

namespace {

using namespace std::chrono_literals;

// --- The client -------------------------------------------------------------

// Throws if the client's FIN means that the client has left, as after a Ctrl-C.
// The FIN is a half-close, and the client waits for its response, if it has
// said that it sends no other request, or if there is more of it to read.
void check_half_close(const Connection& client, const RequestHead& request,
    const Exchange& exchange, bool has_read_body)
{
    const bool is_half_close = request.version == Version::http_1_0
        || has_token(request.fields, "Connection", "close")
        || exchange.is_pipelined || !has_read_body
        || client.has_bytes_waiting();
    if (!is_half_close)
        throw NetError{Peer::client, "client left"};
}

// --- The request body -------------------------------------------------------

// Sends the request body to the server while relay() reads the response: a
// client with "Expect: 100-continue" holds its body back until the server has
// answered (RFC 9110 §10.1.1), a server may answer before the body ends (§7.5),
// and one that echoes the body stops reading when its echo is not read.
class Upload {
    enum class Phase {
        expects_continue,  // the client waits for the server's 100 (Continue)
        sending,
        all_read,
        given_up,  // the server takes no more of it
    };

public:
    // A body that is in the buffer already needs no thread.
    Upload(Connection& client, Connection& server, const RequestHead& request,
        BodyFraming body, Trace& trace)
        : client_{client}, server_{server}, fields_{request.fields},
          body_{body}, trace_{trace}
    {
        if (body.kind == BodyFraming::Kind::none
            || (body.kind == BodyFraming::Kind::length
                && body.length <= client.buffered().size())) {
            run();
        } else {
            if (request.version == Version::http_1_1
                && has_token(request.fields, "Expect", "100-continue"))
                phase_ = Phase::expects_continue;
            thread_ = std::thread{[this] { run(); }};
        }
    }
    ~Upload() { stop(); }

    void continue_was_sent() noexcept
    {
        move_on(Phase::expects_continue, Phase::sending);
    }

    // Whether this thread applies the idle limit.  It knows which peer is
    // silent: a client that does not send the rest of its body, or a server
    // that does not read it.
    bool is_sending() const noexcept { return phase_ == Phase::sending; }

    // Whether the whole body was read, so that the client's next bytes are its
    // next request.  It becomes true before the server gets the last byte, so
    // it is true whenever a server has answered the whole body.
    bool has_read_all() const noexcept { return phase_ == Phase::all_read; }

    // Whether part of the body was sent, and the rest will not be.  Valid once
    // relay() no longer waits for the upload.
    bool is_cut_short() const noexcept
    {
        return phase_ == Phase::sending || phase_ == Phase::given_up;
    }

    void wait()
    {
        if (thread_.joinable())
            thread_.join();
    }

    // Aborts the upload.  The server sees a truncated body.  The shutdown wakes
    // the upload's thread, whether it writes to the server or waits for the
    // client.
    void stop()
    {
        if (thread_.joinable())
            server_.socket().shutdown_both();
        wait();
    }

    // Throws the failure of the client or of its body, if that ended the
    // upload.
    void throw_client_failure()
    {
        stop();
        if (client_failure_)
            std::rethrow_exception(client_failure_);
    }

private:
    // Sends the body.  A client that expects 100 (Continue) need not wait for
    // it for ever (RFC 9110 §10.1.1), so the first byte of a body also starts
    // it.
    void run() noexcept
    try {
        while (phase_ == Phase::expects_continue && client_.buffered().empty()
            && !client_.wait_unless_gone(server_)) { }
        move_on(Phase::expects_continue, Phase::sending);
        copy_body(client_, server_, fields_, body_, Delimiting::as_received,
            trace_, [this] { phase_ = Phase::all_read; });
    } catch (const NetError& error) {
        // A server that has stopped reading may still send a response, and
        // while the client waits for 100 (Continue) the silence is the
        // server's.  In both cases relay() waits for the server.
        const bool awaits_server = error.whose == Peer::server
            || (error.error == ETIMEDOUT && phase_ == Phase::expects_continue);
        move_on(Phase::sending, Phase::given_up);
        if (!awaits_server)
            fail(error.error == ETIMEDOUT ? std::make_exception_ptr(
                     Failure{error::body_timeout, error.what()})
                                          : std::current_exception());
    } catch (const std::exception&) {
        fail(std::current_exception());
    }

    // Wakes relay(), which waits for the response to a request that will stay
    // incomplete.
    void fail(std::exception_ptr client_failure) noexcept
    {
        client_failure_ = std::move(client_failure);
        server_.socket().shutdown_both();
    }

    // Changes the phase from `from` to `to`; in any other phase does nothing.
    // Both threads call this.
    void move_on(Phase from, Phase to) noexcept
    {
        phase_.compare_exchange_strong(from, to);
    }

    Connection& client_;
    Connection& server_;
    const Fields& fields_;  // of the request
    BodyFraming body_;
    Trace& trace_;
    std::atomic<Phase> phase_{Phase::sending};
    std::exception_ptr client_failure_;  // to be read after the join
    std::thread thread_;
};

// --- The response -----------------------------------------------------------

// Brings one response back.  The members are what its steps share.
struct Relay {
    Connection& client;
    Connection& server;
    const RequestHead& request;
    milliseconds head_timeout;
    Exchange& exchange;
    Upload& upload;

    Clock::time_point second = Clock::now();  // when the counted one began
    int interim_in_second = 0;

    bool bring_response_back();
    ResponseHead read_final_response();
    ResponseHead read_response_head();
    bool wait_for_server(milliseconds limit);
    void pass_on_interim(const ResponseHead& head);
    bool switch_protocols(const ResponseHead& head);
    bool deliver(const ResponseHead& head);
    void send_final(const ResponseHead& head, BodyFraming body, bool keep_open);
    bool stays_open(bool ends_by_close) const;
};

// Returns true if the client may send another request.
bool Relay::bring_response_back()
{
    const ResponseHead head = read_final_response();
    exchange.first_byte = Clock::now() - exchange.start;
    return head.status == 101 ? switch_protocols(head) : deliver(head);
}

// Reads responses up to the final one; a 101 (Switching Protocols) counts as
// final.  A malformed response is the server's fault: 502.
ResponseHead Relay::read_final_response()
try {
    for (;;) {
        ResponseHead head = read_response_head();
        if (head.status == 101)
            check_switch(request, head);
        if (head.status == 100)
            upload.continue_was_sent();
        exchange.trace.response_received(
            head, response_framing(request.method, head));
        if (!head.is_interim() || head.status == 101)
            return head;
        pass_on_interim(head);
    }
} catch (const MessageError& error) {
    throw blame_server(error);
}

ResponseHead Relay::read_response_head()
{
    std::string head;
    if (read_head(server, head, {head_timeout, error::response_head_timeout},
            [&](milliseconds limit) { return wait_for_server(limit); }))
        return parse_response_head(head);
    if (!server.ended_with_fin())
        throw NetError{"reading from", Peer::server, ECONNRESET};
    throw Failure{error::server_closed,
        server.address() + " closed the connection without a response"};
}

// Waits until there is something to read from the server, and checks meanwhile
// whether the client leaves.  Returns false if there is nothing to read yet.
bool Relay::wait_for_server(milliseconds limit)
{
    IdleClock& idle = client.idle();
    switch (server.wait_to_read(&client, !idle.is_half_closed(), limit)) {
    case Connection::Ready::to_read:
        return true;
    case Connection::Ready::other_finished:
        check_half_close(client, request, exchange, upload.has_read_all());
        idle.half_close();
        return false;
    case Connection::Ready::nothing:
        if (!upload.is_sending())  // else the upload applies the idle limit
            server.fail_if_idle();
        return false;
    }
    return false;
}

// Passes on an interim response, but not to an HTTP/1.0 client, which does not
// know them (RFC 9110 §15.2).  More than 100 in a second are a failure of the
// server.
void Relay::pass_on_interim(const ResponseHead& head)
{
    if (Clock::now() - second >= 1s) {
        second = Clock::now();
        interim_in_second = 0;
    }
    if (++interim_in_second > 100)
        throw Failure{error::interim_flood,
            server.address() + " sent over 100 in a second"};
    if (request.version == Version::http_1_0)
        return;
    const ResponseHead forwarded
        = response_to_forward(head, Delimiting::as_received, true, pseudonym());
    client.write_all(to_string(forwarded));
    exchange.trace.response_sent(head, forwarded);
}

// Makes the exchange a tunnel.  The new protocol begins after the request's
// body, and its bytes are passed on unread (RFC 9110 §7.8).
bool Relay::switch_protocols(const ResponseHead& head)
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

bool Relay::deliver(const ResponseHead& head)
{
    const BodyFraming body = response_framing(request.method, head);
    const bool ends_by_close = body.kind == BodyFraming::Kind::until_close
        || (body.kind == BodyFraming::Kind::chunked
            && request.version == Version::http_1_0);
    const bool keep_open = stays_open(ends_by_close);

    // Without a declared length a FIN is the end of the body.  So until the
    // body is complete every close must be an RST, even if this process is
    // killed.
    if (ends_by_close)
        client.socket().reset_on_close(true);
    send_final(head, body, keep_open);
    if (ends_by_close)
        client.socket().reset_on_close(false);
    exchange.ending = "complete";

    if (!keep_open) {
        client.socket().shutdown_write();
        client.idle().half_close();
    }
    // A server that has answered early still needs the rest of the body, unless
    // it has refused the request or has closed.
    if (head.status < 400 && !ends_by_close)
        upload.wait();
    if (upload.is_cut_short())
        exchange.ending += ", request body aborted";
    return keep_open;
}

// Sends the final response.  From its first byte on no failure can be reported,
// so exchange.status is set first.
void Relay::send_final(
    const ResponseHead& head, BodyFraming body, bool keep_open)
{
    const auto delimiting = request.version == Version::http_1_0
        ? Delimiting::by_close
        : Delimiting::as_received;
    const ResponseHead forwarded
        = response_to_forward(head, delimiting, keep_open, pseudonym());
    exchange.status = head.status;
    exchange.diagnosis = diagnose_response(head);
    write_head(client, to_string(forwarded), server, body);
    exchange.trace.response_sent(head, forwarded);
    copy_body(server, client, head.fields, body, delimiting, exchange.trace);
}

// Whether the client may send its next request: only if both sides agree where
// these messages end, because the rest of a body would be read as a request
// (RFC 9112 §11.2).  Decided before the body, because the head says it (§9.6).
bool Relay::stays_open(bool ends_by_close) const
{
    return request.version == Version::http_1_1 && !ends_by_close
        && upload.has_read_all()
        && !has_token(request.fields, "Connection", "close");
}

// --- The request ------------------------------------------------------------

// Removes Upgrade from a request to a port that tunnels may not go to, because
// a switch of protocols makes a tunnel.  The server then answers as if the
// client had not asked (RFC 9110 §7.8).
RequestHead without_forbidden_upgrade(const RequestHead& request,
    const HttpTarget& target, const Options& options, Trace& trace)
{
    if (!wants_upgrade(request)
        || is_port_allowed(target.authority, options.connect_ports))
        return request;
    trace.upgrade_withheld(target.authority.port);
    return without_upgrade(request);
}

}  // namespace

bool relay(Connection& client, const RequestHead& received,
    const Options& options, Exchange& exchange)
{
    const BodyFraming body = request_framing(received);
    const HttpTarget target
        = parse_absolute_form(received.target, received.method);
    const RequestHead request
        = without_forbidden_upgrade(received, target, options, exchange.trace);
    if (body.kind == BodyFraming::Kind::chunked)
        check_chunks(client.buffered());

    Connection server
        = connect_to_origin(target.authority, client, options, exchange, [&] {
              check_half_close(client, request, exchange,
                  body.kind == BodyFraming::Kind::none);
          });
    const RequestHead forwarded
        = request_to_forward(request, target, pseudonym());
    exchange.trace.request_sent(received, forwarded, body);
    write_head(server, to_string(forwarded), client, body);

    Upload upload{client, server, request, body, exchange.trace};
    try {
        return Relay{
            client, server, request, options.head_timeout, exchange, upload}
            .bring_response_back();
    } catch (const std::exception&) {
        upload.throw_client_failure();  // if that made the response fail
        throw;
    }
}

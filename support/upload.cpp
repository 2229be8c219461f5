#include "upload.h"

#include <cerrno>

#include "failure.h"
#include "narration.h"

Upload::Upload(
    Connection& client, Connection& server, BodyFraming body, Trace& trace)
    : client_{client}, server_{server}, trace_{trace}
{
    const bool is_here_already = body.kind == BodyFraming::Kind::none
        || (body.kind == BodyFraming::Kind::length
            && body.length <= client.unread_size());
    if (is_here_already)
        run(body);
    else
        thread_ = std::thread{[this, body] { run(body); }};
}

void Upload::wait()
{
    if (thread_.joinable())
        thread_.join();
}

// Shutting down the server's side wakes a thread that writes there, and one
// that waits for the client as well: see Connection::wait_to_read.
void Upload::stop()
{
    if (thread_.joinable())
        server_.socket().shut_down();
    wait();
}

void Upload::throw_client_failure()
{
    stop();
    if (client_failure_)
        std::rethrow_exception(client_failure_);
}

void Upload::run(BodyFraming body) noexcept
try {
    copy_body_and_tell(trace_, Way::client_across, client_, server_, body,
        Delimiting::as_received, &has_read_all_);
} catch (const PeerError& error) {
    // A server that has stopped reading may still say why: let it.
    if (error.peer == Peer::server)
        return;
    give_up(error.error == ETIMEDOUT ? std::make_exception_ptr(
                Failure{Cause::body_timeout, error.what()})
                                     : std::current_exception());
} catch (const std::exception&) {
    give_up(std::current_exception());
}

// Wakes the caller, who waits for a response that would answer half a request.
void Upload::give_up(std::exception_ptr client_failure) noexcept
{
    client_failure_ = std::move(client_failure);
    server_.socket().shut_down();
}

// forward_proxy.cpp -- accepts clients, gives each a thread, and asks of each
// request one question: is it CONNECT?  Then it is a tunnel (tunnel.cpp), else
// a request to relay (http_relay.cpp).

#include <atomic>
#include <cstdlib>
#include <thread>

#include "http_relay.h"
#include "support/failure.h"
#include "support/limits.h"
#include "support/narration.h"
#include "support/own_answer.h"
#include "support/process.h"
#include "support/resolver.h"
#include "tunnel.h"

namespace {

using namespace std::chrono_literals;

constexpr std::size_t max_turned_away = 100;  // at the same time

using Serve = bool (*)(Connection&, const Options&, Exchange&);

// For requests that are not for anybody else.
bool answer_ourselves(
    Connection& client, const std::string& answer, Exchange& exchange)
{
    exchange.status = 200;
    exchange.ending = "answered by the proxy itself";
    client.write_all({answer});
    tell_answer(exchange.trace, answer);
    return false;
}

// One request, from its head to the end of its response or tunnel.  True if the
// client may send another one.
bool serve_request(
    Connection& client, const Options& options, Exchange& exchange)
{
    check_client(client.address(), options.allow);
    const auto head = client.read_request_head(options.head_timeout);
    exchange.start = Clock::now();
    if (!head) {
        exchange.ending = "the client closed without a request";
        return false;
    }
    const RequestHead request = parse_request_head(*head);
    exchange.method = request.method;
    exchange.target = request.target;
    tell_request(exchange.trace, request);
    check_credentials(request, options.users);
    tell_credentials(exchange.trace, options.users.any());
    check_loop(request);
    if (const auto answer = own_answer(request))
        return answer_ourselves(client, *answer, exchange);
    if (request.method == "CONNECT")
        return serve_connect(client, request, options, exchange);
    return relay(client, request, options, exchange);
}

// Instead of it, for a client too many.
bool turn_away(Connection&, const Options& options, Exchange&)
{
    throw Failure{Cause::too_many_clients,
        std::to_string(options.max_clients) + " clients are being served"};
}

// Tells the client what went wrong.  It is told once, and then we close.
bool refuse(Connection& client, const Failure& failure, Exchange& exchange)
{
    const CauseText& cause = describe(failure.cause);
    exchange.status = cause.status;
    exchange.ending = std::string{cause.reason} + ": " + failure.what();
    const std::string answer = failure_response(failure, exchange.method);
    client.write_all({answer});
    tell_answer(exchange.trace, answer);
    return false;
}

// A failure is answered while no response has begun (exchange.status is 0) and
// the client is there to read it.  What leaves this function means: just close.
bool serve_or_refuse(
    Serve serve, Connection& client, const Options& options, Exchange& exchange)
try {
    return serve(client, options, exchange);
} catch (const PeerError&) {
    throw;
} catch (const std::exception& error) {
    if (exchange.status != 0)
        throw;
    return refuse(client, to_failure(error), exchange);
}

// One exchange, its line in the log, and the close that suits its ending.
bool serve_exchange(
    Serve serve, Connection& client, const Options& options, Exchange exchange)
{
    bool another = false;
    bool broken = false;
    try {
        another = serve_or_refuse(serve, client, options, exchange);
    } catch (const std::exception& error) {
        broken = true;
        exchange.ending = error.what();
    }
    log_exchange(options.log, exchange, client);
    if (!another && !broken)
        client.close_gently();
    return another;
}

// The whole life of one client's connection, and the root of its thread: an
// exception that left it would end the program.  The socket belongs to this
// thread, and is closed at the end of this function and nowhere else.
void serve_client(Serve serve, NamedSocket socket, std::uint64_t number,
    const Options& options) noexcept
try {
    IdleTimer idle{options.idle_timeout};
    Connection client{std::move(socket), Peer::client, idle};
    Trace trace{options.trace, number};
    tell_accepted(trace, client.address());
    for (int n = 1;
         serve_exchange(serve, client, options, Exchange{client, trace, n});
         ++n) { }
} catch (const std::exception& error) {
    complain(error.what());
}

// Accepts until a stop shuts the listening socket down.  No other failure ends
// it: a client may have given up (ECONNABORTED), and a limit that was reached
// (EMFILE, EAGAIN) passes when clients leave, so wait; trying at once would
// spin.
void accept_clients(const Socket& listener, const Options& options,
    DetachedThreads& clients, DetachedThreads& turned_away)
{
    static std::atomic<std::uint64_t> last_number{0};
    int failures = 0;  // in a row
    while (!is_stopping()) {
        try {
            NamedSocket client = accept_from(listener);
            failures = 0;
            const bool room = clients.count() < options.max_clients;
            if (!room && turned_away.count() >= max_turned_away)
                continue;  // closes it: no room even for an apology
            (room ? clients : turned_away)
                .start([serve = room ? serve_request : turn_away,
                           client = std::move(client), number = ++last_number,
                           &options]() mutable {
                    serve_client(serve, std::move(client), number, options);
                });
        } catch (const std::exception& error) {
            if (is_stopping())
                return;
            if (failures++ % 50 == 0)  // each 5 s
                complain(with_limit(error));
            std::this_thread::sleep_for(100ms);
        }
    }
}

// What threads use lives as long as they do: serve() returns when none is left,
// or leaves the program without destroying anything.
void serve(const Options& options)
{
    std::vector<NamedSocket> listeners;
    for (const Authority& address : options.listen)
        listeners.push_back(listen_on(address));
    if (const auto warning = open_proxy_warning(options))
        complain(*warning);
    DetachedThreads clients;
    DetachedThreads turned_away;
    DetachedThreads acceptors;
    for (const NamedSocket& listener : listeners) {
        announce("forward_proxy listening on " + listener.address);
        acceptors.start([&] {
            accept_clients(listener.socket, options, clients, turned_away);
        });
    }
    Trace::explain(options.trace);
    wait_for_stop_signal();
    shut_down_all_sockets();
    for (const DetachedThreads* group :
        {&acceptors, &clients, &turned_away, &resolver_threads()})
        if (!group->wait_until_none(300ms))
            leave_threads_behind(EXIT_SUCCESS);
}

}  // namespace

int main(int argc, char** argv)
try {
    const Options options = parse_command_line(argc, argv);
    if (!options.answer.empty()) {
        announce(options.answer);
        return EXIT_SUCCESS;
    }
    prepare_process();
    serve(options);
    return EXIT_SUCCESS;
} catch (const OptionError& error) {
    complain(error.what() + std::string{"; see --help"});
    return 2;
} catch (const std::exception& error) {
    complain(error.what());
    return EXIT_FAILURE;
}

// forward_proxy.cpp -- accepts clients and starts a thread for each.  A CONNECT
// request becomes a tunnel (tunnel.cpp), any other request is relayed
// (http_relay.cpp).

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "http_relay.h"
#include "support/access.h"
#include "support/http_io.h"
#include "support/log/log.h"
#include "support/process.h"
#include "tunnel.h"

namespace {

using namespace std::chrono_literals;

// --- One exchange -----------------------------------------------------------

// Why a client is not served; empty if it is.
using Refusal = std::optional<Failure>;

// Answers requests addressed to the proxy itself.
bool answer_ourselves(
    Connection& client, const std::string& response, Exchange& exchange)
{
    exchange.status = 200;
    exchange.ending = "answered by the proxy itself";
    exchange.trace.answered(response);
    client.write_all(response);
    return false;
}

// Relays a request.  If its host turns out to be this proxy, answers it: a
// browser that uses the proxy for all URLs asks for http://127.0.0.1:3128/ too.
// Only connecting shows that, because it resolves the name of the host.
bool relay_or_own_page(Connection& client, RequestHead& request,
    const Options& options, Exchange& exchange)
try {
    return relay(client, request, options, exchange);
} catch (const Failure& failure) {
    if (&failure.kind() != &error::loop)
        throw;
    make_origin_form(request);
    if (options.live
        && options.live->answer(client, request, true, options.users, exchange))
        return false;
    const auto page = own_page(request);
    if (!page)
        throw;
    return answer_ourselves(client, *page, exchange);
}

// Reads the request of a client that is not served, which may ask for the live
// page: it has a second to begin, and one to finish.  If no request can be
// read, throws the refusal.
std::optional<RequestHead> read_request_to_watch(Connection& client,
    const Options& options, const Failure& refusal, Exchange& exchange)
try {
    return read_request(
        client, std::min<milliseconds>(options.head_timeout, 1s), exchange);
} catch (const std::exception&) {
    throw refusal;
}

// Serves one request, from its head to the end of its response or tunnel.
// Returns true if the client may send another one.  A client that is not served
// gets its answer before its request is read.  Only a client above
// --max-clients may still watch the live page: watchers have their own slots.
bool serve_request(Connection& client, const Options& options,
    const Refusal& refusal, Exchange& exchange)
{
    const bool may_watch = options.live
        && (!refusal || &refusal->kind() == &error::too_many_clients);
    if (refusal && !may_watch)
        throw *refusal;
    auto request = refusal
        ? read_request_to_watch(client, options, *refusal, exchange)
        : read_request(client, options.head_timeout, exchange);
    if (!request) {
        exchange.ending = "the client closed without a request";
        return false;
    }
    exchange.method = request->method;
    exchange.target = without_userinfo(request->target);
    if (may_watch
        && options.live->answer(
            client, *request, !refusal, options.users, exchange))
        return false;
    if (refusal)
        throw *refusal;
    exchange.trace.request_received(*request);
    check_loop(*request);
    check_credentials(*request, options.users);
    if (options.users.any())
        exchange.trace.credentials_accepted();
    if (const auto response = own_answer(*request))
        return answer_ourselves(client, *response, exchange);
    if (request->method == "CONNECT")
        return serve_connect(client, *request, options, exchange);
    return relay_or_own_page(client, *request, options, exchange);
}

// Sends the response to a failure.  The connection is closed after it.
bool refuse(Connection& client, const Failure& failure, Exchange& exchange)
{
    exchange.status = failure.kind().status;
    exchange.ending
        = std::string{failure.kind().reason} + ": " + failure.what();
    exchange.trace.failed(failure);
    const std::string response = failure_response(failure, exchange.method);
    exchange.trace.answered(response);
    client.write_all(response);
    return false;
}

// Answers a failure as long as no response has begun (exchange.status is 0) and
// the client's connection works.  A failure of the server's connection is a 502
// or 504.  An exception that leaves this function means: close without
// answering.
bool serve_or_refuse(Connection& client, const Options& options,
    const Refusal& refusal, Exchange& exchange)
try {
    return serve_request(client, options, refusal, exchange);
} catch (const NetError& error) {
    if (exchange.status != 0 || error.whose == Peer::client)
        throw;
    return refuse(client, server_failure(exchange.server, error), exchange);
} catch (const std::exception& error) {
    if (exchange.status != 0)
        throw;
    return refuse(client, to_failure(error), exchange);
}

// Serves one exchange and logs it.  After the last one, waits until the client
// has read the response; a connection that broke needs no such wait.
bool serve_exchange(Connection& client, const Options& options,
    const Refusal& refusal, Exchange exchange)
{
    const std::uint64_t read_before = client.bytes_read();
    const std::uint64_t written_before = client.bytes_written();
    bool another = false;
    bool is_broken = false;
    try {
        another = serve_or_refuse(client, options, refusal, exchange);
    } catch (const std::exception& error) {
        is_broken = true;
        const Ending ending = to_ending(error);
        exchange.ending = ending.text;
        exchange.trace.broken(
            Side::proxy, ending.text, ending.by, ending.error);
    }
    exchange.received = client.bytes_read() - read_before;
    exchange.sent = client.bytes_written() - written_before;
    if (exchange.is_first || exchange.received > 0)
        log_exchange(exchange);
    if (!another && !is_broken)
        client.lingering_close();
    return another;
}

// --- One client -------------------------------------------------------------

// Serves one client until its connection ends.  It is the first function of the
// client's thread: an exception that left it would end the program.  This
// thread owns the socket, and only the end of this function closes it.
void serve_client(NamedSocket socket, std::uint64_t number,
    const Options& options, milliseconds idle_limit,
    const Refusal& refusal) noexcept
try {
    IdleClock idle{idle_limit};
    Trace trace{options.trace, number};
    const std::string address = socket.address;
    Connection client{std::move(socket), Peer::client, idle};
    trace.accepted(address);
    bool is_first = true;
    while (serve_exchange(
        client, options, refusal, Exchange{trace, address, is_first}))
        is_first = false;
} catch (const std::exception& error) {
    log_error(error.what());
}

// --- All clients ------------------------------------------------------------

// Lives as long as the process, because the threads of clients use it.
struct Service {
    explicit Service(Options parsed) : options{std::move(parsed)} { }

    Options options;
    std::vector<NamedSocket> listeners;
    ThreadGroup acceptors;  // a thread for each listener
    ThreadGroup served;  // a thread for each client
    ThreadGroup refused;  // the same; they take no slot of those served
    std::atomic<std::uint64_t> last_number{0};
    std::atomic<bool> is_stopping{false};
};

constexpr std::size_t max_refused = 100;  // at the same time

std::size_t watchers(const Options& options)
{
    return options.live ? options.live->slots_of_watchers() : 0;
}

Refusal refusal_of(const std::string& client, const Service& service)
{
    const Options& options = service.options;
    if (!is_allowed(client, options.allow))
        return Failure{error::client_not_allowed, "you come from " + client};
    if (service.served.count() >= options.max_clients + watchers(options))
        return Failure{error::too_many_clients,
            std::to_string(options.max_clients) + " clients are being served"};
    return std::nullopt;
}

// Starts a thread for the client.  If no thread can start, sends the 503 from
// here, which is the accept loop, and so waits for a millisecond at most: the
// response fits into the empty send buffer of a new socket.
void start_client(NamedSocket client, Service& service)
{
    const Options& options = service.options;
    const Refusal refusal = refusal_of(client.address, service);
    ThreadGroup& group = refusal ? service.refused : service.served;
    if (refusal && group.count() >= max_refused)
        return;  // drop: max_refused answers are being sent already
    const std::uint64_t number = ++service.last_number;
    // Shared, so that this function still has it if the thread does not start.
    const auto socket = std::make_shared<NamedSocket>(std::move(client));
    try {
        group.start([=, &options] {
            serve_client(std::move(*socket), number, options,
                options.idle_timeout, refusal);
        });
    } catch (const std::system_error& no_thread) {
        const Failure failure = to_failure(no_thread);
        log_limit(failure.what());
        serve_client(std::move(*socket), number, options, 1ms, failure);
    }
}

// Logs why accept(2) failed.  Without memory for that, logs a shorter line: an
// exception here would end the acceptor's thread, and with it the program.
void log_accept_failure(const std::exception& error) noexcept
try {
    log_limit(to_failure(error).what());
} catch (const std::exception&) {
    log_limit("accept: out of memory");
}

// Accepts clients until the listening socket is shut down.  No other failure
// ends the loop: a client may have given up (ECONNABORTED), and a limit that
// was reached (EMFILE) passes when clients leave.  The loop waits after a
// failure, because trying again at once would spin.
void accept_clients(const Socket& listener, Service& service)
{
    while (!service.is_stopping) {
        try {
            start_client(accept_from(listener), service);
        } catch (const std::exception& error) {
            if (service.is_stopping)
                return;
            log_accept_failure(error);
            std::this_thread::sleep_for(100ms);
        }
    }
}

// --- The program ------------------------------------------------------------

void open_listeners(Service& service)
{
    for (const Authority& address : service.options.listen) {
        service.listeners.push_back(listen_on(address.host, address.port));
        const std::string& bound = service.listeners.back().address;
        service.options.destinations.add_listener(bound);
        if (const auto warning = open_proxy_warning(service.options, bound))
            log_error(*warning);
    }
    for (const NamedSocket& listener : service.listeners)
        log_info("forward_proxy listening on " + listener.address);
}

// Runs a thread that accepts for each listener, until a signal.  Then waits for
// these threads, and for those of clients only 100 ms, to log what has ended.
void serve(Service& service)
{
    for (const NamedSocket& listener : service.listeners)
        service.acceptors.start(
            [&] { accept_clients(listener.socket, service); });
    wait_for_stop_signal();
    service.is_stopping = true;
    for (const NamedSocket& listener : service.listeners)
        listener.socket.shutdown_both();
    service.acceptors.wait_until_none(1s);
    service.served.wait_until_none(100ms);
    // Read in this order, a watcher that leaves between the two reads counts as
    // a client; in the other order the difference could become negative.
    const std::size_t served = service.served.count();
    const std::size_t under_way = served - watchers(service.options);
    if (under_way > 0)
        log_error("stopped, clients under way: " + std::to_string(under_way));
}

}  // namespace

int main(int argc, char** argv)
try {
    open_standard_descriptors();
    static Service service{parse_command_line(argc, argv)};
    if (!service.options.help_text.empty()) {
        log_info(service.options.help_text);
        return EXIT_SUCCESS;
    }
    prepare_process();
    start_log(service.options.log);
    if (service.options.show_trace)
        service.options.trace.listener = trace_printer();
    if (service.options.live)
        service.options.live->listen(service.options.trace);
    open_listeners(service);
    serve(service);
    // _Exit ends the threads that still run: those of clients, and that of a
    // log whose reader has stopped.
    const bool all_written = finish_log();
    if (!all_written || service.served.count() + service.refused.count() > 0)
        std::_Exit(EXIT_SUCCESS);
    return EXIT_SUCCESS;
} catch (const OptionError& error) {
    log_error(error.what() + std::string{"; see --help"});
    return 2;
} catch (const std::exception& error) {
    log_error(to_failure(error).what());
    finish_log();
    return EXIT_FAILURE;
}

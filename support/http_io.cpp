#include "http_io.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "access.h"
#include "net/dial.h"
#include "net/transfer.h"

using namespace std::chrono_literals;

// --- Heads ------------------------------------------------------------------

namespace {

bool is_only_crlf(std::string_view head)
{
    return std::string_view{"\r\n"}.starts_with(head);
}

// The CRLF that some clients send after a body begins no request.
bool has_begun(const Connection& from, const std::string& head)
{
    return !is_only_crlf(head + std::string{from.buffered().substr(0, 3)});
}

}  // namespace

bool read_head(Connection& from, std::string& head, HeadLimit limit,
    const std::function<bool(milliseconds)>& wait)
{
    constexpr auto never = Clock::time_point::max();
    auto deadline = never;
    const Wait wait_for_head = [&] {
        if (head.empty())
            check_first_bytes(from.buffered());
        if (deadline == never && has_begun(from, head))
            deadline = Clock::now() + limit.time;
        const auto left
            = std::chrono::ceil<milliseconds>(deadline - Clock::now());
        if (left <= 0ms)
            throw Failure{limit.exceeded,
                (from.peer() == Peer::server ? from.address() + ": " : "")
                    + "the head was not complete within "
                    + std::to_string(limit.time / 1s) + " s"};
        return wait(std::min(left, from.idle().slice()));
    };
    for (HeadLines lines;;) {
        const std::string_view line
            = from.read_line(lines.limit(), wait_for_head);
        if (line.empty() && is_only_crlf(head))
            return false;
        if (head.empty())
            check_first_bytes(line);
        head += line;
        if (lines.add(line))
            return true;
    }
}

std::optional<RequestHead> read_request(
    Connection& client, milliseconds head_timeout, Exchange& exchange)
{
    using Ready = Connection::Ready;
    client.idle().restart();
    exchange.is_pipelined = !exchange.is_first && client.has_bytes_waiting();
    if (exchange.is_first
        && client.wait_to_read(nullptr, false, head_timeout) != Ready::to_read)
        throw NetError{"waiting for a request from", Peer::client, ETIMEDOUT};
    std::string head;
    try {
        const auto wait = [&](milliseconds limit) {
            return !has_begun(client, head)  // recv(2) waits, a slice at most
                || client.wait_to_read(nullptr, false, limit) == Ready::to_read;
        };
        if (!read_head(client, head, {head_timeout, error::head_timeout}, wait))
            return std::nullopt;
        exchange.start = Clock::now();
        return parse_request_head(head);
    } catch (const std::exception&) {
        if (!client.buffered().empty())  // a line that is not complete
            head += client.read_some(UINT64_MAX);
        exchange.trace.head_rejected(head);
        throw;
    }
}

// A chunked body is left out: what is in the buffer may hold none of its data,
// and then the head would wait for the next packet.
void write_head(Connection& to, std::string_view head, const Connection& from,
    BodyFraming body)
{
    const bool body_follows = !from.buffered().empty()
        && (body.kind == BodyFraming::Kind::until_close
            || (body.kind == BodyFraming::Kind::length && body.length > 0));
    to.write_all(head, body_follows);
}

// --- Bodies -----------------------------------------------------------------

namespace {

// What copying a body of any framing needs.
struct BodyCopy {
    Connection& from;
    Connection& to;
    Wait wait;
    BodyShown shown;  // --show-bodies
    const std::function<void()>& all_read;
    std::uint64_t size = 0;  // so far

    void passed(std::uint64_t n, std::string_view bytes)
    {
        size += n;
        shown.show(bytes);
    }
};

MessageError cut_short(const std::string& how)
{
    return MessageError{error::request_cut_short, "the body ended " + how};
}

// Copies up to `left` bytes.  Returns how many of them the stream did not have.
std::uint64_t copy_bytes(BodyCopy& body, std::uint64_t left)
{
    for (Transfer transfer{body.from, body.to}; left > 0;) {
        const Piece piece = transfer.read(left, body.wait);
        if (piece.size == 0)
            break;
        left -= piece.size;
        if (left == 0)
            body.all_read();
        transfer.write(piece);
        body.passed(piece.size, piece.bytes);
    }
    return left;
}

void copy_length(BodyCopy& body, std::uint64_t length)
{
    if (const std::uint64_t missing = copy_bytes(body, length))
        throw cut_short(
            std::to_string(missing) + " bytes short of its Content-Length");
}

// The end is a FIN: neither a reset, nor our own shutdown of the socket.
void copy_until_close(BodyCopy& body)
{
    copy_bytes(body, UINT64_MAX);
    if (!body.from.ended_with_fin())
        throw NetError{"reading from", body.from.peer(), ECONNRESET};
}

void write_chunk(Connection& to, std::string_view data)
{
    std::array<char, 16> size{};
    const auto end
        = std::to_chars(size.begin(), size.end(), data.size(), 16).ptr;
    to.write_all(std::string{size.data(), end} + "\r\n", true);
    to.write_all(data, true);
    to.write_all("\r\n");
}

std::string_view read_chunk_line(BodyCopy& body, std::size_t limit)
{
    const std::string_view line = body.from.read_line(limit, body.wait);
    if (line.size() < limit && !line.ends_with('\n'))
        throw cut_short("before its last chunk");
    return line;
}

Fields read_trailer(BodyCopy& body)
{
    std::string trailer;
    for (HeadLines lines{HeadLines::Of::trailer};;) {
        const std::string_view line = read_chunk_line(body, lines.limit());
        trailer += line;
        if (lines.add(line))
            return parse_trailer(trailer);
    }
}

// Each read becomes a chunk, so that nothing waits for the end of a large one.
void copy_chunk(BodyCopy& body, std::uint64_t left, Delimiting delimiting)
{
    while (left > 0) {
        const std::string_view data = body.from.read_some(left, body.wait);
        if (data.empty())
            throw cut_short("before its last chunk");
        left -= data.size();
        if (delimiting == Delimiting::as_received)
            write_chunk(body.to, data);
        else
            body.to.write_all(data);
        body.passed(data.size(), data);
    }
}

void copy_chunked(BodyCopy& body, const Fields& head, Delimiting delimiting)
{
    ChunkOverhead overhead;
    for (;;) {
        const std::string_view line
            = read_chunk_line(body, max_chunk_size_line);
        const std::uint64_t size = parse_chunk_size(line);
        overhead.add(line.size(), size);
        if (size == 0)
            break;
        copy_chunk(body, size, delimiting);
        check_chunk_end(read_chunk_line(body, 2));
    }
    const Fields trailer = fields_to_forward(read_trailer(body), head);
    body.all_read();
    if (delimiting == Delimiting::as_received)
        body.to.write_all("0\r\n" + to_string(trailer) + "\r\n");
}

}  // namespace

void copy_body(Connection& from, Connection& to, const Fields& head,
    BodyFraming framing, Delimiting delimiting, Trace& trace,
    const std::function<void()>& all_read, Wait wait)
{
    if (!wait)
        wait = [&] { return from.wait_unless_gone(to); };
    const Side sender = side_of(from.peer());
    BodyCopy body{from, to, std::move(wait), {trace, sender}, all_read};
    switch (framing.kind) {
    case BodyFraming::Kind::none:
        return body.all_read();
    case BodyFraming::Kind::length:
        copy_length(body, framing.length);
        break;
    case BodyFraming::Kind::chunked:
        copy_chunked(body, head, delimiting);
        break;
    case BodyFraming::Kind::until_close:
        copy_until_close(body);
        break;
    }
    trace.body_ended(sender, body.size);
}

// --- Connecting, and what can go wrong --------------------------------------

namespace {

// Notes in the exchange how dialling goes on, tells the trace of it, and leaves
// out the addresses that the client may not reach.
class Dialling : public DialObserver {
public:
    Dialling(const Connection& client, const Options& options,
        Exchange& exchange, const std::function<void()>& on_client_finished)
        : client_{client}, options_{options}, exchange_{exchange},
          on_client_finished_{on_client_finished}
    {
    }
    // What did not end by itself has failed by now.
    ~Dialling() override
    {
        (exchange_.resolving ? exchange_.connecting : exchange_.resolving)
            = Clock::now() - start_;
    }

    void resolved(const AddressList& addresses) override
    {
        const auto now = Clock::now();
        exchange_.resolving = now - std::exchange(start_, now);
        if (exchange_.trace)
            exchange_.trace.resolved(
                to_string(addresses), *exchange_.resolving);
    }
    bool connecting(const std::string& address) override
    {
        auto refused = options_.destinations.refusal(
            address, client_.address(), interface_addresses);
        if (!refused) {
            exchange_.trace.connecting(address);
            return true;
        }
        exchange_.trace.connect_failed(address, refused->detail);
        failures.push_back(std::move(*refused));
        return false;
    }
    void failed(const std::string& address, int error) override
    {
        exchange_.trace.connect_failed(
            address, std::generic_category().message(error));
        failures.push_back(address_failure(address, error));
    }
    void client_finished() override
    {
        if (on_client_finished_)
            on_client_finished_();
    }

    std::vector<AddressFailure> failures;

private:
    const Connection& client_;
    const Options& options_;
    Exchange& exchange_;
    const std::function<void()>& on_client_finished_;
    Clock::time_point start_ = Clock::now();
};

}  // namespace

Connection connect_to_origin(const Authority& origin, const Connection& client,
    const Options& options, Exchange& exchange,
    const std::function<void()>& client_finished)
try {
    exchange.trace.resolving(origin.host);
    Dialling dialling{client, options, exchange, client_finished};
    auto server = dial(origin.host, origin.port, options.connect_timeout,
        dialling, &client.socket());
    if (!parse_ip_address(origin.host))
        give_back_unused_stack();  // that the resolver has used
    if (!server)
        throw connect_failure(dialling.failures);
    exchange.trace.connected(server->address);
    exchange.server = server->address;
    return Connection{std::move(*server), Peer::server, client.idle()};
} catch (const NameError& error) {
    throw Failure{
        error.temporary ? error::name_timeout : error::name_not_resolved,
        origin.host + ": " + error.what()};
}

Failure server_failure(const std::string& address, const NetError& error)
{
    return {
        error.error == ETIMEDOUT ? error::server_timeout : error::server_reset,
        address + ": " + error.what()};
}

Failure to_failure(const std::exception& error)
{
    if (const auto* const failure = dynamic_cast<const Failure*>(&error))
        return *failure;
    const auto* const system = dynamic_cast<const std::system_error*>(&error);
    return system == nullptr
        ? Failure{error::internal_error, error.what()}
        : system_failure(system->code().value(), error.what());
}

Side side_of(Peer peer) noexcept
{
    return peer == Peer::client ? Side::client : Side::server;
}

Ending to_ending(const std::exception& error)
{
    const auto* const broken = dynamic_cast<const NetError*>(&error);
    if (broken == nullptr)
        return {error.what(), Side::proxy, 0};
    return {error.what(), side_of(broken->whose), broken->error};
}

#include "trace.h"

#include <algorithm>
#include <cerrno>

#include "../http/forwarding.h"
#include "access_log.h"
#include "escape.h"
#include "exchange.h"

namespace {

constexpr Way client_to_proxy{Side::client, Side::proxy};
constexpr Way proxy_to_client{Side::proxy, Side::client};
constexpr Way proxy_to_server{Side::proxy, Side::server};
constexpr Way server_to_proxy{Side::server, Side::proxy};
constexpr Way inside{Side::proxy, Side::proxy};

Way across(Side sender)
{
    return {sender, sender == Side::client ? Side::server : Side::client};
}

// --- Heads ------------------------------------------------------------------

constexpr std::size_t max_shown = 200;  // bytes of a field value or a target

std::string shortened(const std::string& text)
{
    if (text.size() <= max_shown)
        return escaped(text);
    std::string start = text.substr(0, max_shown);
    start.resize(start.size() - unfinished(start));
    return escaped(start) + "... (" + std::to_string(text.size()) + " bytes)";
}

// Credentials and cookies are left out, and long values cut.
std::string value_to_show(const FieldLine& field)
{
    return shortened(value_without_secrets(field));
}

// A line for each line of the head.
Event head_event(std::string_view kind, Way way, std::string start_line,
    const Fields& fields, Values values)
{
    Event event{
        kind, way, std::move(start_line), Weight::story, std::move(values)};
    FieldChanges lines;
    for (const FieldLine& field : fields) {
        lines.push_back({field.name, value_to_show(field), ""});
        event.text.append("\n  " + field.name + ": " + lines.back().value);
    }
    event.values.emplace_back("fields", std::move(lines));
    return event;
}

Event request_event(Way way, const RequestHead& head)
{
    const std::string target = shortened(without_userinfo(head.target));
    const std::string start_line = head.method + " " + target + " "
        + std::string{to_string(head.version)};
    return head_event("request", way, start_line, head.fields,
        {{"method", head.method}, {"target", target},
            {"start_line", start_line}});
}

Event response_event(std::string_view kind, Way way, const ResponseHead& head)
{
    const std::string reason = shortened(head.reason);
    return head_event(kind, way,
        std::string{to_string(head.version)} + " " + std::to_string(head.status)
            + " " + reason,
        head.fields,
        {{"status", static_cast<std::uint64_t>(head.status)},
            {"reason", reason}});
}

// --- What the proxy decides -------------------------------------------------

// Those of `a` that are not in `b`, as often as they are missing there.
Fields missing(const Fields& a, Fields b)
{
    Fields result;
    for (const FieldLine& field : a)
        if (const auto same = std::find(b.begin(), b.end(), field);
            same != b.end())
            b.erase(same);
        else
            result.push_back(field);
    return result;
}

template <typename Why>
void add_changes(Event& event, const char* verb, const Fields& fields, Why why)
{
    FieldChanges changes;
    for (const FieldLine& field : fields) {
        changes.push_back({field.name, value_to_show(field), why(field)});
        event.text.append(event.text.empty() ? "  " : "\n  ")
            .append(verb)
            .append(" " + field.name + ": " + changes.back().value)
            .append("\n      " + changes.back().reason);
    }
    event.values.emplace_back(verb, std::move(changes));
}

// The step between a head received and a head sent: what the proxy changed.
Event changes_event(const Fields& received, const Fields& sent)
{
    Event event{"changes", inside, "", Weight::detail};
    add_changes(event, "removed", missing(received, sent),
        [&](const FieldLine& field) { return why_removed(field, received); });
    add_changes(event, "added", missing(sent, received), why_added);
    return event;
}

// How long a body is, and by which rule of RFC 9112 §6.3.
std::string explain_framing(BodyFraming framing, bool of_request)
{
    switch (framing.kind) {
    case BodyFraming::Kind::none:
        return of_request
            ? "no body is announced (RFC 9112 §6.3, rule 7)"
            : "no body, by the method or the status (RFC 9112 §6.3, rule 1)";
    case BodyFraming::Kind::length:
        return "a body of " + std::to_string(framing.length)
            + " bytes: Content-Length (RFC 9112 §6.3, rule 6)";
    case BodyFraming::Kind::chunked:
        return "a body up to the chunk of size 0: Transfer-Encoding (RFC 9112 "
               "§6.3, rule 4)";
    case BodyFraming::Kind::until_close:
        return "a body up to the server's close (RFC 9112 §6.3, rule 8)";
    }
    return "";
}

Event framing_event(BodyFraming body, bool of_request)
{
    return {"framing", inside, "  " + explain_framing(body, of_request),
        Weight::detail, {{"length", body.length}}};
}

}  // namespace

// --- Trace ------------------------------------------------------------------

Trace::Trace(const TraceSettings& settings, std::uint64_t connection)
    : settings_{settings}, connection_{connection},
      is_wanted_{asks_whether_wanted()}, was_wanted_{is_wanted_}
{
}

Trace::~Trace()
{
    is_wanted_ = was_wanted_;
    try {
        if (draws())
            emit({"closed", proxy_to_client, "closed", Weight::drawn});
    } catch (const std::exception&) {
        // There is no memory for the event.
    }
}

bool Trace::asks_whether_wanted() const
{
    return settings_.listener && (!settings_.wants || settings_.wants());
}

// The steps that the trace prints are numbered without those that it does not.
void Trace::emit(Event event)
{
    const std::scoped_lock lock{mutex_};
    event.connection = connection_;
    event.exchange = exchange_;
    step_ += event.weight == Weight::drawn ? 0 : 1;
    event.step = step_;
    event.time = std::chrono::steady_clock::now() - accepted_;
    event.passed = &passed_;
    settings_.listener(event);
}

std::string Trace::next_exchange()
{
    const std::scoped_lock lock{mutex_};
    if (exchange_ > 0)
        is_wanted_ = asks_whether_wanted();
    was_wanted_ = was_wanted_ || is_wanted_;
    return "#" + std::to_string(connection_) + "."
        + std::to_string(++exchange_);
}

void Trace::accepted(const std::string& client)
{
    if (*this)
        emit({"accepted", client_to_proxy, "connected from " + client,
            Weight::story, {{"client", client}}});
}

void Trace::request_received(const RequestHead& head)
{
    if (*this)
        emit(request_event(client_to_proxy, head));
}

// Each line of the head has a mark in front, so that none of them can look like
// one of ours.
void Trace::head_rejected(std::string_view bytes)
{
    if (!*this || bytes.empty())
        return;
    const std::string shown = head_without_secrets(bytes);
    emit({"rejected", client_to_proxy,
        "no valid request head, as far as it was read:\n"
            + escaped_lines(shown, "  | "),
        Weight::story,
        {{"size", std::uint64_t{bytes.size()}},
            {"bytes", escaped_lines(shown, "")}}});
}

void Trace::credentials_accepted()
{
    if (*this)
        emit({"authorized", inside, "  the proxy credentials are right",
            Weight::detail});
}

void Trace::request_sent(
    const RequestHead& received, const RequestHead& forwarded, BodyFraming body)
{
    if (!*this)
        return;
    emit(framing_event(body, true));
    emit(changes_event(received.fields, forwarded.fields));
    emit(request_event(proxy_to_server, forwarded));
}

void Trace::upgrade_withheld(const std::string& port)
{
    if (*this)
        emit({"upgrade_withheld", inside,
            "  no upgrade is asked for: see --connect-ports", Weight::detail,
            {{"port", port}}});
}

void Trace::resolving(const std::string& host)
{
    if (*this)
        emit({"resolving", proxy_to_server, "looking up " + host,
            Weight::detail, {{"host", host}}});
}

void Trace::resolved(
    const std::string& addresses, std::chrono::steady_clock::duration time)
{
    if (*this)
        emit({"resolved", proxy_to_server,
            "found " + addresses + " in " + to_ms(time) + " ms", Weight::detail,
            {{"addresses", addresses}}});
}

void Trace::connecting(const std::string& address)
{
    if (*this)
        emit({"connecting", proxy_to_server, "connecting to " + address,
            Weight::story, {{"address", address}}});
}

void Trace::connect_failed(const std::string& address, const std::string& error)
{
    if (*this)
        emit({"connect_failed", proxy_to_server, address + ": " + error,
            Weight::failure, {{"address", address}, {"error", error}}});
}

void Trace::connected(const std::string& address)
{
    if (*this)
        emit({"connected", proxy_to_server, "connected to " + address,
            Weight::story, {{"address", address}}});
}

void Trace::response_received(const ResponseHead& head, BodyFraming body)
{
    if (!*this)
        return;
    emit(response_event("response", server_to_proxy, head));
    emit(framing_event(body, false));
    if (combined_value(head.fields, "Strict-Transport-Security"))
        emit({"hsts", inside,
            "  Strict-Transport-Security came over plain HTTP: clients have to "
            "ignore it (RFC 6797 §8.1)",
            Weight::detail});
}

void Trace::response_sent(
    const ResponseHead& received, const ResponseHead& forwarded)
{
    if (!*this)
        return;
    emit(changes_event(received.fields, forwarded.fields));
    emit(response_event("response", proxy_to_client, forwarded));
}

void Trace::answered(std::string_view response)
{
    if (!*this)
        return;
    const std::size_t head_end = response.find("\r\n\r\n") + 4;
    Event event = response_event("answer", proxy_to_client,
        parse_response_head(response.substr(0, head_end)));
    if (const auto body = response.substr(head_end); !body.empty())
        event.text.append("\n\n" + escaped_lines(body, "  "));
    emit(std::move(event));
}

void Trace::failed(const Failure& failure)
{
    if (!*this)
        return;
    const std::string reason{failure.kind().reason};
    const std::string detail{failure.what()};
    const std::string advice{failure.kind().advice};
    emit({"failure", inside, reason + ": " + escaped(detail) + "\n  " + advice,
        Weight::failure,
        {{"status", static_cast<std::uint64_t>(failure.kind().status)},
            {"reason", reason}, {"detail", detail}, {"advice", advice}}});
}

void Trace::body_text(Side sender, const std::string& text)
{
    emit({"body_text", across(sender), text, Weight::detail});
}

void Trace::body_ended(Side sender, std::uint64_t size)
{
    if (*this)
        emit({"body", across(sender),
            "the body is over, " + std::to_string(size) + " bytes",
            Weight::story, {{"size", size}}});
}

void Trace::passed(Side sender, std::uint64_t size) noexcept
{
    if (draws())
        (sender == Side::client ? passed_.to_server : passed_.to_client)
            .fetch_add(size, std::memory_order_relaxed);
}

std::uint64_t Trace::passed_by(Side sender) const noexcept
{
    return sender == Side::client ? passed_.to_server : passed_.to_client;
}

void Trace::tls(Side sender, tls::Message message)
{
    if (*this)
        emit({message.kind, across(sender), std::move(message.text),
            message.weight, std::move(message.values)});
}

void Trace::finished(Side sender)
{
    if (*this)
        emit({"fin", across(sender), "FIN: nothing more comes from this side",
            Weight::story, {{"size", passed_by(sender)}}});
}

void Trace::broken(
    Side sender, const std::string& error, Side whose, int number)
{
    if (*this)
        emit({"broken", across(sender), error, Weight::failure,
            {{"error", error}, {"size", passed_by(sender)},
                {"whose", std::string{name_of(whose)}},
                {"reset", number == ECONNRESET || number == EPIPE}}});
}

void Trace::is_watcher()
{
    if (draws())
        emit({"watcher", inside, "a page that draws events", Weight::drawn});
}

void Trace::ended(const Exchange& exchange)
{
    if (!*this)
        return;
    emit({"ended", inside, "ended: " + summary(exchange), Weight::story,
        {{"status", static_cast<std::uint64_t>(exchange.status)},
            {"received", exchange.received}, {"sent", exchange.sent},
            {"ending", exchange.ending}}});
    if (!exchange.diagnosis.empty())
        emit({"diagnosis", inside, "verdict, " + escaped(exchange.diagnosis),
            Weight::failure,
            {{"seen", exchange.diagnosis.starts_with("seen")},
                {"words",
                    exchange.diagnosis.substr(
                        exchange.diagnosis.find(": ") + 2)}}});
}

// --- BodyShown --------------------------------------------------------------

void BodyShown::show(std::string_view bytes)
{
    if (over_)
        return;
    std::string text = held_back_.append(bytes.substr(0, left_));
    over_ = bytes.size() >= left_;
    left_ -= std::min(left_, bytes.size());
    held_back_ = text.substr(text.size() - unfinished(text));
    text.resize(text.size() - held_back_.size());
    if (!is_text(text)) {
        over_ = true;
        text = "(not UTF-8 text, and not shown)";
    } else if (over_) {
        text += "\n(and so on)";
    }
    if (!text.empty())
        trace_.body_text(sender_, escaped_lines(text, ""));
}

#include "live.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <random>
#include <string_view>

#include "http/error.h"
#include "log/escape.h"

namespace {

using namespace std::chrono_literals;

constexpr std::string_view html =
#include "live_page.inc"  // log/live.html as a literal: see the Makefile
    ;

// A stream of server-sent events: an id, a name, and a line of data.
std::string format_message(
    std::uint64_t id, std::string_view name, std::string_view json)
{
    std::string message;
    if (id != 0)
        message.append("id: ").append(std::to_string(id)).append("\n");
    if (!name.empty())
        message.append("event: ").append(name).append("\n");
    return message.append("data: ").append(json).append("\n\n");
}

std::string random_hex()
{
    std::random_device random;
    std::array<char, 33> hex{};
    std::snprintf(hex.data(), hex.size(), "%08x%08x%08x%08x", random(),
        random(), random(), random());
    return hex.data();
}

// Ids of events begin anew with each run of the program.
std::string hello()
{
    static const std::string run = random_hex();
    return "retry: 1000\n"
        + format_message(0, "hello", "{\"run\":\"" + run + "\"}");
}

// The beginning of an event's text, and of its other strings; no lists.
Event shortened(Event event)
{
    const auto cut = [](std::string& text) {
        constexpr std::size_t enough = 2048;
        if (text.size() <= enough)
            return;
        const std::string size = std::to_string(text.size());
        text.resize(enough);
        text.resize(enough - unfinished(text));
        text.append("... (" + size + " bytes)");
    };
    cut(event.text);
    for (auto& [name, value] : event.values)
        if (auto* const text = std::get_if<std::string>(&value))
            cut(*text);
        else if (auto* const list
            = std::get_if<std::vector<std::string>>(&value))
            list->clear();
        else if (auto* const fields = std::get_if<FieldChanges>(&value))
            fields->clear();
    return event;
}

}  // namespace

// --- EventHub ---------------------------------------------------------------

void EventHub::tell(const Event& event) noexcept
try {
    if (event.kind == "body_text")
        return;
    std::string json = to_json(event);
    if (json.size() > max_event)
        json = to_json(shortened(event));
    const std::scoped_lock lock{mutex_};
    add(event, json);
} catch (const std::exception&) {
    // There is no memory for the event.  A connection that was closed must be
    // forgotten all the same: its counters end with it.
    const std::scoped_lock lock{mutex_};
    if (event.kind == "closed")
        open_.erase(event.connection);
}

bool EventHub::wants() noexcept
{
    if (listening_ > 0)
        return true;
    const std::int64_t second
        = std::chrono::steady_clock::now().time_since_epoch() / 1s;
    if (second_.exchange(second) != second)
        in_this_second_ = 0;
    const bool is_told = in_this_second_++ < max_unwatched;
    untold_ += is_told ? 0 : 1;
    return is_told;
}

void EventHub::add(const Event& event, const std::string& json)
{
    if (event.kind == "watcher")
        hide(event);
    else if (is_hidden(event))
        return;
    const auto message = std::make_shared<const std::string>(
        format_message(++last_id_, "", json));
    if (event.kind != "watcher") {
        note_open(event, message);
        history_.push_back({event.connection, event.exchange, message});
        if (history_.size() > max_history)
            history_.pop_front();
    }
    send_to_all(message);
}

// A page that was told the first events of a watcher's exchange drops them.
void EventHub::hide(const Event& event)
{
    const auto is_of_exchange = [&](const Told& told) {
        return told.connection == event.connection
            && (told.exchange == event.exchange || event.exchange == 1);
    };
    std::erase_if(history_, is_of_exchange);
    if (event.exchange == 1)
        open_.erase(event.connection);
    hidden_[event.connection] = event.exchange;
}

bool EventHub::is_hidden(const Event& event)
{
    const auto found = hidden_.find(event.connection);
    if (found == hidden_.end())
        return false;
    if (event.kind != "closed")
        return event.exchange == found->second;
    const bool was_never_seen = found->second == 1;
    hidden_.erase(found);
    return was_never_seen;
}

// Keeps what a late joiner needs to draw a connection that is open: who, where
// to, how far.
void EventHub::note_open(const Event& event, const Message& message)
{
    constexpr std::string_view kinds[]{"accepted", "request", "connected",
        "answer", "response", "failure", "tls", "bulk", "fin", "broken",
        "ended"};
    constexpr std::size_t max_essentials = 12;
    if (event.kind == "closed") {
        open_.erase(event.connection);
        return;
    }
    Open& open = open_[event.connection];
    open.passed = event.passed;
    const bool begins_exchange
        = event.kind == "request" && event.way.from == Side::client;
    if (begins_exchange)
        std::erase_if(open.essentials, [&](const Told& told) {
            return told.exchange != event.exchange && told.exchange != 0;
        });
    if (std::find(std::begin(kinds), std::end(kinds), event.kind)
            != std::end(kinds)
        && open.essentials.size() < max_essentials)
        open.essentials.push_back({event.connection, event.exchange, message});
}

// A queue that was full once takes nothing until its watcher has emptied it, so
// that there is one gap, and not many.  Meanwhile that watcher does not listen.
void EventHub::send_to_all(const Message& message)
{
    for (Watcher* const watcher : watchers_) {
        if (watcher->skipped_ > 0) {
            ++watcher->skipped_;
        } else if (watcher->queue_.size() >= max_queue) {
            watcher->skipped_ = 1;
            watcher->untold_ = untold_;
            count_listening();
        } else {
            watcher->queue_.push_back(message);
            watcher->arrived_.notify_one();
        }
    }
}

void EventHub::count_listening()
{
    listening_ = static_cast<std::size_t>(
        std::count_if(watchers_.begin(), watchers_.end(),
            [](const Watcher* watcher) { return watcher->skipped_ == 0; }));
}

void EventHub::send_bytes_passed()
{
    const auto now = std::chrono::steady_clock::now();
    if (now - last_bytes_ < 250ms)
        return;
    last_bytes_ = now;
    for (auto& [connection, open] : open_) {
        const std::uint64_t up = open.passed->to_server;
        const std::uint64_t down = open.passed->to_client;
        if (up + down == open.last_sum)
            continue;
        open.last_sum = up + down;
        send_to_all(std::make_shared<const std::string>(format_message(0, "",
            to_json(Values{{"connection", connection},
                {"kind", std::string{"bytes"}}, {"to_server", up},
                {"to_client", down}}))));
    }
}

// The open connections: the last ones are told again, of all the numbers.  A
// page takes any other connection for closed.
std::string EventHub::state() const
{
    constexpr std::size_t max_told = 200;
    std::string messages;
    std::string numbers;
    std::size_t left = open_.size();
    for (const auto& [connection, open] : open_) {
        numbers.append(numbers.empty() ? "" : ",")
            .append(std::to_string(connection));
        if (left-- <= max_told)
            for (const Told& told : open.essentials)
                messages += *told.message;
    }
    return messages
        + format_message(0, "open",
            "{\"open\":[" + numbers + "],\"last\":" + std::to_string(last_id_)
                + "}");
}

EventHub::Watcher::Watcher(EventHub& hub) : hub_{hub}
{
    const std::scoped_lock lock{hub_.mutex_};
    if (hub_.watchers_.size() >= max_watchers)
        throw Failure{error::too_many_watchers,
            std::to_string(max_watchers) + " pages are open"};
    queue_.push_back(std::make_shared<const std::string>(hello()));
    for (const Told& told : hub_.history_)
        queue_.push_back(told.message);
    queue_.push_back(std::make_shared<const std::string>(hub_.state()));
    hub_.watchers_.insert(this);
    hub_.count_listening();
}

EventHub::Watcher::~Watcher()
{
    const std::scoped_lock lock{hub_.mutex_};
    hub_.watchers_.erase(this);
    hub_.count_listening();
}

std::string EventHub::Watcher::next()
{
    constexpr std::size_t enough = 64 * 1024;
    std::unique_lock lock{hub_.mutex_};
    arrived_.wait_for(lock, 250ms, [&] { return !queue_.empty(); });
    hub_.send_bytes_passed();
    std::string messages;
    while (!queue_.empty() && messages.size() < enough) {
        messages += *queue_.front();
        queue_.pop_front();
    }
    if (queue_.empty() && skipped_ > 0) {
        messages += format_message(0, "skipped",
            to_json({{"skipped", std::uint64_t{skipped_}},
                {"untold", hub_.untold_ - untold_}}));
        messages += hub_.state();
        skipped_ = 0;
        hub_.count_listening();
    }
    return messages;
}

// --- Who may watch ----------------------------------------------------------

namespace {

// For an absolute-form target make_origin_form() has set this field.
std::string authority_of(const RequestHead& request)
{
    return combined_value(request.fields, "Host").value_or("");
}

// An address or localhost leads here whatever a name server says.
bool cannot_be_rebound(const std::string& authority)
try {
    const std::string host = parse_authority(authority).host;
    return parse_ip_address(host) || equal_ignoring_case(host, "localhost");
} catch (const MessageError&) {
    return false;
}

// Whether another site's page has asked.  Browsers say so: Fetch §3.1 and Fetch
// Metadata §2.3.  Following a link to the page is nothing foreign.
bool is_foreign(const RequestHead& request, bool is_stream)
{
    const auto origin = combined_value(request.fields, "Origin");
    if (origin && *origin != "http://" + authority_of(request))
        return true;
    const auto site = combined_value(request.fields, "Sec-Fetch-Site");
    return is_stream && site && *site != "same-origin" && *site != "none";
}

}  // namespace

void check_watcher(const RequestHead& request, const std::string& client,
    bool is_stream, const Users& users)
{
    if (is_foreign(request, is_stream))
        throw Failure{
            error::live_foreign, "the request comes from another site's page"};
    if (users.any()) {
        const auto given = combined_value(request.fields, "Authorization");
        if (!given || !users.accept(*given))
            throw Failure{error::live_password,
                given ? "the credentials are wrong"
                      : "the request has no Authorization"};
        return;
    }
    const auto endpoint = parse_endpoint(client);
    if (!endpoint || !networks::loopback.contain(endpoint->address))
        throw Failure{error::live_loopback_only, client};
    const std::string authority = authority_of(request);
    if (!cannot_be_rebound(authority))
        throw Failure{error::live_by_name, "asked for as " + authority};
}

// --- LivePage ---------------------------------------------------------------

namespace {

enum class Part { page, events, none };

Part part_of(const RequestHead& request)
{
    const bool is_get = request.method == "GET";
    if (request.target == "/" && (is_get || request.method == "HEAD"))
        return Part::page;
    return request.target == "/events" && is_get ? Part::events : Part::none;
}

// No script or style but the page's own, which the nonce marks, and nothing
// from or to anywhere else (CSP Level 3).
Fields fields_for(std::string_view type, const std::string& nonce)
{
    return {{"Content-Type", std::string{type} + "; charset=utf-8"},
        {"Content-Security-Policy",
            "default-src 'none'; script-src 'nonce-" + nonce
                + "'; style-src 'nonce-" + nonce
                + "'; connect-src 'self'; img-src data:; base-uri 'none'; "
                  "form-action 'none'; frame-ancestors 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Cache-Control", "no-store"}, {"Connection", "close"}};
}

std::string with_nonce(const std::string& nonce)
{
    constexpr std::string_view mark = "NONCE-OF-THIS-RESPONSE";
    std::string text{html};
    for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos;)
        text.replace(at, mark.size(), nonce);
    return text;
}

// One of --max-clients that a watcher does not use up.
struct Slot {
    explicit Slot(std::atomic<std::size_t>* count) : slots{count}
    {
        if (slots != nullptr)
            ++*slots;
    }
    ~Slot()
    {
        if (slots != nullptr)
            --*slots;
    }
    std::atomic<std::size_t>* slots;
};

}  // namespace

// Without another listener, only exchanges that the page wants are told.
void LivePage::listen(TraceSettings& trace)
{
    trace.draws = true;
    if (!trace.listener)
        trace.wants = [this] { return hub_.wants(); };
    trace.listener
        = [this, other = std::move(trace.listener)](const Event& event) {
              if (other)
                  other(event);
              hub_.tell(event);
          };
}

bool LivePage::answer(Connection& client, const RequestHead& request,
    bool takes_slot, const Users& users, Exchange& exchange)
{
    const Part part = part_of(request);
    if (part == Part::none)
        return false;
    exchange.trace.is_watcher();
    check_watcher(request, client.address(), part == Part::events, users);
    if (part == Part::page) {
        exchange.status = 200;
        exchange.ending = "the live page";
        send_page(client, request);
        return true;
    }
    exchange.ending = "the watcher left";
    send_events(client, takes_slot, exchange);
    return true;
}

void LivePage::send_page(Connection& client, const RequestHead& request)
{
    const std::string nonce = random_hex();
    const std::string body = with_nonce(nonce);
    ResponseHead head{
        Version::http_1_1, 200, "OK", fields_for("text/html", nonce)};
    head.fields.push_back({"Content-Length", std::to_string(body.size())});
    client.write_all(to_string(head));
    if (request.method != "HEAD")
        client.write_all(body);
}

// Ends when a write fails.  A comment line, which the page ignores, finds a
// watcher that has gone while nothing happens.  One that is there and does not
// read is given up like a client after its FIN, after 60 s.
void LivePage::send_events(
    Connection& client, bool takes_slot, Exchange& exchange)
try {
    EventHub::Watcher watcher{hub_};
    const Slot slot{takes_slot ? &slots_ : nullptr};
    exchange.status = 200;
    const ResponseHead head{Version::http_1_1, 200, "OK",
        fields_for("text/event-stream", random_hex())};
    client.idle().half_close();
    client.write_all(to_string(head));
    for (auto last = Clock::now();;) {
        std::string messages = watcher.next();
        if (messages.empty() && Clock::now() - last < 5s)
            continue;
        client.idle().bytes_moved();
        client.write_all(messages.empty() ? ":\n\n" : messages);
        last = Clock::now();
    }
} catch (const NetError&) {
    // The watcher has gone: nothing failed.
}

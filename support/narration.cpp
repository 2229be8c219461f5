#include "narration.h"

#include <algorithm>
#include <memory>

#include "printable.h"

namespace {

constexpr std::size_t max_shown = 200;  // bytes of a field value or a target

std::string shortened(const std::string& text)
{
    if (text.size() <= max_shown)
        return text;
    std::string start = text.substr(0, max_shown);
    start.resize(start.size() - unfinished(start));
    return start + "... (" + std::to_string(text.size()) + " bytes)";
}

// The scheme may be shown, the credentials may not.
std::string value_to_show(const FieldLine& field)
{
    if (!equal_ignoring_case(field.name, "Authorization")
        && !equal_ignoring_case(field.name, "Proxy-Authorization"))
        return shortened(field.value);
    const std::size_t space = std::min(field.value.find(' '), std::size_t{20});
    return field.value.substr(0, space) + " (not shown)";
}

std::string line_of(const FieldLine& field)
{
    return field.name + ": " + value_to_show(field);
}

std::string with_fields(std::string start_line, const Fields& fields)
{
    for (const FieldLine& field : fields)
        start_line.append("\n  ").append(line_of(field));
    return start_line;
}

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

}  // namespace

std::string head_in_words(const RequestHead& head)
{
    return with_fields(head.method + " " + shortened(head.target) + " "
            + std::string{to_string(head.version)},
        head.fields);
}

std::string head_in_words(const ResponseHead& head)
{
    return with_fields(std::string{to_string(head.version)} + " "
            + std::to_string(head.status) + " " + shortened(head.reason),
        head.fields);
}

std::string changes_in_words(const Fields& received, const Fields& forwarded)
{
    std::string words;
    const auto add = [&](const char* what, const FieldLine& field,
                         const std::string& why) {
        words.append(words.empty() ? "" : "\n").append(what);
        words.append(line_of(field)).append("\n    ").append(why);
    };
    for (const FieldLine& field : missing(received, forwarded))
        add("removed ", field, why_removed(field, received));
    for (const FieldLine& field : missing(forwarded, received))
        add("added ", field, why_added(field));
    return words.empty() ? "no field line changed" : words;
}

std::string framing_in_words(Message message, BodyFraming framing)
{
    const bool is_request = message == Message::request;
    switch (framing.kind) {
    case BodyFraming::Kind::none:
        return is_request
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

void tell_accepted(Trace& trace, const std::string& client)
{
    if (trace)
        trace.step(Way::client_to_proxy, "connected from " + client);
}

void tell_request(Trace& trace, const RequestHead& request)
{
    if (trace)
        trace.step(Way::client_to_proxy, head_in_words(request));
}

void tell_credentials(Trace& trace, bool asked_for)
{
    if (trace)
        trace.step(Way::proxy,
            asked_for ? "the proxy credentials are right"
                      : "no proxy credentials are asked for");
}

void tell_request_sent(Trace& trace, const RequestHead& received,
    const RequestHead& forwarded, BodyFraming body)
{
    if (!trace)
        return;
    trace.step(Way::proxy, framing_in_words(Message::request, body));
    trace.step(Way::proxy, changes_in_words(received.fields, forwarded.fields));
    trace.step(Way::proxy_to_server, head_in_words(forwarded));
}

void tell_response(Trace& trace, const ResponseHead& response, BodyFraming body)
{
    if (!trace)
        return;
    trace.step(Way::server_to_proxy, head_in_words(response));
    trace.step(Way::proxy, framing_in_words(Message::response, body));
    if (combined_value(response.fields, "Strict-Transport-Security"))
        trace.step(Way::proxy,
            "Strict-Transport-Security came over plain HTTP: clients have to "
            "ignore it (RFC 6797 §8.1)");
}

void tell_response_sent(
    Trace& trace, const ResponseHead& received, const ResponseHead& forwarded)
{
    if (!trace)
        return;
    trace.step(Way::proxy, changes_in_words(received.fields, forwarded.fields));
    trace.step(Way::proxy_to_client, head_in_words(forwarded));
}

void tell_answer(Trace& trace, std::string_view answer)
{
    if (!trace)
        return;
    std::string lines{answer.substr(0, answer.find_last_not_of("\r\n") + 1)};
    std::erase(lines, '\r');
    trace.step(Way::proxy_to_client, lines);
}

namespace {

// What has been shown of one body.
class BodyShown {
public:
    BodyShown(Trace& trace, Way way) : trace_{trace}, way_{way} { }

    void show(std::string_view bytes)
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
            trace_.step(way_, text);
    }

private:
    Trace& trace_;
    Way way_;
    std::size_t left_ = 4096;
    bool over_ = false;
    std::string held_back_;  // the beginning of a character
};

Observer body_observer(Trace& trace, Way way)
{
    if (!trace || !trace.shows_bodies())
        return nullptr;
    return [shown = std::make_shared<BodyShown>(trace, way)](
               std::string_view bytes) { shown->show(bytes); };
}

}  // namespace

void copy_body_and_tell(Trace& trace, Way way, Connection& from, Connection& to,
    BodyFraming framing, Delimiting delimiting, std::atomic<bool>* has_read_all)
{
    const std::uint64_t size = copy_body(
        from, to, framing, delimiting, has_read_all, body_observer(trace, way));
    if (trace && framing.kind != BodyFraming::Kind::none)
        trace.step(way, "the body is over, " + std::to_string(size) + " bytes");
}

// A message is parsed, forwarded, printed, and parsed again by the next hop;
// its Connection field nominates some of the other fields.  The next hop sees
// the message that was meant, with the same framing, and nothing that was for
// this connection only (RFC 9110 §7.6.1).

#include "fuzz.h"
#include "support/http/error.h"
#include "support/http/forwarding.h"
#include "support/http/framing.h"

namespace {

constexpr std::string_view via = "us";

// Members of a list, in lower case.
std::vector<std::string> naive_list(const Fields& fields, const char* name)
{
    std::vector<std::string> members;
    for (const FieldLine& field : fields) {
        if (lower(field.name) != name)
            continue;
        std::string member;
        for (const char c : lower(field.value) + ",") {
            if (c != ',')
                member += c;
            else
                members.push_back(naive_trim(std::exchange(member, "")));
        }
    }
    return members;
}

// Adds a Connection field that lists up to four fields: some that the message
// has, and some that must survive this.
void nominate(Fields& fields, unsigned char seed)
{
    constexpr const char* tempting[]{"Host", "Content-Length",
        "transfer-encoding", "VIA", "Max-Forwards", "Connection", "TE",
        "Upgrade", "close", "Date"};
    std::string options;
    unsigned state = seed;
    for (unsigned i = 0; i < seed % 5U; ++i) {
        state = state * 1103515245 + 12345;
        const unsigned pick = state >> 16;
        options += i == 0 ? "" : ", ";
        options += pick % 2 == 0 || fields.empty()
            ? tempting[pick / 2 % std::size(tempting)]
            : fields[pick / 2 % fields.size()].name;
    }
    if (!options.empty())
        fields.push_back({"connection", options});
}

const std::vector<std::string> needed{
    "host", "content-length", "transfer-encoding", "via", "max-forwards"};

// The field lines that have to arrive as they were sent; what is rewritten, as
// `rewritten` says, is left out.
Fields end_to_end(const Fields& fields,
    const std::vector<std::string>& nominated,
    const std::vector<std::string>& rewritten)
{
    Fields result;
    for (const FieldLine& field : fields)
        if (!is_one_of(field.name, hop_by_hop)
            && !is_one_of(field.name, rewritten)
            && (is_one_of(field.name, needed)
                || !is_one_of(field.name, nominated)))
            result.push_back(field);
    return result;
}

std::size_t count(const Fields& fields, const char* name)
{
    return naive_values(naive_head("\r\n-\r\n" + to_string(fields)), name)
        .size();
}

// What is sent for the next connection is ours: Connection, and what it lists.
void claim_own_connection(
    const Fields& sent, const std::vector<std::string>& own_options)
{
    const auto options = naive_list(sent, "connection");
    for (const std::string& option : options)
        claim(is_one_of(option, own_options), "an option of our own");
    for (const FieldLine& field : sent) {
        const bool is_own = lower(field.name) == "connection"
            || ((lower(field.name) == "te" || lower(field.name) == "upgrade")
                && is_one_of(field.name, options));
        claim(is_own || !is_one_of(field.name, hop_by_hop),
            "nothing hop-by-hop passes");
    }
    for (const char* const name : {"connection", "te", "upgrade"})
        claim(count(sent, name) <= 1, "each of them once");
}

// The fields that end-to-end handling does not touch are all there, in their
// order, and one Via of ours comes after theirs.
void claim_end_to_end(const Fields& received, const Fields& sent,
    const std::vector<std::string>& rewritten)
{
    const auto nominated = naive_list(received, "connection");
    Fields others = sent;
    const auto ours = std::find_if(others.rbegin(), others.rend(),
        [](const FieldLine& field) { return field.name == "Via"; });
    claim(ours != others.rend() && ours->value.ends_with(via), "Via grows");
    others.erase(std::next(ours).base());
    claim(end_to_end(received, nominated, rewritten)
            == end_to_end(others, {}, rewritten),
        "end-to-end fields arrive as they were");
    for (const FieldLine& field : received)
        claim(!why_removed(field, received).empty(), "a reason to remove");
    for (const FieldLine& field : sent)
        claim(!why_added(field).empty(), "a reason to add");
}

// A head that is not larger than ours may be ends where its text does.
void claim_one_head(const std::string& text)
{
    const auto end = attempt([&] { return end_of_head(text); });
    claim(end.kind == &error::head_too_large
            || end.kind == &error::target_too_long
            || end.result.value_or(std::nullopt) == text.size(),
        "the head ends at its end");
}

void claim_same_target(const RequestHead& received, const HttpTarget& target,
    const RequestHead& again)
{
    claim(again.method == received.method, "the same method");
    claim(again.target == target.origin_form, "the target in origin-form");
    claim(again.target == "*" || again.target.starts_with('/'), "a path");
    claim(received.target.ends_with(again.target) || again.target == "*"
            || received.target.ends_with(again.target.substr(1)),
        "every byte of path and query");
    claim(naive_list(again.fields, "host")
            == std::vector<std::string>{lower(target.host_field)},
        "one Host, from the target");
    const HttpTarget once_more = parse_absolute_form("http://"
            + target.host_field + (again.target == "*" ? "" : again.target),
        received.method);
    claim(once_more.authority == target.authority
            && once_more.origin_form == target.origin_form,
        "the same server and resource");
    claim(without_userinfo(received.target) == received.target,
        "no user information");
}

void claim_counted_down(const RequestHead& received, const RequestHead& again)
{
    const auto before = max_forwards(received);
    if (before && *before > 0)
        claim(max_forwards(again) == *before - 1, "Max-Forwards counts down");
}

void forward_request(RequestHead received, unsigned char seed)
{
    nominate(received.fields, seed);
    without_userinfo(received.target);
    attempt([&] { return own_answer(received); });
    const auto target = attempt(
        [&] { return parse_absolute_form(received.target, received.method); });
    const auto framing = attempt([&] { return request_framing(received); });
    if (!target.result || !framing.result)
        return;
    const auto forwarded = attempt(
        [&] { return request_to_forward(received, *target.result, via); });
    if (!forwarded.result)
        return;
    const std::string text = to_string(*forwarded.result);
    claim_one_head(text);
    const RequestHead again = parse_request_head(text);
    claim(again.fields == forwarded.result->fields
            && again.version == Version::http_1_1,
        "the next hop reads what was printed");
    claim(request_framing(again) == *framing.result, "the same framing");
    claim_same_framing(*framing.result, naive_head(text));
    claim_same_target(received, *target.result, again);
    claim_counted_down(received, again);
    claim_own_connection(again.fields, {"close", "te", "upgrade"});
    claim_end_to_end(received.fields, again.fields,
        max_forwards(received)
            ? std::vector<std::string>{"host", "max-forwards"}
            : std::vector<std::string>{"host"});
}

// `method` is that of the request, which the response answers.
void forward_response(const ResponseHead& received, std::string_view method,
    Delimiting delimiting, bool keep_open)
{
    using enum BodyFraming::Kind;
    const auto framing
        = attempt([&] { return response_framing(method, received); });
    if (!framing.result)
        return;
    const ResponseHead forwarded
        = response_to_forward(received, delimiting, keep_open, via);
    const std::string text = to_string(forwarded);
    claim_one_head(text);
    const ResponseHead again = parse_response_head(text);
    claim(again.fields == forwarded.fields && again.status == received.status
            && again.reason == received.reason
            && again.version == Version::http_1_1,
        "the client reads what was printed");
    BodyFraming expected = *framing.result;
    if (expected.kind == chunked && delimiting == Delimiting::by_close)
        expected = {until_close};
    claim(response_framing(method, again) == expected, "the same framing");
    claim_same_framing(expected, naive_head(text));
    claim_own_connection(again.fields, {"close", "upgrade"});
    claim(count(again.fields, "te") == 0, "no TE in a response");
    const bool has_no_framing = received.is_interim() || received.status == 204;
    std::vector<std::string> rewritten;
    if (has_no_framing)
        rewritten = {"content-length", "transfer-encoding"};
    else if (delimiting == Delimiting::by_close)
        rewritten = {"transfer-encoding"};
    for (const std::string& name : rewritten)
        claim(count(again.fields, name.c_str()) == 0, "no framing field");
    claim_end_to_end(received.fields, again.fields, rewritten);
}

void forward_response_in_all_ways(ResponseHead received, unsigned char seed)
{
    nominate(received.fields, seed);
    RequestHead upgrade;
    upgrade.fields = {{"Connection", "upgrade"}, {"Upgrade", "x"}};
    const auto may_switch = attempt([&] {
        check_switch(upgrade, received);
        return true;
    });
    if (received.status == 101 && !may_switch.result)
        return;
    for (const std::string_view method : {"GET", "HEAD"})
        for (const auto delimiting :
            {Delimiting::as_received, Delimiting::by_close})
            forward_response(received, method, delimiting, seed % 2 == 0);
}

}  // namespace

// The first byte chooses the nominations; after the second, which is for other
// targets, comes a head.
extern "C" int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t size)
{
    if (size < 2)
        return 0;
    const auto head = head_in(data + 1, size - 1);
    if (!head)
        return 0;
    if (head->starts_with("HTTP/")) {
        const auto received
            = attempt([&] { return parse_response_head(*head); });
        if (received.result)
            forward_response_in_all_ways(*received.result, data[0]);
        return 0;
    }
    const auto received = attempt([&] { return parse_request_head(*head); });
    if (received.result)
        forward_request(*received.result, data[0]);
    return 0;
}

#include "forwarding.h"

#include <algorithm>

namespace {

// Field lines for this connection only.  RFC 9110 §7.6.1 names the first six;
// the credentials are for us (§11.7), and the other two are announcements of
// what a proxy may change (§6.6.2, RFC 9112 §C.2.2).
constexpr std::string_view hop_by_hop[]{"Connection", "Proxy-Connection",
    "Keep-Alive", "TE", "Upgrade", "Trailer", "Proxy-Authorization",
    "Proxy-Authenticate", "Proxy-Authentication-Info"};

// Whatever Connection lists is for this connection too, except the fields on
// which all readers must agree: without them the body would lose its end, or
// the request its host.
constexpr std::string_view never_hop_by_hop[]{
    "Content-Length", "Transfer-Encoding", "Host", "Via"};

bool contains(auto&& names, std::string_view name)
{
    return std::any_of(std::begin(names), std::end(names),
        [&](std::string_view n) { return equal_ignoring_case(n, name); });
}

// Order, case and repetition are kept.  Via grows by one entry, which tells the
// version that the message came in (RFC 9110 §7.6.3).
Fields fields_to_forward(
    const Fields& received, Version version, std::string_view via)
{
    const std::string options
        = combined_value(received, "Connection").value_or("");
    const auto nominated = list_members(options);
    Fields fields;
    for (const FieldLine& field : received)
        if (contains(never_hop_by_hop, field.name)
            || !(contains(hop_by_hop, field.name)
                || contains(nominated, field.name)))
            fields.push_back(field);
    const std::string_view received_version
        = version == Version::http_1_1 ? "1.1 " : "1.0 ";
    fields.push_back({"Via", std::string{received_version}.append(via)});
    return fields;
}

FieldLine* find_field(Fields& fields, std::string_view name)
{
    const auto found = std::find_if(fields.begin(), fields.end(),
        [&](const FieldLine& f) { return equal_ignoring_case(f.name, name); });
    return found == fields.end() ? nullptr : &*found;
}

// The Host we received does not count: RFC 9112 §3.2.2 makes a proxy write its
// own, from the request target.
void set_host(Fields& fields, const std::string& value)
{
    if (FieldLine* const host = find_field(fields, "Host"))
        host->value = value;
    else
        fields.insert(fields.begin(), {"Host", value});
}

}  // namespace

bool wants_upgrade(const RequestHead& request)
{
    return request.version == Version::http_1_1
        && has_token(request.fields, "Connection", "upgrade")
        && combined_value(request.fields, "Upgrade");
}

std::optional<std::uint64_t> max_forwards(const RequestHead& request)
{
    if (request.method != "OPTIONS" && request.method != "TRACE")
        return std::nullopt;
    const auto value = combined_value(request.fields, "Max-Forwards");
    if (!value)
        return std::nullopt;
    const auto number = parse_digits(*value);
    if (!number)
        throw MessageError{
            Problem::malformed, "Max-Forwards is not one decimal number"};
    return number;
}

RequestHead request_to_forward(
    const RequestHead& request, const HttpTarget& target, std::string_view via)
{
    RequestHead forwarded{request.method, target.origin_form, Version::http_1_1,
        fields_to_forward(request.fields, request.version, via)};
    set_host(forwarded.fields, target.host_field);
    if (const auto hops = max_forwards(request); hops && *hops > 0)
        find_field(forwarded.fields, "Max-Forwards")->value
            = std::to_string(*hops - 1);
    std::string connection_options = "close";
    if (has_token(request.fields, "TE", "trailers")) {
        forwarded.fields.push_back({"TE", "trailers"});
        connection_options = "TE, close";
    }
    if (wants_upgrade(request)) {
        forwarded.fields.push_back(
            {"Upgrade", *combined_value(request.fields, "Upgrade")});
        connection_options = "Upgrade";
    }
    forwarded.fields.push_back({"Connection", connection_options});
    return forwarded;
}

ResponseHead response_to_forward(const ResponseHead& response,
    Delimiting delimiting, bool keep_open, std::string_view via)
{
    ResponseHead forwarded{Version::http_1_1, response.status, response.reason,
        fields_to_forward(response.fields, response.version, via)};
    const bool never_has_body = response.is_interim() || response.status == 204;
    std::erase_if(forwarded.fields, [&](const FieldLine& field) {
        const bool is_coding
            = equal_ignoring_case(field.name, "Transfer-Encoding");
        const bool is_length
            = equal_ignoring_case(field.name, "Content-Length");
        return (is_coding && delimiting == Delimiting::by_close)
            || ((is_coding || is_length) && never_has_body);
    });
    if (response.status == 101)
        forwarded.fields.push_back({"Upgrade",
            combined_value(response.fields, "Upgrade").value_or("")});
    if (response.status == 101)
        forwarded.fields.push_back({"Connection", "Upgrade"});
    else if (!keep_open)
        forwarded.fields.push_back({"Connection", "close"});
    return forwarded;
}

std::string why_removed(const FieldLine& field, const Fields& received)
{
    const auto is = [&](auto&&... names) {
        return (equal_ignoring_case(field.name, names) || ...);
    };
    if (is("Proxy-Authorization"))
        return "credentials for this proxy alone (RFC 9110 §11.7.2)";
    if (is("Host"))
        return "the request target decides (RFC 9112 §3.2.2)";
    if (is("Max-Forwards"))
        return "counted down (RFC 9110 §7.6.2)";
    if (is("Content-Length", "Transfer-Encoding"))
        return "the body ends otherwise on the way on (RFC 9112 §6.1)";
    if (!contains(hop_by_hop, field.name)
        && has_token(received, "Connection", field.name))
        return "nominated by Connection (RFC 9110 §7.6.1)";
    return "hop-by-hop: for this connection only (RFC 9110 §7.6.1)";
}

std::string why_added(const FieldLine& field)
{
    if (equal_ignoring_case(field.name, "Via"))
        return "the name of this proxy (RFC 9110 §7.6.3)";
    if (equal_ignoring_case(field.name, "Host"))
        return "from the request target (RFC 9112 §3.2.2)";
    if (equal_ignoring_case(field.name, "Max-Forwards"))
        return "counted down (RFC 9110 §7.6.2)";
    if (equal_ignoring_case(field.name, "Connection"))
        return field.value == "Upgrade"
            ? "asks for another protocol (RFC 9110 §7.8)"
            : "this connection serves one exchange (RFC 9112 §9.6)";
    return "for the next connection (RFC 9110 §7.6.1)";
}

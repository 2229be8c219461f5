#include "forwarding.h"

#include <algorithm>

// RFC 9110 §7.6.1 names the first six; the credentials are for us (§11.7), and
// the other two announce what a proxy may change (§6.6.2, RFC 9112 §C.2.2).
bool is_hop_by_hop(std::string_view name) noexcept
{
    return is_one_of(name, "Connection", "Proxy-Connection", "Keep-Alive", "TE",
        "Upgrade", "Trailer", "Proxy-Authorization", "Proxy-Authenticate",
        "Proxy-Authentication-Info");
}

Fields fields_to_forward(const Fields& received, const Fields& head)
{
    const std::string options = combined_value(head, "Connection").value_or("");
    const auto nominated = list_members(options);
    // Connection cannot nominate these, which end-to-end handling needs:
    // without them the body would lose its end, the request its host, and a
    // loop would have no end.
    const auto is_nominated = [&](const std::string& name) {
        return std::any_of(nominated.begin(), nominated.end(),
                   [&](auto option) { return is_one_of(name, option); })
            && !is_one_of(name, "Content-Length", "Transfer-Encoding", "Host",
                "Via", "Max-Forwards");
    };
    Fields fields;
    for (const FieldLine& field : received)
        if (!is_hop_by_hop(field.name) && !is_nominated(field.name))
            fields.push_back(field);
    return fields;
}

namespace {

// One more entry for Via.  It tells the version that the message came in (RFC
// 9110 §7.6.3).
FieldLine via_entry(Version version, std::string_view name)
{
    const std::string_view received
        = version == Version::http_1_1 ? "1.1 " : "1.0 ";
    return {"Via", std::string{received}.append(name)};
}

// Replaces the value of a field in its place, or puts the field first.
void set_field(
    Fields& fields, const std::string& name, const std::string& value)
{
    const auto found = std::find_if(fields.begin(), fields.end(),
        [&](const FieldLine& field) { return is_one_of(field.name, name); });
    if (found == fields.end())
        fields.insert(fields.begin(), {name, value});
    else
        found->value = value;
}

}  // namespace

bool wants_upgrade(const RequestHead& request)
{
    return request.version == Version::http_1_1
        && has_token(request.fields, "Connection", "upgrade")
        && !combined_value(request.fields, "Upgrade").value_or("").empty();
}

RequestHead without_upgrade(RequestHead request)
{
    std::erase_if(request.fields, [](const FieldLine& field) {
        return is_one_of(field.name, "Upgrade");
    });
    return request;
}

std::optional<std::uint64_t> max_forwards(const RequestHead& request)
{
    if (request.method != "OPTIONS" && request.method != "TRACE")
        return std::nullopt;
    const auto value = combined_value(request.fields, "Max-Forwards");
    if (!value)
        return std::nullopt;
    const auto number = parse_digits(*value);
    refuse_if(!number, "Max-Forwards is not one decimal number");
    return number;
}

RequestHead request_to_forward(
    const RequestHead& request, const HttpTarget& target, std::string_view via)
{
    RequestHead forwarded{request.method, target.origin_form, Version::http_1_1,
        fields_to_forward(request.fields, request.fields)};
    forwarded.fields.push_back(via_entry(request.version, via));
    // The Host we received does not count: RFC 9112 §3.2.2 makes a proxy write
    // its own, from the request target.
    set_field(forwarded.fields, "Host", target.host_field);
    if (const auto hops = max_forwards(request); hops && *hops > 0)
        set_field(forwarded.fields, "Max-Forwards", std::to_string(*hops - 1));
    std::string connection_options = "close";
    if (wants_upgrade(request)) {
        forwarded.fields.push_back(
            {"Upgrade", *combined_value(request.fields, "Upgrade")});
        connection_options = "Upgrade";
    }
    if (has_token(request.fields, "TE", "trailers")) {  // RFC 9110 §10.1.4
        forwarded.fields.push_back({"TE", "trailers"});
        connection_options.insert(0, "TE, ");
    }
    forwarded.fields.push_back({"Connection", connection_options});
    return forwarded;
}

void check_switch(const RequestHead& request, const ResponseHead& response)
{
    refuse_if(!wants_upgrade(request),
        "the server switched protocols without being asked to");
    const std::string protocols
        = combined_value(response.fields, "Upgrade").value_or("");
    const auto members = list_members(protocols);
    refuse_if(
        members.empty(), "a 101 does not name the new protocol in Upgrade");
    for (const std::string_view protocol : members)
        refuse_if(!has_token(request.fields, "Upgrade", protocol),
            "the server switched to a protocol that was not asked for");
}

ResponseHead response_to_forward(const ResponseHead& response,
    Delimiting delimiting, bool keep_open, std::string_view via)
{
    ResponseHead forwarded{Version::http_1_1, response.status, response.reason,
        fields_to_forward(response.fields, response.fields)};
    forwarded.fields.push_back(via_entry(response.version, via));
    const bool never_has_body = response.is_interim() || response.status == 204;
    std::erase_if(forwarded.fields, [&](const FieldLine& field) {
        return (is_one_of(field.name, "Transfer-Encoding")
                   && delimiting == Delimiting::by_close)
            || (is_one_of(field.name, "Transfer-Encoding", "Content-Length")
                && never_has_body);
    });
    const auto upgrade = combined_value(response.fields, "Upgrade");
    if (response.status == 101 && upgrade) {
        forwarded.fields.push_back({"Upgrade", *upgrade});
        forwarded.fields.push_back({"Connection", "Upgrade"});
    } else if (!keep_open) {
        forwarded.fields.push_back({"Connection", "close"});
    }
    return forwarded;
}

std::string why_removed(const FieldLine& field, const Fields& received)
{
    if (is_one_of(field.name, "Proxy-Authorization"))
        return "credentials for this proxy alone (RFC 9110 §11.7.2)";
    if (is_one_of(field.name, "Host"))
        return "the request target decides (RFC 9112 §3.2.2)";
    if (is_one_of(field.name, "Max-Forwards"))
        return "counted down (RFC 9110 §7.6.2)";
    if (is_one_of(field.name, "Content-Length", "Transfer-Encoding"))
        return "the body ends otherwise on the way on (RFC 9112 §6.1)";
    if (!is_hop_by_hop(field.name)
        && has_token(received, "Connection", field.name))
        return "nominated by Connection (RFC 9110 §7.6.1)";
    return "hop-by-hop: for this connection only (RFC 9110 §7.6.1)";
}

std::string why_added(const FieldLine& field)
{
    if (is_one_of(field.name, "Via"))
        return "the name of this proxy (RFC 9110 §7.6.3)";
    if (is_one_of(field.name, "Host", "Max-Forwards"))
        return why_removed(field, {});  // replaced
    if (is_one_of(field.name, "Connection"))
        return has_token({field}, "Connection", "Upgrade")
            ? "asks for another protocol (RFC 9110 §7.8)"
            : "this connection serves one exchange (RFC 9112 §9.6)";
    return "for the next connection (RFC 9110 §7.6.1)";
}

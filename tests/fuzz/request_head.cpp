// Request heads: found and parsed in any pieces; printed and parsed again they
// are the same; and a naive reader sees the same request in them.

#include "feed.h"

extern "C" int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t size)
{
    if (size > 0)
        claim_same_in_pieces(
            {reinterpret_cast<const char*>(data) + 1, size - 1}, data[0]);
    const auto bytes = head_in(data, size);
    if (!bytes)
        return 0;
    const auto parsed = attempt([&] { return parse_request_head(*bytes); });
    if (!parsed.result)
        return 0;
    const RequestHead& head = *parsed.result;

    const RequestHead again = parse_request_head(to_string(head));
    claim(again.method == head.method && again.target == head.target
            && again.version == head.version && again.fields == head.fields,
        "printed and parsed again");

    const NaiveHead naive = naive_head(*bytes);
    claim(naive.first_line
            == std::vector<std::string>{head.method, head.target,
                std::string{to_string(head.version)}},
        "the same request line");
    claim_same_fields(head.fields, naive);
    claim(naive_values(naive, "host").size() <= 1, "one host");
    const auto framing = attempt([&] { return request_framing(head); });
    if (!framing.result)
        return 0;
    claim_same_framing(*framing.result, naive);
    if (framing.result->kind != BodyFraming::Kind::none)
        return 0;
    claim(naive_values(naive, "transfer-encoding").empty(), "no chunks");
    for (const std::string& length : naive_values(naive, "content-length"))
        claim(length.find_first_not_of('0') == std::string::npos, "no body");
    return 0;
}

// Response heads: as request heads, for three methods that change the framing.

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
    const auto parsed = attempt([&] { return parse_response_head(*bytes); });
    if (!parsed.result)
        return 0;
    const ResponseHead& head = *parsed.result;

    const ResponseHead again = parse_response_head(to_string(head));
    claim(again.status == head.status && again.reason == head.reason
            && again.version == head.version && again.fields == head.fields,
        "printed and parsed again");

    const NaiveHead naive = naive_head(*bytes);
    claim(naive.first_line.size() >= 2
            && naive.first_line[1] == std::to_string(head.status),
        "the same status");
    claim_same_fields(head.fields, naive);
    const bool never_has_one
        = head.is_interim() || head.status == 204 || head.status == 304;
    for (const std::string_view method : {"GET", "HEAD"}) {
        const auto framing
            = attempt([&] { return response_framing(method, head); });
        if (!framing.result)
            continue;
        claim_same_framing(*framing.result, naive);
        claim((method == "HEAD" || never_has_one)
                == (framing.result->kind == BodyFraming::Kind::none),
            "a body where there is one");
    }
    return 0;
}

// Chunked bodies, copied from one connection to another: the same content in
// any pieces, and the same as a naive decoder finds; what is passed on in
// chunks is the same body to the next reader.

#include "feed.h"

namespace {

struct NaiveBody {
    std::string content;
    std::string trailer;  // with its empty line
};

// Believes every size, and skips a line end wherever it expects one.
NaiveBody naive_decode(std::string_view text)
{
    NaiveBody body;
    for (;;) {
        const std::size_t size
            = std::strtoull(std::string{text}.c_str(), nullptr, 16);
        const std::size_t line = std::min(text.find('\n'), text.size() - 1);
        text.remove_prefix(line + 1);
        if (size == 0) {
            body.trailer = text;
            return body;
        }
        body.content += text.substr(0, size);
        text.remove_prefix(std::min(text.size(), size + 2));
    }
}

std::string encode(std::string_view content)
{
    std::string text;
    for (std::size_t n = 1; !content.empty(); n = n * 2 + 1) {
        const std::string_view chunk = content.substr(0, n);
        char size[32];
        std::snprintf(size, sizeof size, "%zX\r\n", chunk.size());
        text.append(size).append(chunk).append("\r\n");
        content.remove_prefix(chunk.size());
    }
    return text + "0\r\n\r\n";
}

// What is here of a body is checked before its head is forwarded.
void claim_checked_early(std::string_view text, const Copied& whole)
{
    const auto checked = attempt([&] {
        check_chunks(text);
        return true;
    });
    const bool has_last_chunk
        = text.starts_with('0') || text.find("\n0") != std::string_view::npos;
    const bool is_cut_short
        = whole.problem == "the body ended before its last chunk";
    if (!checked.result)  // of two problems, each may name another one
        claim(!whole.problem.empty(), "a broken start is broken");
    else
        claim(whole.problem.empty() || has_last_chunk || is_cut_short,
            "a broken start is noticed");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t size)
{
    if (size < 1)
        return 0;
    const std::string_view text{
        reinterpret_cast<const char*>(data) + 1, size - 1};
    const Copied whole = copy_chunks({text}, Delimiting::by_close);
    claim(whole == copy_chunks(pieces_of(text, data[0]), Delimiting::by_close),
        "the same body however it is cut");
    claim_checked_early(text, whole);

    const Copied chunks
        = copy_chunks(pieces_of(text, data[0]), Delimiting::as_received);
    claim(chunks.problem == whole.problem && chunks.consumed == whole.consumed,
        "the same end in chunks");
    if (!whole.problem.empty())
        return 0;
    const NaiveBody naive = naive_decode(text.substr(0, whole.consumed));
    claim(naive.content == whole.bytes, "the same content for a naive decoder");
    const NaiveBody passed_on = naive_decode(chunks.bytes);
    claim(passed_on.content == whole.bytes, "the same content in our chunks");
    const Fields trailer = parse_field_lines(passed_on.trailer);
    claim(trailer == parse_field_lines(naive.trailer),
        "the same trailer section");
    for (const FieldLine& field : trailer)
        claim(!is_one_of(field.name, hop_by_hop), "no hop-by-hop trailer");

    const Copied again = copy_chunks({chunks.bytes}, Delimiting::by_close);
    claim(again.problem.empty() && again.bytes == whole.bytes
            && again.consumed == chunks.bytes.size(),
        "what is passed on is a body, and nothing else");
    const std::string anew = encode(whole.bytes);
    const Copied decoded = copy_chunks({anew}, Delimiting::by_close);
    claim(decoded.bytes == whole.bytes && decoded.consumed == anew.size(),
        "encoded and decoded again");
    return 0;
}

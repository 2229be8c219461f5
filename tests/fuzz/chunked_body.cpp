// Chunked bodies: the same content in any pieces, and the same as a naive
// decoder finds; encoded anew and decoded again it is the same.

#include "fuzz.h"

namespace {

struct Body {
    std::string content;
    std::size_t consumed = 0;
    bool finished = false;
    Fields trailer;
    bool operator==(const Body&) const = default;
};

Body decode(const std::vector<std::string_view>& pieces)
{
    ChunkedDecoder decoder;
    Body body;
    for (const std::string_view piece : pieces) {
        if (decoder.finished())
            break;
        std::string bytes{piece};
        const auto [data, consumed] = decoder.decode(bytes);
        body.content += bytes.substr(0, data);
        body.consumed += consumed;
    }
    body.finished = decoder.finished();
    if (body.finished)
        body.trailer = decoder.trailer();
    return body;
}

// Believes every size, and skips a line end wherever it expects one.
std::string naive_decode(std::string_view text)
{
    std::string content;
    for (;;) {
        const std::size_t size
            = std::strtoull(std::string{text}.c_str(), nullptr, 16);
        const std::size_t line = std::min(text.find('\n'), text.size() - 1);
        if (size == 0)
            return content;
        text.remove_prefix(line + 1);
        content += text.substr(0, size);
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t size)
{
    if (size < 1)
        return 0;
    const std::string_view text{
        reinterpret_cast<const char*>(data) + 1, size - 1};
    const auto at_once = attempt([&] { return decode({text}); });
    const auto in_pieces
        = attempt([&] { return decode(pieces_of(text, data[0])); });
    claim(at_once.problem == in_pieces.problem
            && at_once.result == in_pieces.result,
        "the same body however it is cut");
    if (!at_once.result || !at_once.result->finished)
        return 0;
    claim(naive_decode(text.substr(0, at_once.result->consumed))
            == at_once.result->content,
        "the same content for a naive decoder");
    const std::string anew = encode(at_once.result->content);
    claim(decode({anew}).content == at_once.result->content
            && decode({anew}).consumed == anew.size(),
        "encoded and decoded again");
    return 0;
}

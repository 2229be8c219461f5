// The view of TLS: any bytes in any pieces show the same, decoding or not
// agrees on what a verdict needs, and no word of it can drive a terminal.

#include "fuzz.h"
#include "support/log/escape.h"
#include "support/log/tls.h"

namespace {

struct Told {
    std::vector<std::string> words;
    tls::Seen seen;
    bool done = false;
    bool operator==(const Told&) const = default;
};

Told told_of(const std::vector<std::string_view>& pieces, bool decodes)
{
    Told told;
    tls::Reader::Show show;
    if (decodes)
        show = [&](const tls::Message& message) {
            told.words.push_back(message.text);
            claim(is_text(to_json(message.values)), "fit for JSON");
        };
    tls::Reader reader{show};
    for (const std::string_view piece : pieces)
        reader.read(piece);
    told.seen = reader.seen();
    told.done = reader.is_done();
    return told;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t size)
{
    if (size == 0)
        return 0;
    const std::string_view bytes{
        reinterpret_cast<const char*>(data) + 1, size - 1};
    const auto pieces = pieces_of(bytes, data[0]);

    const Told whole = told_of({bytes}, true);
    claim(whole == told_of(pieces, true), "the same in any pieces");

    Told little = told_of({bytes}, false);
    claim(little == told_of(pieces, false), "the same in any pieces");
    little.words = whole.words;
    claim(little == whole || whole.done, "the same at both depths");

    for (const std::string& words : whole.words) {
        // Only our own line feeds break lines, and indent the next one by two.
        for (std::size_t at = 0;
             (at = words.find('\n', at)) != std::string::npos;)
            claim(words.compare(++at, 2, "  ") == 0, "no line from the wire");
        for (const std::string& line : wrap(words, 64))
            claim(is_text(line) && escaped(line) == line, "fit to be shown");
    }
    return 0;
}

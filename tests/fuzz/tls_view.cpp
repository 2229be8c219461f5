// The view of TLS: any bytes in any pieces show the same, keeping messages or
// not agrees on what a verdict needs, and no word of it can drive a terminal.

#include "support/tls_view.h"
#include "fuzz.h"
#include "support/printable.h"

namespace {

struct Seen {
    std::vector<std::string> words;
    bool hello, done, data, goodbye, not_tls;
    int alert, sealed;
    bool operator==(const Seen&) const = default;
};

Seen see(tls::Reader::Depth depth, const std::vector<std::string_view>& pieces)
{
    tls::Reader reader{depth};
    Seen seen{};
    for (const std::string_view piece : pieces)
        for (const tls::Event& event : reader.read(piece))
            seen.words.push_back(to_words(event));
    seen.hello = reader.has_hello();
    seen.done = reader.is_done();
    seen.data = reader.has_data();
    seen.goodbye = reader.has_goodbye();
    seen.not_tls = reader.not_tls().has_value();
    seen.alert = reader.alert() ? reader.alert()->number : -1;
    seen.sealed = reader.sealed() ? reader.sealed()->length : -1;
    return seen;
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
    using Depth = tls::Reader::Depth;

    const Seen whole = see(Depth::messages, {bytes});
    claim(whole == see(Depth::messages, pieces), "the same in any pieces");

    Seen little = see(Depth::records, {bytes});
    claim(little == see(Depth::records, pieces), "the same in any pieces");
    little.words = whole.words;
    claim(little == whole || whole.done, "the same at both depths");

    for (const std::string& words : whole.words)
        for (const std::string& line : wrap(words, 64))
            claim(is_text(line) && printable(line) == line, "fit to be shown");
    return 0;
}

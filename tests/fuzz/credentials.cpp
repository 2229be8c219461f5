// Basic credentials: what is encoded is what a naive decoder reads again, and
// only the right ones are accepted.

#include "fuzz.h"
#include "support/access.h"

namespace {

// Takes every letter for six bits, and what is left over for padding.
std::string naive_decode(const std::string& text)
{
    const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "abcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string bits;
    for (const char c : text)
        if (const std::size_t value = digits.find(c);
            value != std::string::npos)
            for (int bit = 5; bit >= 0; --bit)
                bits += static_cast<char>(value >> bit & 1);
    std::string bytes;
    for (std::size_t i = 0; i + 8 <= bits.size(); i += 8) {
        int byte = 0;
        for (std::size_t bit = 0; bit < 8; ++bit)
            byte = byte * 2 + bits[i + bit];
        bytes += static_cast<char>(byte);
    }
    return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t size)
{
    const std::string text{reinterpret_cast<const char*>(data), size};
    const std::string encoded = encode_base64(text);
    claim(naive_decode(encoded) == text, "encoded and decoded");
    claim(encoded.size() == (size + 2) / 3 * 4, "padded to groups of four");

    static const Users users{{"sam:12345678", "eve:a:b"}};
    claim(users.accept("Basic " + encoded)
            == (text == "sam:12345678" || text == "eve:a:b"),
        "accepted if known");
    if (users.accept(text))
        claim(text.size() > 6
                && (text.substr(text.size() - 16) == "c2FtOjEyMzQ1Njc4"
                    || text.substr(text.size() - 12) == "ZXZlOmE6Yg=="),
            "accepted in one spelling");
    return 0;
}

// Basic credentials: what is decoded is what a naive encoder would have sent,
// and only the right ones are accepted.

#include "fuzz.h"
#include "support/access.h"

namespace {

std::string encode(const std::string& bytes)
{
    const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "abcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        unsigned bits = 0;
        for (std::size_t k = 0; k < 3; ++k)
            bits = bits << 8
                | (i + k < bytes.size()
                        ? static_cast<unsigned char>(bytes[i + k])
                        : 0U);
        for (std::size_t k = 0; k < 4; ++k)
            text += i + k > bytes.size() ? '='
                                         : digits[bits >> (18 - 6 * k) & 63];
    }
    return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t size)
{
    const std::string text{reinterpret_cast<const char*>(data), size};
    claim(decode_base64(encode(text)) == text, "encoded and decoded");
    if (const auto decoded = decode_base64(text))
        claim(encode(*decoded) == text, "decoded and encoded");

    static const Users users{{"sam:12345678", "eve:a:b"}};
    claim(users.accept("Basic " + encode(text))
            == (text == "sam:12345678" || text == "eve:a:b"),
        "accepted if known");
    if (users.accept(text))
        claim(text.size() > 6
                && (text.substr(text.size() - 16) == "c2FtOjEyMzQ1Njc4"
                    || text.substr(text.size() - 12) == "ZXZlOmE6Yg=="),
            "accepted in one spelling");
    return 0;
}

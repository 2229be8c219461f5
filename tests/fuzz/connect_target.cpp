// CONNECT targets: printed and parsed again they are the same, and the last
// colon is where a naive reader would look for the port.

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t size)
{
    const std::string text{reinterpret_cast<const char*>(data), size};
    const auto parsed = attempt([&] { return parse_authority_form(text); });
    if (!parsed.result)
        return 0;
    const Authority& authority = *parsed.result;
    claim(parse_authority_form(to_string(authority)) == authority,
        "printed and parsed again");
    const std::size_t colon = text.rfind(':');
    const int port = std::atoi(text.substr(colon + 1).c_str());
    claim(port >= 1 && port <= 65535, "a port");
    claim(std::to_string(port) == authority.port, "the same port");
    claim(to_string(authority) == text.substr(0, colon) + ":" + authority.port,
        "the host printed as it was written");
    claim(!authority.host.empty()
            && authority.host.find_first_of("@/?#[] \t\r\n\\")
                == std::string::npos,
        "a host and nothing else");
    return 0;
}

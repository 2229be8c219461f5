#include "access.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <random>
#include <stdexcept>

#include "failure.h"
#include "http_message.h"

namespace {

// Looks at every byte, whatever the first ones say: the time it takes must not
// tell how much of a guess was right.
bool equal_in_constant_time(std::string_view guess, std::string_view secret)
{
    unsigned difference = guess.size() != secret.size();
    for (std::size_t i = 0; i < guess.size(); ++i)
        difference |= static_cast<unsigned char>(
            guess[i] ^ secret[i % std::max<std::size_t>(secret.size(), 1)]);
    return difference == 0;
}

// The value of a base64 digit, 64 for anything else.
unsigned base64_value(char c)
{
    constexpr std::string_view digits{"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "abcdefghijklmnopqrstuvwxyz0123456789+/"};
    return static_cast<unsigned>(std::min(digits.find(c), digits.size()));
}

}  // namespace

std::optional<std::string> decode_base64(std::string_view text)
{
    const std::size_t digits = std::min(text.find('='), text.size());
    if (text.size() % 4 != 0 || text.size() - digits > 2
        || text.find_first_not_of('=', digits) != std::string_view::npos)
        return std::nullopt;
    std::string bytes;
    unsigned bits = 0;
    for (std::size_t i = 0; i < digits; ++i) {
        const unsigned value = base64_value(text[i]);
        if (value == 64)
            return std::nullopt;
        bits = bits << 6 | value;
        if (i + 1 == digits && i % 4 != 3 && value & (i % 4 == 1 ? 15U : 3U))
            return std::nullopt;  // left-over bits (RFC 4648 §3.5)
        if (i % 4 != 0)  // 6 bits make no byte yet; 12, 18 and 24 make one more
            bytes += static_cast<char>(bits >> (6 - i % 4 * 2) & 0xff);
    }
    return bytes;
}

void check_credentials(const RequestHead& request, const Users& users)
{
    if (!users.any())
        return;
    const auto credentials
        = combined_value(request.fields, "Proxy-Authorization");
    if (!credentials)
        throw Failure{Cause::credentials_missing, "no credentials were sent"};
    if (!users.accept(*credentials))
        throw Failure{Cause::credentials_wrong, "nobody here has these"};
}

std::optional<Networks::Address> Networks::parse(const std::string& text)
{
    Address address{};
    if (::inet_pton(AF_INET6, text.c_str(), address.data()) == 1)
        return address;
    address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (::inet_pton(AF_INET, text.c_str(), address.data() + 12) == 1)
        return address;
    return std::nullopt;
}

void Networks::add(const std::string& text)
{
    const std::size_t slash = std::min(text.find('/'), text.size());
    const auto address = parse(text.substr(0, slash));
    const unsigned mapped = text.find(':') == std::string::npos ? 96 : 0;
    const auto bits = slash == text.size()
        ? 128 - mapped
        : parse_digits(std::string_view{text}.substr(slash + 1));
    if (!address || !bits || *bits > 128 - mapped)
        throw std::invalid_argument{"not an address or network"};
    networks_.push_back({*address, static_cast<unsigned>(*bits) + mapped});
}

bool Networks::contain(const std::string& client) const
{
    const std::string host = client.substr(0, client.rfind(':'));
    const bool brackets = host.starts_with('[');
    const auto address = parse(brackets
            ? host.substr(1, host.find_first_of("%]") - 1)  // no zone
            : host);
    return address
        && std::any_of(
            networks_.begin(), networks_.end(), [&](const Network& network) {
                for (unsigned bit = 0; bit < network.prefix; ++bit)
                    if (((*address)[bit / 8] ^ network.address[bit / 8])
                        & 0x80U >> bit % 8)
                        return false;
                return true;
            });
}

void check_client(const std::string& client, const Networks& allowed)
{
    if (allowed.any() && !allowed.contain(client))
        throw Failure{Cause::client_not_allowed, "you come from " + client};
}

void check_port(
    const Authority& origin, const std::vector<std::string>& allowed)
{
    if (!allowed.empty()
        && std::find(allowed.begin(), allowed.end(), origin.port)
            == allowed.end())
        throw Failure{Cause::port_not_allowed, "port " + origin.port};
}

const std::string& pseudonym()
{
    static const std::string name = [] {
        std::array<char, 32> text{};
        std::snprintf(text.data(), text.size(), "forward_proxy-%08x",
            static_cast<unsigned>(std::random_device{}()));
        return std::string{text.data()};
    }();
    return name;
}

bool Users::accept(std::string_view authorization) const
{
    const std::size_t space = authorization.find(' ');
    if (space == std::string_view::npos
        || !equal_ignoring_case(authorization.substr(0, space), "Basic"))
        return false;
    const std::size_t start = authorization.find_first_not_of(' ', space);
    if (start == std::string_view::npos)
        return false;
    const auto guess = decode_base64(authorization.substr(start));
    bool accepted = false;
    for (const std::string& secret : credentials_)
        accepted |= guess && equal_in_constant_time(*guess, secret);
    return accepted;
}

// Via = received-protocol RWS received-by [ RWS comment ], as a list
void check_loop(const RequestHead& request)
{
    const auto via = combined_value(request.fields, "Via").value_or("");
    for (const std::string_view entry : list_members(via)) {
        const std::size_t name = std::min(entry.find(' ') + 1, entry.size());
        if (entry.substr(name).substr(0, entry.find(' ', name) - name)
            == pseudonym())
            throw Failure{Cause::loop, "Via: " + via};
    }
}

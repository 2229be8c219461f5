#include "access.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <random>
#include <stdexcept>

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

}  // namespace

std::string encode_base64(std::string_view bytes)
{
    constexpr std::string_view digits{"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "abcdefghijklmnopqrstuvwxyz0123456789+/"};
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t size = std::min<std::size_t>(bytes.size() - i, 3);
        unsigned bits = 0;
        for (std::size_t k = 0; k < 3; ++k)
            bits = bits << 8
                | (k < size ? static_cast<unsigned char>(bytes[i + k]) : 0U);
        for (std::size_t k = 0; k < 4; ++k)
            text += k <= size ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    return text;
}

Users::Users(const std::vector<std::string>& credentials)
{
    for (const std::string& name_and_password : credentials)
        encoded_.push_back(encode_base64(name_and_password));
}

// Base64 has one spelling for each text, so the encoded texts are compared.
bool Users::accept(std::string_view authorization) const
{
    const std::size_t space
        = std::min(authorization.find(' '), authorization.size());
    const std::size_t start = authorization.find_first_not_of(' ', space);
    const std::string_view guess
        = authorization.substr(std::min(start, authorization.size()));
    bool accepted = false;
    for (const std::string& encoded : encoded_)
        accepted |= equal_in_constant_time(guess, encoded);
    return accepted
        && equal_ignoring_case(authorization.substr(0, space), "Basic");
}

void check_credentials(const RequestHead& request, const Users& users)
{
    if (!users.any())
        return;
    const auto credentials
        = combined_value(request.fields, "Proxy-Authorization");
    if (!credentials)
        throw Failure{error::credentials_missing, "no credentials were sent"};
    if (!users.accept(*credentials))
        throw Failure{error::credentials_wrong, "they match no --user"};
}

// --- Addresses --------------------------------------------------------------

std::optional<Endpoint> parse_endpoint(std::string_view text)
{
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos)
        return std::nullopt;
    std::string_view host = text.substr(0, colon);
    const bool has_brackets = host.starts_with('[') && host.ends_with(']');
    if (has_brackets)
        host = host.substr(1, host.size() - 2);
    const auto address = parse_ip_address(host);
    if (!address || has_brackets != (host.find(':') != std::string_view::npos))
        return std::nullopt;
    return Endpoint{*address, std::string{text.substr(colon + 1)}};
}

Networks::Networks(std::initializer_list<const char*> texts)
{
    for (const char* const text : texts)
        add(text);
}

void Networks::add(const std::string& text)
{
    const std::size_t slash = std::min(text.find('/'), text.size());
    const auto address = parse_ip_address(text.substr(0, slash));
    const unsigned mapped = text.find(':') == std::string::npos ? 96 : 0;
    const auto bits = slash == text.size()
        ? 128 - mapped
        : parse_digits(std::string_view{text}.substr(slash + 1));
    if (!address || text.find('%') != std::string::npos || !bits
        || *bits > 128 - mapped)
        throw std::invalid_argument{"not an address or network"};
    networks_.push_back({*address, static_cast<unsigned>(*bits) + mapped});
}

bool Networks::contain(const IpAddress& address) const noexcept
{
    const auto contains_it = [&](const Network& network) {
        for (unsigned bit = 0; bit < network.prefix; ++bit)
            if ((address[bit / 8] ^ network.address[bit / 8])
                & 0x80U >> bit % 8)
                return false;
        return true;
    };
    return std::any_of(networks_.begin(), networks_.end(), contains_it);
}

bool is_allowed(const std::string& client, const Networks& allowed)
{
    if (!allowed.any())
        return true;
    const auto from = parse_endpoint(client);
    return from && allowed.contain(from->address);
}

bool is_port_allowed(
    const Authority& origin, const std::vector<std::string>& allowed)
{
    return allowed.empty()
        || std::find(allowed.begin(), allowed.end(), origin.port)
        != allowed.end();
}

void Destinations::add_listener(const std::string& bound)
{
    if (auto listener = parse_endpoint(bound))
        listeners_.push_back(std::move(*listener));
}

bool Destinations::is_listener(
    const Endpoint& dialled, const InterfaceAddresses& interfaces) const
{
    const bool is_ipv4 = networks::ipv4.contain(dialled.address);
    const IpAddress reached = networks::unspecified.contain(dialled.address)
        ? *parse_ip_address(is_ipv4 ? "127.0.0.1" : "::1")
        : dialled.address;
    const auto is_of_this_machine = [&] {
        if (networks::loopback.contain(reached))
            return true;
        const std::vector<std::string> own = interfaces();
        return std::any_of(own.begin(), own.end(), [&](const auto& text) {
            return parse_ip_address(text) == reached;
        });
    };
    // A listener on 0.0.0.0 accepts for all addresses of IPv4; one on :: for
    // all, because IPV6_V6ONLY is off by default.
    const auto accepts = [&](const IpAddress& listener) {
        return listener == reached
            || (networks::unspecified.contain(listener)
                && (is_ipv4 || !networks::ipv4.contain(listener))
                && is_of_this_machine());
    };
    return std::any_of(
        listeners_.begin(), listeners_.end(), [&](const Endpoint& listener) {
            return listener.port == dialled.port && accepts(listener.address);
        });
}

std::optional<AddressFailure> Destinations::refusal(const std::string& dialled,
    const std::string& client, const InterfaceAddresses& interfaces) const
{
    const auto to = parse_endpoint(dialled);
    if (!to)
        return std::nullopt;
    if (is_listener(*to, interfaces))
        return AddressFailure{
            dialled, &error::loop, "this proxy listens there"};
    const auto from = parse_endpoint(client);
    if (local_allowed_ || (from && networks::loopback.contain(from->address)))
        return std::nullopt;
    if (networks::loopback.contain(to->address)
        || networks::unspecified.contain(to->address))
        return AddressFailure{dialled, &error::local_destination,
            "a loopback address of the proxy's machine"};
    if (networks::link_local.contain(to->address))
        return AddressFailure{
            dialled, &error::local_destination, "a link-local address"};
    return std::nullopt;
}

// --- Loops ------------------------------------------------------------------

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

// The pseudonym is random: a request with it in Via has passed this proxy.
void check_loop(const RequestHead& request)
{
    const auto via = combined_value(request.fields, "Via").value_or("");
    if (via.find(pseudonym()) != std::string::npos)
        throw Failure{error::loop, "Via has " + pseudonym()};
}

#include "tls_message.h"

#include <map>

#include "escape.h"
#include "tls_names.h"

namespace {

using namespace tls;

// --- Bytes ------------------------------------------------------------------

struct Malformed { };

// Takes numbers, most significant byte first, and lengths off the front.
class Bytes {
public:
    explicit Bytes(std::string_view bytes) : bytes_{bytes} { }

    bool empty() const { return bytes_.empty(); }
    std::string rest() const { return std::string{bytes_}; }

    std::string_view take(std::size_t n)
    {
        if (n > bytes_.size())
            throw Malformed{};
        const std::string_view front = bytes_.substr(0, n);
        bytes_.remove_prefix(n);
        return front;
    }
    std::uint32_t number(std::size_t size)
    {
        std::uint32_t value = 0;
        for (const char c : take(size))
            value = value << 8 | static_cast<std::uint8_t>(c);
        return value;
    }
    std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
    std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
    /// What a length of that many bytes counts.
    Bytes vector(std::size_t size_of_length)
    {
        return Bytes{take(number(size_of_length))};
    }

private:
    std::string_view bytes_;
};

// --- Details ----------------------------------------------------------------

using Names = std::vector<std::string>;

// A name from the network is escaped before it is put between our lines: a line
// feed in it would begin a line that looks like ours.
void add_line(
    Message& message, const std::string& label, const std::string& text)
{
    message.text += "\n  " + label + ": " + (text.empty() ? "none" : text);
}

void add(Message& message, const char* name, const std::string& label,
    const std::string& value)
{
    add_line(message, label, escaped(value));
    message.values.emplace_back(name, value);
}

void add(Message& message, const char* name, const std::string& label,
    const Names& list)
{
    std::string text;
    for (const std::string& item : list)
        text.append(text.empty() ? "" : ", ").append(escaped(item));
    add_line(message, label, text);
    message.values.emplace_back(name, list);
}

// --- Hellos: RFC 8446 §4.1, §4.2 --------------------------------------------

enum Extension : std::uint16_t {
    server_name = 0,  // SNI, RFC 6066 §3
    supported_groups = 10,
    alpn = 16,  // RFC 7301 §3.1
    supported_versions = 43,
    key_share = 51,
    encrypted_client_hello = 0xfe0d,
};

using Extensions = std::map<std::uint16_t, Bytes>;

// Without extensions a hello ends early, as it did before there were any.
Extensions read_extensions(Bytes rest)
{
    Extensions extensions;
    for (Bytes list = rest.empty() ? rest : rest.vector(2); !list.empty();) {
        const std::uint16_t type = list.u16();
        extensions.insert_or_assign(type, list.vector(2));
    }
    return extensions;
}

// What an extension says; an empty value if it is not there.
template <typename Decoded>
Decoded decode(
    const Extensions& extensions, Extension type, Decoded (*decode_body)(Bytes))
{
    const auto found = extensions.find(type);
    return found == extensions.end() ? Decoded{} : decode_body(found->second);
}

// Names without those of GREASE, which stand for nothing.
Names names_of(Bytes list, std::string (*name_of)(std::uint16_t))
{
    Names names;
    while (!list.empty())
        if (const std::uint16_t number = list.u16(); !is_grease(number))
            names.push_back(name_of(number));
    return names;
}

std::string first_host_name(Bytes body)
{
    constexpr std::uint8_t host_name = 0;
    for (Bytes list = body.vector(2); !list.empty();) {
        const std::uint8_t type = list.u8();
        const Bytes name = list.vector(2);
        if (type == host_name)
            return name.rest();
    }
    return "";
}

Names protocols(Bytes body)
{
    Names names;
    for (Bytes list = body.vector(2); !list.empty();)
        names.push_back(list.vector(1).rest());
    return names;
}

Names versions(Bytes body)
{
    return names_of(body.vector(1), version_name);
}

Names groups(Bytes body)
{
    return names_of(body.vector(2), group_name);
}

Names groups_of_shares(Bytes body)
{
    Names names;
    for (Bytes list = body.vector(2); !list.empty();) {
        const std::uint16_t group = list.u16();
        list.vector(2);  // the share
        if (!is_grease(group))
            names.push_back(group_name(group));
    }
    return names;
}

Message describe_client_hello(Bytes body, std::size_t size)
{
    Message hello{
        "TLS ClientHello, " + std::to_string(size) + " bytes in clear",
        {{"tls", "ClientHello"}, {"size", std::uint64_t{size}}}};
    const Names old_version{version_name(body.u16())};
    body.take(32);  // random
    body.vector(1);  // session id
    body.vector(2);  // cipher suites
    body.vector(1);  // compression methods
    const Extensions extensions = read_extensions(body);
    const bool has_new_versions = extensions.contains(supported_versions);
    const bool has_ech = extensions.contains(encrypted_client_hello);
    add(hello, "sni", "server name (SNI)",
        decode(extensions, server_name, first_host_name));
    add(hello, "alpn", "protocols (ALPN)", decode(extensions, alpn, protocols));
    add(hello, "versions", "versions",
        has_new_versions ? decode(extensions, supported_versions, versions)
                         : old_version);
    add(hello, "groups", "groups",
        decode(extensions, supported_groups, groups));
    add(hello, "key_shares", "key shares",
        decode(extensions, key_share, groups_of_shares));
    add_line(hello, "Encrypted Client Hello",
        has_ech ? "its extension is there, so the name above may be a stand-in "
                  "(a client without the keys sends random bytes that look the "
                  "same)"
                : "not used");
    hello.values.emplace_back("ech", has_ech);
    return hello;
}

// The random value that makes a ServerHello a HelloRetryRequest.
constexpr std::string_view retry_random
    = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91"
      "\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c";

// TLS 1.3 names its version in an extension, as an old client or device in
// between would not take it, and the group of its key share beside it.  TLS 1.2
// has neither, but an ALPN protocol, which TLS 1.3 seals.
Message describe_server_hello(Bytes body)
{
    std::string version = version_name(body.u16());
    const bool is_retry = body.take(32) == retry_random;
    body.vector(1);  // session id
    const std::string cipher = cipher_name(body.u16());
    body.u8();  // compression method
    const Extensions extensions = read_extensions(body);
    if (extensions.contains(supported_versions))
        version = version_name(Bytes{extensions.at(supported_versions)}.u16());
    const auto group = decode<std::string>(extensions, key_share,
        [](Bytes share) { return group_name(share.u16()); });
    const auto protocol = decode<std::string>(extensions, alpn,
        [](Bytes list) { return list.vector(2).vector(1).rest(); });

    if (is_retry)
        return {
            "TLS HelloRetryRequest: once more, with a key share for " + group,
            {{"tls", "HelloRetryRequest"}, {"group", group}}};
    Message hello{"TLS ServerHello", {{"tls", "ServerHello"}}};
    add(hello, "version", "version", version);
    add(hello, "cipher", "cipher suite", cipher);
    if (!group.empty())
        add(hello, "group", "group", group);
    if (!protocol.empty())
        add(hello, "alpn", "protocol (ALPN)", protocol);
    return hello;
}

// --- Certificates: RFC 5246 §7.4.2, RFC 5280 §4.1, in DER: X.690 §8.1 -------

struct Element {
    std::uint8_t tag;
    Bytes content;
};

Element next_element(Bytes& der)
{
    const std::uint8_t tag = der.u8();
    std::size_t length = der.u8();
    if (length == 0x80 || length > 0x84)
        throw Malformed{};
    if (length > 0x80)
        length = der.number(length - 0x80);
    return {tag, Bytes{der.take(length)}};
}

// "CN=..., O=...": of the attributes of a name (RFC 5280 §4.1.2.4) those two,
// in the strings that have ASCII as a part.
std::string name_as_text(Bytes name)
{
    std::string text;
    while (!name.empty()) {
        Bytes set = next_element(name).content;
        Bytes attribute = next_element(set).content;
        const std::string type = next_element(attribute).content.rest();
        const std::string value = next_element(attribute).content.rest();
        const char* const label = type == "\x55\x04\x03" ? "CN="
            : type == "\x55\x04\x0a"                     ? "O="
                                                         : nullptr;
        if (label != nullptr)
            text.append(text.empty() ? "" : ", ").append(label).append(value);
    }
    return text.empty() ? "a name without CN and O" : text;
}

// The first of the list is the server's own.
Message describe_certificate(Bytes body)
{
    constexpr std::uint8_t version_tag = 0xa0;
    Bytes list = body.vector(3);
    Bytes der = list.vector(3);
    Bytes signed_part = next_element(der).content;
    Bytes tbs = next_element(signed_part).content;
    if (next_element(tbs).tag == version_tag)
        next_element(tbs);  // serial number
    next_element(tbs);  // signature algorithm
    const std::string issuer = name_as_text(next_element(tbs).content);
    Bytes validity = next_element(tbs).content;
    const std::string not_before = next_element(validity).content.rest();
    const std::string not_after = next_element(validity).content.rest();
    const std::string subject = name_as_text(next_element(tbs).content);

    Message message{"TLS certificate, in clear as this is not TLS 1.3",
        {{"tls", "Certificate"}}};
    add(message, "subject", "subject", subject);
    add(message, "issuer", "issuer", issuer);
    add(message, "not_before", "valid from", not_before);
    add(message, "not_after", "valid to", not_after);
    message.text += "\n  its other parts are not decoded";
    return message;
}

// --- Messages ---------------------------------------------------------------

// RFC 8422 §5.4.
std::optional<Message> describe_key_exchange(Bytes body)
{
    constexpr std::uint8_t named_curve = 3;
    if (body.u8() != named_curve)
        return std::nullopt;
    const std::string group = group_name(body.u16());
    return Message{"TLS key exchange in group " + group,
        {{"tls", "ServerKeyExchange"}, {"group", group}}};
}

}  // namespace

std::optional<Message> tls::describe(std::uint8_t type, std::string_view body)
try {
    constexpr std::size_t header_size = 4;
    switch (type) {
    case client_hello:
        return describe_client_hello(Bytes{body}, header_size + body.size());
    case server_hello:
        return describe_server_hello(Bytes{body});
    case certificate:
        return describe_certificate(Bytes{body});
    case server_key_exchange:
        return describe_key_exchange(Bytes{body});
    default:
        return std::nullopt;
    }
} catch (const Malformed&) {
    return describe_undecoded("a handshake message of type "
        + std::to_string(type) + " that breaks its own lengths");
}

Message tls::describe_undecoded(const std::string& reason)
{
    return {
        "not decoded: " + reason, {{"tls", "not decoded"}, {"detail", reason}}};
}

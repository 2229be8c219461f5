#include "tls_view.h"

#include <algorithm>

#include "tls_names.h"

namespace {

using namespace tls;

constexpr std::size_t max_handshake = 64 * 1024;

// --- Bytes ------------------------------------------------------------------

struct Malformed { };

// Takes numbers, most significant byte first, and lengths off the front.
class Bytes {
public:
    explicit Bytes(std::string_view bytes) : bytes_{bytes} { }

    bool empty() const { return bytes_.empty(); }
    std::string_view rest() const { return bytes_; }

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

// --- Hellos: RFC 8446 §4.1, §4.2 --------------------------------------------

enum Extension : std::uint16_t {
    server_name = 0,
    supported_groups = 10,
    alpn = 16,
    supported_versions = 43,
    key_share = 51,
    encrypted_client_hello = 0xfe0d,
};

void add_unless_grease(std::vector<std::uint16_t>& list, std::uint16_t number)
{
    if (!is_grease(number))
        list.push_back(number);
}

std::vector<std::uint16_t> numbers(Bytes list)
{
    std::vector<std::uint16_t> result;
    while (!list.empty())
        add_unless_grease(result, list.u16());
    return result;
}

std::vector<std::string> strings(Bytes list)
{
    std::vector<std::string> result;
    while (!list.empty())
        result.emplace_back(list.vector(1).rest());
    return result;
}

std::string first_host_name(Bytes list)
{
    while (!list.empty()) {
        const bool is_host_name = list.u8() == 0;
        const Bytes name = list.vector(2);
        if (is_host_name)
            return std::string{name.rest()};
    }
    return "";
}

std::vector<std::uint16_t> groups_of_shares(Bytes list)
{
    std::vector<std::uint16_t> result;
    while (!list.empty()) {
        add_unless_grease(result, list.u16());
        list.vector(2);
    }
    return result;
}

void read_extension(ClientHello& hello, std::uint16_t type, Bytes body)
{
    if (type == server_name)
        hello.server_name = first_host_name(body.vector(2));
    else if (type == supported_groups)
        hello.groups = numbers(body.vector(2));
    else if (type == alpn)
        hello.protocols = strings(body.vector(2));
    else if (type == supported_versions)
        hello.versions = numbers(body.vector(1));
    else if (type == key_share)
        hello.key_shares = groups_of_shares(body.vector(2));
    else if (type == encrypted_client_hello)
        hello.encrypted_hello = true;
}

// Without extensions the message ends early, as it did before there were any.
template <typename Hello> void read_extensions(Hello& hello, Bytes rest)
{
    if (rest.empty())
        return;
    for (Bytes list = rest.vector(2); !list.empty();) {
        const std::uint16_t type = list.u16();
        read_extension(hello, type, list.vector(2));
    }
}

ClientHello decode_client_hello(Bytes body, std::size_t size)
{
    ClientHello hello;
    hello.size = size;
    hello.versions = {body.u16()};
    body.take(32);  // random
    body.vector(1);  // session id
    body.vector(2);  // cipher suites
    body.vector(1);  // compression methods
    read_extensions(hello, body);
    return hello;
}

// The first two are what TLS 1.3 hides behind the look of TLS 1.2.
void read_extension(ServerHello& hello, std::uint16_t type, Bytes body)
{
    if (type == supported_versions)
        hello.version = body.u16();
    else if (type == key_share)
        hello.group = body.u16();
    else if (type == alpn)
        hello.protocol = body.vector(2).vector(1).rest();
}

// The random value that makes a ServerHello a HelloRetryRequest.
constexpr std::string_view retry_random
    = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91"
      "\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c";

ServerHello decode_server_hello(Bytes body)
{
    ServerHello hello;
    hello.version = body.u16();
    hello.retry = body.take(32) == retry_random;
    body.vector(1);  // session id
    hello.cipher = body.u16();
    body.u8();  // compression method
    read_extensions(hello, body);
    return hello;
}

// --- Certificates: DER, X.690 §8.1 ------------------------------------------

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

constexpr std::uint8_t version_tag = 0xa0;

// "CN=..., O=...": of the attributes of a name (RFC 5280 §4.1.2.4) those two,
// in the strings that have ASCII as a part.
std::string name_in_words(Bytes name)
{
    std::string words;
    while (!name.empty()) {
        Bytes set = next_element(name).content;
        Bytes attribute = next_element(set).content;
        const std::string_view type = next_element(attribute).content.rest();
        const std::string_view value = next_element(attribute).content.rest();
        const char* const label = type == "\x55\x04\x03" ? "CN="
            : type == "\x55\x04\x0a"                     ? "O="
                                                         : nullptr;
        if (label != nullptr)
            words.append(words.empty() ? "" : ", ").append(label).append(value);
    }
    return words.empty() ? "a name without CN and O" : words;
}

// The first of the list is the server's own.
Certificate decode_certificate(Bytes body)
{
    Bytes list = body.vector(3);
    Bytes der = list.vector(3);
    Bytes signed_part = next_element(der).content;
    Bytes tbs = next_element(signed_part).content;
    if (next_element(tbs).tag == version_tag)
        next_element(tbs);  // serial number
    next_element(tbs);  // signature algorithm
    Certificate certificate;
    certificate.issuer = name_in_words(next_element(tbs).content);
    Bytes validity = next_element(tbs).content;
    certificate.not_before = next_element(validity).content.rest();
    certificate.not_after = next_element(validity).content.rest();
    certificate.subject = name_in_words(next_element(tbs).content);
    return certificate;
}

// --- Messages ---------------------------------------------------------------

enum HandshakeType : std::uint8_t {
    client_hello = 1,
    server_hello = 2,
    certificate = 11,
    server_key_exchange = 12,
};

std::optional<Event> decode_message(std::uint8_t type, Bytes body)
try {
    constexpr std::uint8_t named_curve = 3;
    switch (type) {
    case client_hello:
        return decode_client_hello(body, body.rest().size() + 4);
    case server_hello:
        return decode_server_hello(body);
    case certificate:
        return decode_certificate(body);
    case server_key_exchange:
        if (body.u8() == named_curve)
            return KeyExchange{body.u16()};
        return std::nullopt;
    default:
        return std::nullopt;
    }
} catch (const Malformed&) {
    return NotDecoded{"a handshake message of type " + std::to_string(type)
        + " that breaks its own lengths"};
}

// --- What is not TLS --------------------------------------------------------

constexpr std::size_t size_to_judge = 4;

NotTls guess(std::string_view start)
{
    struct Look {
        std::string_view start;
        const char* name;
    };
    constexpr Look looks[]{{"HTTP", "HTTP"}, {"GET ", "HTTP"}, {"HEAD", "HTTP"},
        {"POST", "HTTP"}, {"PUT ", "HTTP"}, {"DELE", "HTTP"}, {"OPTI", "HTTP"},
        {"PATC", "HTTP"}, {"CONN", "HTTP"}, {"PRI ", "HTTP/2 in clear"},
        {"SSH-", "SSH"}, {"220 ", "SMTP or FTP"}, {"220-", "SMTP or FTP"},
        {"EHLO", "SMTP"}, {"HELO", "SMTP"}, {"* OK", "IMAP"}, {"+OK ", "POP3"},
        {"RFB ", "VNC"}, {"<!DO", "an HTML page"}, {"<htm", "an HTML page"}};
    for (const Look& look : looks)
        if (start.starts_with(look.start))
            return {look.name};
    if ((start[0] & 0x80) != 0 && start[2] == 1)
        return {"the hello of SSL 2"};
    return {};
}

enum RecordType : std::uint8_t {
    change_cipher_spec = 20,
    alert_record = 21,
    handshake = 22,
    application_data = 23,
    heartbeat = 24,
};

constexpr std::uint8_t major_version = 3;  // of SSL 3 and all of TLS

}  // namespace

// --- Records: RFC 8446 §5 ----------------------------------------------------

std::vector<Event> tls::Reader::read(std::string_view bytes)
{
    std::vector<Event> events;
    while (!done_ && take_step(bytes, events)) { }
    if (!done_ && seen_ > max_handshake)
        give_up(events, "a handshake of more than 64 KiB");
    return events;
}

// One step forward; false if that takes more bytes.
bool tls::Reader::take_step(std::string_view& bytes, std::vector<Event>& events)
{
    switch (stage_) {
    case Stage::first_bytes:
        if (!fill_start(bytes, size_to_judge))
            return false;
        judge_first_bytes(events);
        return true;
    case Stage::header:
        if (!fill_start(bytes, 5))
            return false;
        begin_record(events);
        return true;
    case Stage::start_of_payload:
        if (!fill_start(bytes, std::min<std::size_t>(4, record_.length)))
            return false;
        begin_payload(events);
        return true;
    case Stage::payload:
        if (bytes.empty() && left_ > 0)
            return false;
        take_payload(bytes, events);
        return true;
    }
    return false;
}

bool tls::Reader::fill_start(std::string_view& bytes, std::size_t wanted)
{
    while (start_size_ < wanted && !bytes.empty()) {
        start_[start_size_++] = static_cast<std::uint8_t>(bytes.front());
        bytes.remove_prefix(1);
        ++seen_;
    }
    return start_size_ == wanted;
}

void tls::Reader::judge_first_bytes(std::vector<Event>& events)
{
    stage_ = Stage::header;
    const bool is_tls = start_[0] >= change_cipher_spec
        && start_[0] <= heartbeat && start_[1] == major_version
        && start_[2] <= 4;
    if (is_tls)
        return;
    std::string start;
    for (std::size_t i = 0; i < size_to_judge; ++i)
        start += static_cast<char>(start_[i]);
    not_tls_ = guess(start);
    events.emplace_back(*not_tls_);
    finish();
}

void tls::Reader::begin_record(std::vector<Event>& events)
{
    constexpr std::size_t max_record = 16384 + 256;  // RFC 8446 §5.2
    record_
        = {start_[0], static_cast<std::uint16_t>(start_[3] << 8 | start_[4])};
    start_size_ = 0;
    stage_ = Stage::start_of_payload;
    if (record_.type < change_cipher_spec || record_.type > heartbeat
        || start_[1] != major_version || record_.length > max_record)
        give_up(events, "something that is no TLS record");
}

// Four bytes of it are enough to judge the record.
void tls::Reader::begin_payload(std::vector<Event>& events)
{
    stage_ = Stage::payload;
    left_ = static_cast<std::uint16_t>(record_.length - start_size_);
    const std::string_view start{
        reinterpret_cast<const char*>(start_.data()), start_size_};
    start_size_ = 0;
    keeps_payload_ = false;
    if (record_.type == change_cipher_spec) {
        cipher_changed_ = true;
    } else if (record_.type == alert_record && record_.length == 2) {
        alert_ = Alert{start[0] == 2, static_cast<std::uint8_t>(start[1])};
        events.emplace_back(*alert_);
    } else if (is_clear_handshake()) {
        hello_ = hello_ || start.starts_with(client_hello)
            || start.starts_with(server_hello);
        keeps_payload_ = depth_ == Depth::messages;
        if (keeps_payload_)
            take_messages(start, events);
    } else if (record_.type != heartbeat) {
        take_sealed(events);
    }
}

// A new cipher seals what follows, with one exception: in TLS 1.3 that record
// is for show, and after a HelloRetryRequest another hello follows in clear.  A
// sealed Finished of TLS 1.2 is never as long as a hello.
bool tls::Reader::is_clear_handshake() const noexcept
{
    constexpr std::size_t longest_finished = 100;
    const bool looks_like_hello = record_.length > longest_finished
        && (start_[0] == client_hello || start_[0] == server_hello)
        && start_[1] == 0;
    return record_.type == handshake && !sealed_
        && (!cipher_changed_ || looks_like_hello);
}

// An alert is two bytes, one for the type that TLS 1.3 hides, and 16 (or 8) of
// authentication.  TLS 1.2 shows the type.
void tls::Reader::take_sealed(std::vector<Event>& events)
{
    if (!hello_)
        return give_up(events, "TLS records without a hello before them");
    const bool has_size_of_alert = record_.type == alert_record
        || (record_.type == application_data
            && (record_.length == 19 || record_.length == 11));
    if (!sealed_) {
        sealed_ = Sealed{record_.length, has_size_of_alert};
        events.emplace_back(*sealed_);
    } else if (has_size_of_alert) {
        goodbye_ = true;
    } else {
        data_ = true;
        finish();
    }
}

void tls::Reader::take_payload(
    std::string_view& bytes, std::vector<Event>& events)
{
    const std::size_t n = std::min<std::size_t>(bytes.size(), left_);
    if (keeps_payload_)
        take_messages(bytes.substr(0, n), events);
    bytes.remove_prefix(n);
    seen_ += static_cast<std::uint32_t>(n);
    left_ = static_cast<std::uint16_t>(left_ - n);
    if (left_ == 0)
        stage_ = Stage::header;
}

// Messages and records need not have the same borders (RFC 8446 §5.1).
void tls::Reader::take_messages(
    std::string_view bytes, std::vector<Event>& events)
{
    messages_.append(bytes);
    while (messages_.size() >= 4) {
        Bytes header{messages_};
        const std::uint8_t type = header.u8();
        const std::size_t length = header.number(3);
        if (length > max_handshake)
            return give_up(events, "a handshake message of more than 64 KiB");
        if (header.rest().size() < length)
            return;
        if (auto event = decode_message(type, Bytes{header.take(length)}))
            events.push_back(std::move(*event));
        messages_.erase(0, 4 + length);
    }
}

void tls::Reader::give_up(std::vector<Event>& events, const char* reason)
{
    events.emplace_back(NotDecoded{reason});
    finish();
}

void tls::Reader::finish()
{
    done_ = true;
    messages_ = std::string{};
}

// --- In words ---------------------------------------------------------------

namespace {

template <typename Range, typename Name>
std::string list_in_words(const Range& range, Name name)
{
    std::string words;
    for (const auto& item : range)
        words.append(words.empty() ? "" : ", ").append(name(item));
    return words.empty() ? "none" : words;
}

std::string in_words(const ClientHello& hello)
{
    const auto as_it_is = [](const std::string& text) { return text; };
    std::string words = "TLS ClientHello, " + std::to_string(hello.size)
        + " bytes in clear\n  server name (SNI): "
        + (hello.server_name.empty() ? "none" : hello.server_name)
        + "\n  protocols (ALPN): " + list_in_words(hello.protocols, as_it_is)
        + "\n  versions: " + list_in_words(hello.versions, version_name)
        + "\n  groups: " + list_in_words(hello.groups, group_name)
        + "\n  key shares: " + list_in_words(hello.key_shares, group_name)
        + "\n  Encrypted Client Hello: ";
    return words
        + (hello.encrypted_hello
                ? "its extension is there, so the name above may be a "
                  "stand-in (a client without the keys sends random bytes "
                  "that look the same)"
                : "not used");
}

std::string in_words(const ServerHello& hello)
{
    if (hello.retry)
        return "TLS HelloRetryRequest: once more, with a key share for "
            + group_name(hello.group);
    return "TLS ServerHello\n  version: " + version_name(hello.version)
        + "\n  cipher suite: " + cipher_name(hello.cipher)
        + (hello.group == 0 ? "" : "\n  group: " + group_name(hello.group))
        + (hello.protocol.empty() ? ""
                                  : "\n  protocol (ALPN): " + hello.protocol);
}

std::string in_words(const Certificate& certificate)
{
    return "TLS certificate, in clear as this is not TLS 1.3\n  subject: "
        + certificate.subject + "\n  issuer: " + certificate.issuer
        + "\n  valid from " + certificate.not_before + " to "
        + certificate.not_after + "\n  its other parts are not decoded";
}

std::string in_words(const KeyExchange& exchange)
{
    return "TLS key exchange in group " + group_name(exchange.group);
}

std::string in_words(const Alert& alert)
{
    return "TLS alert in clear: " + alert_name(alert.number)
        + (alert.fatal ? ", fatal" : ", a warning");
}

std::string in_words(const Sealed& record)
{
    return "from here on the proxy sees only sealed records (first: "
        + std::to_string(record.length)
        + (record.has_size_of_alert ? " bytes, the size of an alert)"
                                    : " bytes)");
}

std::string in_words(const NotTls& bytes)
{
    return "bytes that are not TLS"
        + (bytes.looks_like.empty() ? std::string{}
                                    : "; they look like " + bytes.looks_like);
}

std::string in_words(const NotDecoded& bytes)
{
    return "not decoded: " + bytes.reason;
}

}  // namespace

std::string tls::to_words(const Event& event)
{
    return std::visit([](const auto& e) { return in_words(e); }, event);
}

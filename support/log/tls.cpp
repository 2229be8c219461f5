#include "tls.h"

#include <algorithm>

#include "tls_names.h"

namespace {

constexpr std::size_t max_handshake = 64 * 1024;

// --- Records: RFC 8446 §5 ---------------------------------------------------

enum RecordType : std::uint8_t {
    change_cipher_spec = 20,
    alert = 21,
    handshake = 22,
    application_data = 23,
    heartbeat = 24,
};

constexpr std::size_t header_size = 5;
constexpr std::size_t max_payload = 16384 + 256;
constexpr std::size_t bulk_records = 12;  // sealed; then a direction is bulk
constexpr const char* no_record = "something that is no TLS record";

// A number in so many bytes, most significant first.
std::size_t number(std::string_view bytes)
{
    std::size_t value = 0;
    for (const char c : bytes)
        value = value << 8 | static_cast<std::uint8_t>(c);
    return value;
}

// Four bytes are enough to tell.  The major version of SSL 3 and all of TLS is
// 3, the minor one 4 at most.
constexpr std::size_t size_to_judge = 4;

bool may_begin_record(std::string_view bytes)
{
    return bytes[0] >= change_cipher_spec && bytes[0] <= heartbeat
        && bytes[1] == 3 && bytes[2] >= 0 && bytes[2] <= 4;
}

bool begins_hello(std::string_view message)
{
    return message.starts_with(tls::client_hello)
        || message.starts_with(tls::server_hello);
}

// An alert is two bytes, one for the type that TLS 1.3 hides, and 16 (or 8) of
// authentication.  TLS 1.2 shows the type.
bool has_size_of_alert(std::uint8_t type, std::size_t length)
{
    return type == alert
        || (type == application_data && (length == 19 || length == 11));
}

std::string to_hex(std::string_view bytes)
{
    constexpr std::string_view digits = "0123456789abcdef";
    std::string hex;
    for (const char c : bytes) {
        const auto byte = static_cast<std::uint8_t>(c);
        hex.append(hex.empty() ? "" : " ");
        hex += digits[byte >> 4];
        hex += digits[byte & 15];
    }
    return hex;
}

// What bytes that are not TLS look like.
std::string guess(std::string_view start)
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
            return look.name;
    if ((start[0] & 0x80) != 0 && start[2] == 1)
        return "the hello of SSL 2";
    return "";
}

}  // namespace

// --- Reader -----------------------------------------------------------------

void tls::Reader::read(std::string_view bytes)
{
    if (done_)
        return;
    seen_.anything = seen_.anything || !bytes.empty();
    size_ += bytes.size();
    record_.append(bytes);
    while (!done_ && take_record()) { }
    if (!done_ && !seen_.data && size_ > max_handshake)
        give_up("a handshake of more than 64 KiB");
}

// Takes a record off the front; false if it is not complete.
bool tls::Reader::take_record()
{
    const std::string_view bytes{record_};
    if (bytes.size() < size_to_judge)
        return false;
    if (!may_begin_record(bytes)) {
        const bool is_first = bytes.size() == size_;
        is_first ? refuse_first_bytes() : give_up(no_record);
        return false;
    }
    if (bytes.size() < header_size)
        return false;
    const std::size_t length = number(bytes.substr(3, 2));
    const Record record{static_cast<std::uint8_t>(bytes[0]), length,
        bytes.substr(header_size, length)};
    if (length > max_payload)
        give_up(no_record);
    else if (is_clear_handshake(record) && begins_hello(record.payload))
        seen_.hello = true;  // although its end may never come
    if (done_ || record.payload.size() < length)
        return false;
    take_payload(record);
    record_.erase(0, header_size + length);
    return true;
}

// A new cipher seals what follows, with one exception: in TLS 1.3 that record
// changes nothing, and after a HelloRetryRequest another hello follows in
// clear.  A sealed Finished of TLS 1.2 is never as long as a hello.
bool tls::Reader::is_clear_handshake(const Record& record) const
{
    constexpr std::size_t longest_finished = 100;
    const bool looks_like_hello = record.length > longest_finished
        && begins_hello(record.payload)
        && record.payload.substr(1).starts_with('\0');
    return record.type == handshake && !seen_.sealed
        && (!cipher_changed_ || looks_like_hello);
}

void tls::Reader::take_payload(const Record& record)
{
    const bool is_alert = record.type == alert && record.length == 2;
    const bool is_clear = record.type == change_cipher_spec || is_alert
        || is_clear_handshake(record);
    if (record.type == heartbeat)
        return;
    if (!is_clear && !seen_.hello)
        return give_up("TLS records without a hello before them");
    if (shows_records_)
        show_record(record, !is_clear);
    if (record.type == change_cipher_spec)
        cipher_changed_ = true;
    else if (is_alert)
        take_alert(record.payload);
    else if (is_clear)
        take_messages(record.payload);
    else
        take_sealed(record);
}

// Of a sealed record, which no key of ours opens, the first nine bytes are
// shown too.
void tls::Reader::show_record(const Record& record, bool is_sealed)
{
    constexpr const char* names[]{"change_cipher_spec", "alert", "handshake",
        "application_data", "heartbeat"};
    constexpr std::size_t shown = header_size + 4;
    const std::size_t size = header_size + record.length;
    show([&] {
        return Message{"TLS record, " + std::to_string(size)
                + (is_sealed ? " bytes, sealed" : " bytes, in clear"),
            {{"type", names[record.type - change_cipher_spec]},
                {"size", std::uint64_t{size}}, {"sealed", is_sealed},
                {"hex",
                    is_sealed ? to_hex(record_.substr(0, std::min(size, shown)))
                              : ""}},
            "record", Weight::drawn};
    });
}

void tls::Reader::take_alert(std::string_view payload)
{
    const bool is_fatal = payload[0] == 2;  // RFC 8446 §6
    const auto code = static_cast<std::uint8_t>(payload[1]);
    if (is_fatal)
        seen_.fatal_alert = code;
    show([&] {
        const std::string name = alert_name(code);
        return Message{"TLS alert in clear: " + name
                + (is_fatal ? ", fatal" : ", a warning"),
            {{"tls", "Alert"}, {"alert", name}, {"fatal", is_fatal}}};
    });
}

// Messages and records need not have the same borders (RFC 8446 §5.1).
void tls::Reader::take_messages(std::string_view bytes)
{
    constexpr std::size_t message_header_size = 4;
    if (!show_)
        return;
    messages_.append(bytes);
    while (messages_.size() >= message_header_size) {
        const std::string_view message{messages_};
        const std::size_t length = number(message.substr(1, 3));
        const std::string_view body
            = message.substr(message_header_size, length);
        if (length > max_handshake)
            return give_up("a handshake message of more than 64 KiB");
        if (body.size() < length)
            return;
        if (auto described
            = describe(static_cast<std::uint8_t>(message[0]), body))
            show_(std::move(*described));
        messages_.erase(0, message_header_size + length);
    }
}

// What follows the first data shows nothing more but its records.
void tls::Reader::take_sealed(const Record& record)
{
    const bool like_alert = has_size_of_alert(record.type, record.length);
    if (++sealed_records_ > 1) {
        seen_.data = seen_.data || !like_alert;
        seen_.alert_later = seen_.alert_later || !seen_.data;
        if (seen_.data && (!shows_records_ || sealed_records_ >= bulk_records))
            miss();
        return;
    }
    seen_.sealed = true;
    seen_.alert_first = like_alert;
    show([&] {
        return Message{
            "from here on the proxy sees only sealed records (first: "
                + std::to_string(record.length)
                + (like_alert ? " bytes, the size of an alert)" : " bytes)"),
            {{"tls", "sealed"}, {"size", std::uint64_t{record.length}},
                {"has_size_of_alert", like_alert}}};
    });
}

void tls::Reader::miss()
{
    if (!done_ && shows_records_)
        show([] {
            return Message{"bulk: no single records from here on", {}, "bulk",
                Weight::drawn};
        });
    finish();
}

void tls::Reader::refuse_first_bytes()
{
    seen_.not_tls = guess(record_.substr(0, size_to_judge));
    show([&] {
        return Message{"bytes that are not TLS"
                + (seen_.not_tls->empty()
                        ? ""
                        : "; they look like " + *seen_.not_tls),
            {{"tls", "none"}, {"looks_like", *seen_.not_tls}}};
    });
    finish();
}

void tls::Reader::give_up(const char* reason)
{
    show([&] { return describe_undecoded(reason); });
    finish();
}

// The buffers are freed: the tunnel may be idle for hours.
void tls::Reader::finish()
{
    done_ = true;
    std::string{}.swap(record_);
    std::string{}.swap(messages_);
}

// tls_view -- what an untouched tunnel shows of TLS to whoever carries it.
//
// A TLS connection begins in clear: the ClientHello, the ServerHello, in
// TLS 1.2 also the certificate, and alerts until keys are agreed on.  After
// that every record is sealed, and shows its type, its length and its time.
// Nothing here does I/O, waits, or changes a byte; what it cannot decode, it
// says so.

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tls {

// --- What is in clear -------------------------------------------------------

struct ClientHello {  // RFC 8446 §4.1.2
    std::size_t size = 0;  ///< in bytes
    std::string server_name;  ///< RFC 6066 §3; empty if it has none
    std::vector<std::string> protocols;  ///< ALPN, RFC 7301 §3.1
    std::vector<std::uint16_t> versions;  ///< GREASE left out, here and below
    std::vector<std::uint16_t> groups;
    std::vector<std::uint16_t> key_shares;
    bool encrypted_hello = false;  ///< has the extension, or GREASE of it
};

struct ServerHello {  // RFC 8446 §4.1.3
    bool retry = false;  ///< a HelloRetryRequest: the client tries once more
    std::uint16_t version = 0;
    std::uint16_t cipher = 0;
    std::uint16_t group = 0;  ///< 0 if it is not here, as in TLS 1.2
    std::string protocol;  ///< TLS 1.2 only; TLS 1.3 seals it
};

/// The server's own certificate, which TLS 1.3 seals.  Its public key,
/// extensions and signature are not decoded.
struct Certificate {  // RFC 5246 §7.4.2, RFC 5280 §4.1
    std::string subject;  ///< "CN=example.com, O=Example"
    std::string issuer;
    std::string not_before;  ///< as it is written: "260131235959Z"
    std::string not_after;
};

struct KeyExchange {  // the ServerKeyExchange of TLS 1.2, RFC 8422 §5.4
    std::uint16_t group = 0;
};

struct Alert {  // RFC 8446 §6
    bool fatal = false;
    std::uint8_t number = 0;
};

/// From this record on, this direction is sealed.
struct Sealed {
    std::uint16_t length = 0;
    bool has_size_of_alert = false;
};

struct NotTls {
    std::string looks_like;  ///< "HTTP", "SSH", ...; empty if nothing known
};

struct NotDecoded {
    std::string reason;
};

using Event = std::variant<ClientHello, ServerHello, Certificate, KeyExchange,
    Alert, Sealed, NotTls, NotDecoded>;

/// A sentence or a few lines.  Names from the wire stand in it as they came.
std::string to_words(const Event& event);

// --- Reading it -------------------------------------------------------------

/// Reads one direction of a connection, from its first byte, in any pieces.
/// Keeps 64 KiB at most.
class Reader {
public:
    enum class Depth {
        records,  ///< their headers, and alerts: what a verdict needs
        messages,  ///< also the handshake in clear
    };
    explicit Reader(Depth depth) : depth_{depth} { }

    /// What these bytes complete.
    std::vector<Event> read(std::string_view bytes);

    /// Whether the rest has nothing more to show, and need not be read.
    bool is_done() const noexcept { return done_; }

    // What has been seen so far, at either depth:
    bool has_begun() const noexcept { return seen_ > 0; }
    bool has_hello() const noexcept { return hello_; }
    const std::optional<Alert>& alert() const noexcept { return alert_; }
    const std::optional<NotTls>& not_tls() const noexcept { return not_tls_; }
    /// The first sealed record; and behind it one that is alert-sized, or one
    /// that is not.
    const std::optional<Sealed>& sealed() const noexcept { return sealed_; }
    bool has_goodbye() const noexcept { return goodbye_; }
    bool has_data() const noexcept { return data_; }

private:
    struct Record {
        std::uint8_t type;
        std::uint16_t length;
    };
    enum class Stage { first_bytes, header, start_of_payload, payload };

    bool take_step(std::string_view& bytes, std::vector<Event>& events);
    bool fill_start(std::string_view& bytes, std::size_t wanted);
    void judge_first_bytes(std::vector<Event>& events);
    void begin_record(std::vector<Event>& events);
    void begin_payload(std::vector<Event>& events);
    void take_sealed(std::vector<Event>& events);
    void take_payload(std::string_view& bytes, std::vector<Event>& events);
    void take_messages(std::string_view bytes, std::vector<Event>& events);
    bool is_clear_handshake() const noexcept;
    void give_up(std::vector<Event>& events, const char* reason);
    void finish();

    Depth depth_;
    Stage stage_ = Stage::first_bytes;
    std::array<std::uint8_t, 5> start_{};  // of the record, or of its payload
    std::uint8_t start_size_ = 0;
    Record record_{};
    std::uint16_t left_ = 0;  // of the payload
    std::uint32_t seen_ = 0;
    bool keeps_payload_ = false;  // a part of the handshake, to be decoded
    bool hello_ = false;
    bool cipher_changed_ = false;
    bool data_ = false;
    bool goodbye_ = false;
    bool done_ = false;
    std::optional<Alert> alert_;
    std::optional<NotTls> not_tls_;
    std::optional<Sealed> sealed_;
    std::string messages_;  // handshake bytes not yet decoded
};

}  // namespace tls

// tls -- what an observer on the path can see of TLS.
//
// A TLS connection begins in clear: the ClientHello, the ServerHello, in
// TLS 1.2 also the certificate, and alerts until keys are agreed on.  After
// that every record is sealed, and shows its type, its length and its time.
// Nothing here does I/O or changes a byte; what it cannot decode, it says so.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "tls_message.h"

namespace tls {

/// What one direction has shown so far, as far as a diagnosis needs it.
struct Seen {
    bool anything = false;  ///< even if it is not TLS
    bool hello = false;
    std::optional<std::uint8_t> fatal_alert;  ///< in clear: its number
    std::optional<std::string> not_tls;  ///< what it looks like; "" if unknown
    bool sealed = false;  ///< a record
    bool alert_first = false;  ///< the first sealed one has an alert's size
    bool alert_later = false;  ///< a later one has
    bool data = false;  ///< a later one has not
    bool operator==(const Seen&) const = default;
};

/// Reads one direction of a connection, from its first byte, in any pieces.
/// Keeps 64 KiB at most.
class Reader {
public:
    using Show = std::function<void(Message)>;

    /// Gives what it decodes to `show`; with null it does not decode.  With
    /// `shows_records` also each record, until the direction is bulk.
    explicit Reader(Show show, bool shows_records = false)
        : show_{std::move(show)}, shows_records_{shows_records}
    {
    }

    void read(std::string_view bytes);

    /// Bytes went past unseen, so that no record can be found after them.
    void miss();

    /// Whether the rest has nothing more to show, and need not be read.
    bool is_done() const noexcept { return done_; }

    const Seen& seen() const noexcept { return seen_; }

private:
    struct Record {
        std::uint8_t type;
        std::size_t length;
        std::string_view payload;  // as far as it is here
    };

    bool take_record();
    bool is_clear_handshake(const Record& record) const;
    void take_payload(const Record& record);
    void take_alert(std::string_view payload);
    void take_messages(std::string_view bytes);
    void take_sealed(const Record& record);
    void show_record(const Record& record, bool is_sealed);
    void refuse_first_bytes();
    void give_up(const char* reason);
    void finish();
    template <typename MakeMessage> void show(MakeMessage make_message) const
    {
        if (show_)
            show_(make_message());
    }

    Show show_;
    bool shows_records_;
    Seen seen_;
    std::size_t size_ = 0;  // of all that was read
    std::size_t sealed_records_ = 0;
    std::string record_;  // the beginning of one that is not complete
    std::string messages_;  // handshake bytes not yet decoded
    bool cipher_changed_ = false;
    bool done_ = false;
};

}  // namespace tls

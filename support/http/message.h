// message -- the text of HTTP/1.1: heads, fields, request targets.  RFC 9110,
// RFC 9112.
//
// Pure functions on bytes: nothing here reads, writes, waits or knows a socket.
// There is one grammar for both directions, and it is strict: what two programs
// could read in two ways is refused (RFC 9112 §11.2, request smuggling).

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "error.h"

// --- Heads: RFC 9112 §2 to §5 -----------------------------------------------

struct FieldLine {
    std::string name;
    std::string value;
    bool operator==(const FieldLine&) const = default;
};
using Fields = std::vector<FieldLine>;

/// HTTP/1.0 or HTTP/1.1; nothing else gets past the parser.
enum class Version { http_1_0, http_1_1 };

struct RequestHead {
    std::string method;
    std::string target;
    Version version = Version::http_1_1;
    Fields fields;
};

struct ResponseHead {
    Version version = Version::http_1_1;
    int status = 0;
    std::string reason;
    Fields fields;

    /// An interim response announces the final one (RFC 9110 §15.2).
    bool is_interim() const noexcept { return status / 100 == 1; }
};

constexpr std::size_t max_start_line = 16 * 1024;  ///< RFC 9112 §3: >= 8000
constexpr std::size_t max_head = 64 * 1024;
constexpr std::size_t max_field_lines = 128;
constexpr std::ptrdiff_t max_connection_options = 128;

/// Checks a head, or a trailer section, line by line while it is read: limits
/// and line ends (RFC 9112 §2.2).
class HeadLines {
public:
    enum class Of { head, trailer };
    explicit HeadLines(Of what = Of::head) : what_{what} { }

    /// How many bytes the next line may have.
    std::size_t limit() const noexcept;

    /// Takes the next line, as it was read up to that limit; true if it is the
    /// empty one at the end.  Throws MessageError.
    bool add(std::string_view line);

private:
    Of what_;
    std::size_t size_ = 0;  // of the lines so far, in bytes
    std::size_t lines_ = 0;
};

/// Throws MessageError if the first bytes of a connection are TLS: a client
/// that speaks it waits for an answer, and sends no line.
void check_first_bytes(std::string_view bytes);

/// Each takes a whole head as HeadLines passed it; throws MessageError.
RequestHead parse_request_head(std::string_view head);
ResponseHead parse_response_head(std::string_view head);
Fields parse_field_lines(std::string_view lines);  ///< also a trailer section

std::string to_string(const RequestHead& head);
std::string to_string(const ResponseHead& head);
std::string to_string(const Fields& fields);
std::string_view to_string(Version version) noexcept;

// --- Field values: RFC 9110 §5 ----------------------------------------------

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept;

/// Whether a name equals one of the others, in any case.
bool is_one_of(std::string_view name, const auto&... others) noexcept
{
    return (equal_ignoring_case(name, others) || ...);
}

bool is_token(std::string_view text) noexcept;  ///< RFC 9110 §5.6.2

/// Whether a byte is none that a field value may have (RFC 9110 §5.5): below
/// 0x20 and not HTAB, or DEL.  Some reader downstream could act upon it.
bool has_control(std::string_view text) noexcept;

std::string_view trim_blanks(std::string_view text) noexcept;

/// How many field lines have that name.
std::size_t count(const Fields& fields, std::string_view name) noexcept;

/// All values of a field, in order, joined by ", " (RFC 9110 §5.3).
std::optional<std::string> combined_value(
    const Fields& fields, std::string_view name);

/// The members of a comma-separated list, without the empty ones (§5.6.1).
std::vector<std::string_view> list_members(std::string_view value);

/// Whether one member of the field's list is this token, in any case.
bool has_token(
    const Fields& fields, std::string_view name, std::string_view token);

// --- Request targets: RFC 9112 §3.2 -----------------------------------------

struct Authority {
    std::string host;  ///< an IPv6 address has no brackets here
    std::string port;
    bool operator==(const Authority&) const = default;
};

std::string to_string(const Authority& authority);  ///< brackets put back

struct HttpTarget {
    Authority authority;  ///< where to connect; port 80 when none is named
    std::string host_field;  ///< with a port only where one is named
    std::string origin_form;  ///< what the origin server is asked for
};

/// uri-host [ ":" port ] without user information.  The port loses leading
/// zeros.  Throws MessageError.
Authority parse_authority(std::string_view text);

/// host:port, both required (RFC 9110 §9.3.6).  Throws MessageError.
Authority parse_authority_form(std::string_view target);

/// Absolute-form, for an http URI only; asterisk-form for OPTIONS without a
/// path (RFC 9112 §3.2.4).  Keeps every byte of path and query, also those that
/// RFC 3986 does not allow.  Throws MessageError.
HttpTarget parse_absolute_form(
    std::string_view target, std::string_view method);

/// Turns an absolute-form target into what the server that it names is sent:
/// origin-form, and that name in Host, whatever was there (RFC 9112 §3.2.2).
void make_origin_form(RequestHead& request);

/// 1*DIGIT in all of the text, no sign, no overflow; nothing otherwise.
std::optional<std::uint64_t> parse_digits(std::string_view text, int base = 10);

/// Sixteen bytes in network order.  An IPv4 address is held in its IPv4-mapped
/// form (RFC 4291 §2.5.5.2): 127.0.0.1 and ::ffff:127.0.0.1 are one address,
/// because connect(2) to either reaches the same host.
using IpAddress = std::array<std::uint8_t, 16>;

/// "192.0.2.1", "2001:db8::1" or "fe80::1%eth0", whose zone is left out.
std::optional<IpAddress> parse_ip_address(std::string_view text);

// --- What logs and traces must not show, because others read them -----------

/// Whether a field holds credentials or cookies.
bool is_secret(std::string_view field_name) noexcept;

/// The value of a field as it may be shown: of credentials the scheme at most,
/// of URIs no user information.
std::string value_without_secrets(const FieldLine& field);

/// The same for bytes that are no valid head.
std::string head_without_secrets(std::string_view head);

/// The target as it may be shown, also one that is refused: user information,
/// which may hold a password, is replaced by "***" (RFC 3986 §7.5).
std::string without_userinfo(std::string_view target);

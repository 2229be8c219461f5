// http_message -- the text of HTTP/1.1: heads, request targets, where a body
// ends.  RFC 9110, RFC 9112.
//
// Pure functions on bytes: nothing here reads, writes, waits or knows a socket.
// There is one grammar for both directions, and it is strict: what two programs
// could read in two ways is refused (RFC 9112 §11.2, request smuggling).

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// What is wrong with a message.  Whose message it was, and so which status
/// this becomes, is the caller's to say.
enum class Problem {
    malformed,
    cut_short,
    target_too_long,
    head_too_large,
    version_not_supported,
    coding_not_supported,
    needs_connect,  ///< an https target in a request that is not CONNECT
    not_for_a_proxy,  ///< origin-form: the client takes us for the server
    looks_like_tls,
};

struct MessageError : std::runtime_error {
    MessageError(Problem kind, const std::string& words)
        : std::runtime_error{words}, problem{kind}
    {
    }
    Problem problem;
};

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

/// Finds the end of a head in bytes that arrive piece by piece, and stops at
/// the first byte that breaks a limit or a line end (RFC 9112 §2.2).
class HeadScanner {
public:
    /// `bytes` is everything received so far, from the start of the head.
    /// Gives the head's length, its empty line included, once it is complete.
    std::optional<std::size_t> find_end(std::string_view bytes);

private:
    std::size_t line_start_ = 0;
    std::size_t scanned_ = 0;
    std::size_t lines_ = 0;
};

/// Each takes a whole head as HeadScanner found it; throws MessageError.
RequestHead parse_request_head(std::string_view head);
ResponseHead parse_response_head(std::string_view head);
Fields parse_field_lines(std::string_view lines);  ///< also a trailer section

std::string to_string(const RequestHead& head);
std::string to_string(const ResponseHead& head);
std::string to_string(const Fields& fields);
std::string_view to_string(Version version) noexcept;

// --- Field values: RFC 9110 §5 ----------------------------------------------

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept;
bool is_token(std::string_view text) noexcept;  ///< RFC 9110 §5.6.2

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
    std::string host;  ///< an IPv6 address stands here without its brackets
    std::string port;
    bool operator==(const Authority&) const = default;
};

std::string to_string(const Authority& authority);  ///< brackets put back

struct HttpTarget {
    Authority authority;  ///< where to connect; port 80 when none is named
    std::string host_field;  ///< the authority as it was written
    std::string origin_form;  ///< what the origin server is asked for
};

/// host:port, both required (RFC 9110 §9.3.6).  Throws MessageError.
Authority parse_authority_form(std::string_view target);

/// Absolute-form, for an http URI only; asterisk-form for OPTIONS without a
/// path (RFC 9112 §3.2.4).  Throws MessageError.
HttpTarget parse_absolute_form(
    std::string_view target, std::string_view method);

// --- Bodies: RFC 9112 §6, §7 ------------------------------------------------

struct BodyFraming {
    enum class Kind { none, length, chunked, until_close };
    Kind kind = Kind::none;
    std::uint64_t length = 0;  ///< in bytes, with Kind::length
    bool operator==(const BodyFraming&) const = default;
};

/// Where the body ends (RFC 9112 §6.3); throws MessageError when two readers
/// could disagree about it.
BodyFraming request_framing(const RequestHead& request);
BodyFraming response_framing(
    std::string_view request_method, const ResponseHead& response);

/// Takes the chunked coding off a body that arrives piece by piece, checking
/// it on the way (RFC 9112 §7.1).
class ChunkedDecoder {
public:
    struct Result {
        std::size_t data;  ///< bytes of content, moved to the front
        std::size_t consumed;  ///< bytes used up; what follows is not the body
    };

    /// Decodes in place, up to the end of the body.  Throws MessageError.
    Result decode(std::span<char> bytes);

    bool finished() const noexcept { return state_ == State::finished; }

    /// The trailer section, once finished (RFC 9112 §7.1.2).
    const Fields& trailer() const noexcept { return trailer_; }

private:
    enum class State { size_line, data, data_end, trailer, finished };

    void take_line_byte(char byte);
    void end_of_line();

    State state_ = State::size_line;
    std::uint64_t remaining_ = 0;  // bytes of the chunk still to come
    std::string line_;  // a size line, a CRLF or the trailer, not yet complete
    Fields trailer_;
};

/// 1*DIGIT in all of the text, no sign, no overflow; nothing otherwise.
std::optional<std::uint64_t> parse_digits(std::string_view text, int base = 10);

/// 1*HEXDIG and chunk extensions, without the CRLF (RFC 9112 §7.1, §7.1.1).
std::uint64_t parse_chunk_size(std::string_view line);

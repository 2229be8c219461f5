#include "http_message.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace {

MessageError malformed(const std::string& words)
{
    return MessageError{Problem::malformed, words};
}

// --- Character classes: RFC 5234 §B.1, RFC 9110 §5.6.2, RFC 3986 §2 ----------

// Written out, because isalpha() and its like ask the locale.
bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_hex_digit(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool is_token_char(char c)
{
    constexpr std::string_view marks{"!#$%&'*+-.^_`|~"};
    return is_alpha(c) || is_digit(c)
        || marks.find(c) != std::string_view::npos;
}

bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

// field-vchar, SP or HTAB (RFC 9110 §5.5).  Everything else below 0x20, and
// DEL, is a control character, which some reader downstream could act upon.
bool is_field_value_char(char c)
{
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

bool is_unreserved_or_sub_delim(char c)
{
    constexpr std::string_view marks{"-._~!$&'()*+,;="};
    return is_alpha(c) || is_digit(c)
        || marks.find(c) != std::string_view::npos;
}

// Every character must satisfy `allowed`, or be "%" HEXDIG HEXDIG.
template <typename Predicate>
bool is_percent_encoded(std::string_view text, Predicate allowed)
{
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%') {
            if (i + 2 >= text.size() || !is_hex_digit(text[i + 1])
                || !is_hex_digit(text[i + 2]))
                return false;
            i += 2;
        } else if (!allowed(text[i])) {
            return false;
        }
    }
    return true;
}

// pchar, "/" or "?": what paths and queries are made of (RFC 3986 §3.3, §3.4).
bool is_path_and_query(std::string_view text)
{
    return is_percent_encoded(text, [](char c) {
        return is_unreserved_or_sub_delim(c) || c == ':' || c == '@' || c == '/'
            || c == '?';
    });
}

bool is_ipv6_address(const std::string& text)
{
    in6_addr address{};
    return text.find('\0') == std::string::npos  // where C sees the end
        && inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

// --- Small pieces -----------------------------------------------------------

std::string_view trim_blanks(std::string_view text)
{
    while (!text.empty() && is_blank(text.front()))
        text.remove_prefix(1);
    while (!text.empty() && is_blank(text.back()))
        text.remove_suffix(1);
    return text;
}

// Cuts one line off the front of `text`; HeadScanner has seen its CRLF.
std::string_view take_line(std::string_view& text)
{
    const std::size_t end = text.find("\r\n");
    if (end == std::string_view::npos)
        throw malformed("a line does not end in CRLF");
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 2);
    return line;
}

Version parse_version(std::string_view text)
{
    if (text == "HTTP/1.1")
        return Version::http_1_1;
    if (text == "HTTP/1.0")
        return Version::http_1_0;
    if (text.size() == 8 && text.starts_with("HTTP/") && is_digit(text[5])
        && text[6] == '.' && is_digit(text[7]) && text[5] > '1')
        throw MessageError{Problem::version_not_supported,
            std::string{text} + ": this proxy speaks HTTP/1.1 and HTTP/1.0"};
    throw malformed("the HTTP version is neither HTTP/1.1 nor HTTP/1.0");
}

// field-line = field-name ":" OWS field-value OWS (RFC 9112 §5)
FieldLine parse_field_line(std::string_view line)
{
    if (is_blank(line.front()))
        throw malformed("a field line is folded (obs-fold) or indented");
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos)
        throw malformed("a field line has no colon");
    const std::string_view name = line.substr(0, colon);
    if (!is_token(name))
        throw malformed("a field name is empty or not a token");
    const std::string_view value = trim_blanks(line.substr(colon + 1));
    if (!std::all_of(value.begin(), value.end(), is_field_value_char))
        throw malformed("a field value contains a control character");
    return {std::string{name}, std::string{value}};
}

// Gateways that pass fields on as environment variables turn "-" into "_", some
// of them everything but letters and digits, and so read Content_Length as
// Content-Length: a second opinion on where the body ends.  No honest sender
// uses these names, so they are refused, not dropped.
bool imitates_framing_field(const std::string& name)
{
    std::string imitated = name;
    for (char& c : imitated)
        if (!is_alpha(c) && !is_digit(c))
            c = '-';
    return imitated != name
        && (equal_ignoring_case(imitated, "Content-Length")
            || equal_ignoring_case(imitated, "Transfer-Encoding"));
}

std::size_t count(const Fields& fields, std::string_view name)
{
    return static_cast<std::size_t>(std::count_if(
        fields.begin(), fields.end(), [&](const FieldLine& field) {
            return equal_ignoring_case(field.name, name);
        }));
}

// uri-host = IP-literal / IPv4address / reg-name (RFC 3986 §3.2.2).  Future IP
// versions and zone identifiers have no use here.
void check_host(std::string_view host, bool in_brackets)
{
    const bool valid = in_brackets
        ? is_ipv6_address(std::string{host})
        : !host.empty() && is_percent_encoded(host, is_unreserved_or_sub_delim);
    if (!valid)
        throw malformed("the host name is empty or not a valid one");
}

void check_port(std::string_view port)
{
    const auto number = parse_digits(port);
    if (!number || *number < 1 || *number > 65535)
        throw malformed("the port is not a number from 1 to 65535");
}

// uri-host [ ":" port ], without user information: it is a relic that serves
// to deceive (RFC 9110 §4.2.4).  The port is empty where none is written.
Authority parse_authority(std::string_view text)
{
    if (text.find('@') != std::string_view::npos)
        throw malformed("the request target contains user information");
    const bool in_brackets = text.starts_with('[');
    const std::size_t host_end
        = in_brackets ? text.find(']') : std::min(text.find(':'), text.size());
    if (host_end == std::string_view::npos)
        throw malformed("the IPv6 address has no closing bracket");

    const std::string_view host
        = text.substr(in_brackets, host_end - in_brackets);
    std::string_view rest = text.substr(host_end + in_brackets);
    check_host(host, in_brackets);
    if (!rest.empty() && rest.front() != ':')
        throw malformed("something stands between the host and the port");
    rest.remove_prefix(rest.empty() ? 0 : 1);
    if (!rest.empty())
        check_port(rest);
    return {std::string{host}, std::string{rest}};
}

// RFC 9112 §3.2: exactly one valid Host in HTTP/1.1, at most one in HTTP/1.0.
// It may be empty; the request target is what counts for a proxy (§3.2.2).
void check_host_field(const RequestHead& request)
{
    const std::size_t hosts = count(request.fields, "Host");
    if (hosts > 1)
        throw malformed("the request has more than one Host field");
    if (hosts == 0 && request.version == Version::http_1_1)
        throw malformed("an HTTP/1.1 request needs a Host field");
    const auto value = combined_value(request.fields, "Host");
    if (value && !value->empty())
        parse_authority(*value);
}

// Content-Length = 1*DIGIT (RFC 9110 §8.6).  A repeated value is refused even
// where all are equal: §8.6 allows it, but nothing that counts sends it.
std::uint64_t parse_content_length(const Fields& fields)
{
    const auto value = combined_value(fields, "Content-Length");
    const auto length = parse_digits(*value);
    if (!length || count(fields, "Content-Length") > 1)
        throw malformed("Content-Length is not one decimal number");
    return *length;
}

// "chunked" and nothing else.  RFC 9112 §6.1 wants 501 for a coding that we do
// not know; without chunked at its end such a body has no certain end at all.
void check_transfer_encoding(const Fields& fields, Version version)
{
    if (version == Version::http_1_0)
        throw malformed("Transfer-Encoding in an HTTP/1.0 message");
    if (count(fields, "Content-Length") > 0)
        throw malformed("both Transfer-Encoding and Content-Length");
    const auto value = combined_value(fields, "Transfer-Encoding");
    if (equal_ignoring_case(*value, "chunked"))
        return;
    const auto codings = list_members(*value);
    if (codings.size() > 1 && equal_ignoring_case(codings.back(), "chunked")
        && !equal_ignoring_case(codings.front(), "chunked"))
        throw MessageError{Problem::coding_not_supported,
            "this proxy knows no transfer coding but chunked"};
    throw malformed("Transfer-Encoding is not exactly \"chunked\"");
}

}  // namespace

// from_chars() alone would stop at the first stray byte and call it a success.
std::optional<std::uint64_t> parse_digits(std::string_view text, int base)
{
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [stopped_at, error]
        = std::from_chars(text.data(), end, number, base);
    if (error != std::errc{} || stopped_at != end)
        return std::nullopt;
    return number;
}

// --- Heads ------------------------------------------------------------------

std::optional<std::size_t> HeadScanner::find_end(std::string_view bytes)
{
    if (bytes.starts_with("\x16\x03"))  // a handshake record of TLS 1.x
        throw MessageError{Problem::looks_like_tls,
            "these bytes are TLS (a ClientHello, it seems), not HTTP"};
    for (; scanned_ < bytes.size(); ++scanned_) {
        const std::size_t length = scanned_ - line_start_ + 1;
        if (lines_ == 0 && length > max_start_line)
            throw MessageError{Problem::target_too_long,
                "the first line is longer than "
                    + std::to_string(max_start_line) + " bytes"};
        if (scanned_ >= max_head || lines_ > max_field_lines + 1)
            throw MessageError{Problem::head_too_large,
                "the head is larger than " + std::to_string(max_head)
                    + " bytes or " + std::to_string(max_field_lines)
                    + " field lines"};
        if (bytes[scanned_] != '\n')
            continue;
        if (length == 1 || bytes[scanned_ - 1] != '\r')
            throw malformed("a line ends in LF alone instead of CRLF");
        const bool is_leading_empty_line = scanned_ == 1;
        line_start_ = scanned_ + 1;
        lines_ += !is_leading_empty_line;
        if (length == 2 && !is_leading_empty_line)
            return ++scanned_;
    }
    return std::nullopt;
}

Fields parse_field_lines(std::string_view lines)
{
    Fields fields;
    while (!lines.empty()) {
        const std::string_view line = take_line(lines);
        if (line.empty())
            break;
        fields.push_back(parse_field_line(line));
        if (imitates_framing_field(fields.back().name))
            throw malformed(
                "the field name " + fields.back().name + " imitates framing");
    }
    if (!lines.empty())
        throw malformed("bytes behind the empty line");
    return fields;
}

// request-line = method SP request-target SP HTTP-version (RFC 9112 §3)
RequestHead parse_request_head(std::string_view head)
{
    if (head.starts_with("\r\n"))  // tolerated once (RFC 9112 §2.2)
        head.remove_prefix(2);
    const std::string_view line = take_line(head);
    const std::size_t first = line.find(' ');
    const std::size_t last = line.rfind(' ');
    if (first == std::string_view::npos || first == last)
        throw malformed("the request line is not \"method target version\"");

    RequestHead request;
    request.method = line.substr(0, first);
    request.target = line.substr(first + 1, last - first - 1);
    if (!is_token(request.method))
        throw malformed("the method is not a token");
    if (request.target.empty()
        || !std::all_of(request.target.begin(), request.target.end(),
            [](char c) { return c > ' ' && c < '\x7f'; }))
        throw malformed("the request target contains a space, a control "
                        "character or a byte outside ASCII");
    request.version = parse_version(line.substr(last + 1));
    request.fields = parse_field_lines(head);
    check_host_field(request);
    return request;
}

// status-line = HTTP-version SP status-code SP [ reason-phrase ] (RFC 9112 §4)
ResponseHead parse_response_head(std::string_view head)
{
    const std::string_view line = take_line(head);
    ResponseHead response;
    response.version = parse_version(line.substr(0, line.find(' ')));

    // "HTTP/1.1 200 OK": the blank behind the status code may be missing when
    // no reason follows.  Many servers do that, and it can mean one thing only.
    const std::string_view rest
        = line.substr(std::min<std::size_t>(9, line.size()));
    const auto status = parse_digits(rest.substr(0, 3));
    if (!status || rest.size() < 3 || *status < 100 || *status > 599
        || (rest.size() > 3 && rest[3] != ' '))
        throw malformed("the status code is not a number from 100 to 599");
    response.status = static_cast<int>(*status);
    response.reason = rest.substr(std::min<std::size_t>(4, rest.size()));
    if (!std::all_of(response.reason.begin(), response.reason.end(),
            is_field_value_char))
        throw malformed("the reason phrase contains a control character");
    response.fields = parse_field_lines(head);
    return response;
}

std::string_view to_string(Version version) noexcept
{
    return version == Version::http_1_1 ? "HTTP/1.1" : "HTTP/1.0";
}

std::string to_string(const Fields& fields)
{
    std::string text;
    for (const FieldLine& field : fields)
        text.append(field.name).append(": ").append(field.value).append("\r\n");
    return text;
}

std::string to_string(const RequestHead& head)
{
    std::string text;
    text.append(head.method).append(" ").append(head.target).append(" ");
    text.append(to_string(head.version)).append("\r\n");
    return text.append(to_string(head.fields)).append("\r\n");
}

std::string to_string(const ResponseHead& head)
{
    std::string text{to_string(head.version)};
    text.append(" ").append(std::to_string(head.status)).append(" ");
    text.append(head.reason).append("\r\n");
    return text.append(to_string(head.fields)).append("\r\n");
}

// --- Field values -----------------------------------------------------------

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept
{
    return std::equal(
        a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
            const auto lower = [](char c) {
                return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
            };
            return lower(x) == lower(y);
        });
}

bool is_token(std::string_view text) noexcept
{
    return !text.empty()
        && std::all_of(text.begin(), text.end(), is_token_char);
}

std::optional<std::string> combined_value(
    const Fields& fields, std::string_view name)
{
    std::optional<std::string> combined;
    for (const FieldLine& field : fields) {
        if (!equal_ignoring_case(field.name, name))
            continue;
        if (combined)
            combined->append(", ").append(field.value);
        else
            combined = field.value;
    }
    return combined;
}

std::vector<std::string_view> list_members(std::string_view value)
{
    std::vector<std::string_view> members;
    while (!value.empty()) {
        const std::size_t comma = std::min(value.find(','), value.size());
        const auto member = trim_blanks(value.substr(0, comma));
        if (!member.empty())
            members.push_back(member);
        value.remove_prefix(std::min(comma + 1, value.size()));
    }
    return members;
}

bool has_token(
    const Fields& fields, std::string_view name, std::string_view token)
{
    const auto value = combined_value(fields, name);
    if (!value)
        return false;
    const auto members = list_members(*value);
    return std::any_of(
        members.begin(), members.end(), [&](std::string_view member) {
            return equal_ignoring_case(member, token);
        });
}

// --- Request targets --------------------------------------------------------

std::string to_string(const Authority& authority)
{
    const bool is_ipv6 = authority.host.find(':') != std::string::npos;
    const std::string host
        = is_ipv6 ? "[" + authority.host + "]" : authority.host;
    return authority.port.empty() ? host : host + ":" + authority.port;
}

Authority parse_authority_form(std::string_view target)
{
    Authority authority = parse_authority(target);
    if (authority.port.empty())
        throw malformed("CONNECT needs host:port, and this target has no port");
    return authority;
}

HttpTarget parse_absolute_form(std::string_view target, std::string_view method)
{
    if (target.starts_with('/') || target == "*")
        throw MessageError{Problem::not_for_a_proxy,
            "the request target is not a whole URI, so this request was meant "
            "for a server"};
    const std::size_t scheme_end = target.find("://");
    const std::string_view scheme = target.substr(0, scheme_end);
    if (scheme_end == std::string_view::npos)
        throw malformed("the request target is not an absolute URI");
    if (equal_ignoring_case(scheme, "https"))
        throw MessageError{Problem::needs_connect,
            "an https URI goes through a tunnel: use CONNECT"};
    if (!equal_ignoring_case(scheme, "http"))
        throw malformed("the URI scheme is not http");

    const std::string_view rest = target.substr(scheme_end + 3);
    const std::size_t authority_end
        = std::min(rest.find_first_of("/?"), rest.size());
    const std::string_view path = rest.substr(authority_end);
    if (!is_path_and_query(path))
        throw malformed("the path or query is not one that RFC 3986 allows");

    Authority authority = parse_authority(rest.substr(0, authority_end));
    HttpTarget result;
    result.host_field = to_string(authority);
    result.origin_form = path;
    if (path.empty() && method == "OPTIONS")
        result.origin_form = "*";
    else if (!path.starts_with('/'))
        result.origin_form.insert(0, "/");
    if (authority.port.empty())
        authority.port = "80";
    result.authority = std::move(authority);
    return result;
}

// --- Bodies -----------------------------------------------------------------

BodyFraming request_framing(const RequestHead& request)
{
    using enum BodyFraming::Kind;

    // Rules 3, 4 and 5: what a sender could mean in two ways is refused.
    if (count(request.fields, "Transfer-Encoding") > 0) {
        check_transfer_encoding(request.fields, request.version);
        return {chunked};
    }
    // Rule 6.
    if (count(request.fields, "Content-Length") > 0) {
        const std::uint64_t length = parse_content_length(request.fields);
        return {length > 0 ? BodyFraming::Kind::length : none, length};
    }
    // Rule 7: a request without either has no body.
    return {none};
}

BodyFraming response_framing(
    std::string_view request_method, const ResponseHead& response)
{
    using enum BodyFraming::Kind;

    // Rule 1: these have no body, whatever their fields say.
    if (request_method == "HEAD" || response.is_interim()
        || response.status == 204 || response.status == 304)
        return {none};

    // Rule 2 is about CONNECT: see tunnel.cpp.

    // Rules 3 and 4, where we are stricter than rule 4: a coding other than
    // chunked would have to be passed on to a client that did not ask for it.
    if (count(response.fields, "Transfer-Encoding") > 0) {
        check_transfer_encoding(response.fields, response.version);
        return {chunked};
    }
    // Rules 5 and 6.
    if (count(response.fields, "Content-Length") > 0)
        return {length, parse_content_length(response.fields)};

    // Rule 8: no declared length, so the close is the end.
    return {until_close};
}

namespace {

// Cuts a token or a quoted string off the front; false if there is neither.
bool skip_token_or_quoted_string(std::string_view& text)
{
    if (!text.starts_with('"')) {
        const auto* const end
            = std::find_if_not(text.begin(), text.end(), is_token_char);
        const auto length = static_cast<std::size_t>(end - text.begin());
        text.remove_prefix(length);
        return length > 0;
    }
    for (std::size_t i = 1; i < text.size(); ++i) {
        if (text[i] == '"') {
            text.remove_prefix(i + 1);
            return true;
        }
        if (text[i] == '\\')
            ++i;  // quoted-pair (RFC 9110 §5.6.4)
    }
    return false;
}

// *( BWS ";" BWS name [ BWS "=" BWS value ] ), and blanks at the end, which
// some senders pad the size with.
bool is_chunk_extension(std::string_view text)
{
    if (!std::all_of(text.begin(), text.end(), is_field_value_char))
        return false;
    text = trim_blanks(text);
    while (!text.empty()) {
        if (text.front() != ';')
            return false;
        text = trim_blanks(text.substr(1));
        if (text.starts_with('"') || !skip_token_or_quoted_string(text))
            return false;
        text = trim_blanks(text);
        if (!text.starts_with('='))
            continue;
        text = trim_blanks(text.substr(1));
        if (!skip_token_or_quoted_string(text))
            return false;
        text = trim_blanks(text);
    }
    return true;
}

}  // namespace

// Extensions are for this hop alone, and we know none: they are checked and
// dropped (RFC 9112 §7.1.1).
std::uint64_t parse_chunk_size(std::string_view line)
{
    const auto* const hex_end
        = std::find_if_not(line.begin(), line.end(), is_hex_digit);
    const auto digits = static_cast<std::size_t>(hex_end - line.begin());
    const auto size = parse_digits(line.substr(0, digits), 16);
    if (!size)
        throw malformed("a chunk size is not a hexadecimal number of 64 bits");
    if (!is_chunk_extension(line.substr(digits)))
        throw malformed("a chunk size is followed by something else than "
                        "chunk extensions");
    return *size;
}

namespace {

constexpr std::size_t max_chunk_size_line = 4096;

bool may_stand_in_trailer(const FieldLine& field)
{
    constexpr std::string_view forbidden[]{"Transfer-Encoding",
        "Content-Length", "Host", "Connection", "Trailer", "TE", "Upgrade",
        "Proxy-Authorization", "Proxy-Authenticate"};
    return std::none_of(
        std::begin(forbidden), std::end(forbidden), [&](std::string_view name) {
            return equal_ignoring_case(field.name, name);
        });
}

}  // namespace

ChunkedDecoder::Result ChunkedDecoder::decode(std::span<char> bytes)
{
    Result result{0, 0};
    while (result.consumed < bytes.size() && !finished()) {
        if (state_ != State::data) {
            take_line_byte(bytes[result.consumed++]);
            continue;
        }
        const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(
            remaining_, bytes.size() - result.consumed));
        std::copy_n(
            bytes.begin() + static_cast<std::ptrdiff_t>(result.consumed), piece,
            bytes.begin() + static_cast<std::ptrdiff_t>(result.data));
        result.data += piece;
        result.consumed += piece;
        remaining_ -= piece;
        if (remaining_ == 0)
            state_ = State::data_end;
    }
    return result;
}

void ChunkedDecoder::take_line_byte(char byte)
{
    line_ += byte;
    if (byte == '\n') {
        if (!line_.ends_with("\r\n"))
            throw malformed("a line in a chunked body ends in LF alone");
        end_of_line();
    } else if (state_ == State::data_end && line_ != "\r") {
        throw malformed("a chunk is longer than its size says");
    } else if (line_.size()
        > (state_ == State::trailer ? max_head : max_chunk_size_line)) {
        throw malformed("a chunk-size line or the trailer section is too long");
    }
}

void ChunkedDecoder::end_of_line()
{
    if (state_ == State::trailer) {
        if (line_ != "\r\n" && !line_.ends_with("\r\n\r\n"))
            return;  // one line of several
        trailer_ = parse_field_lines(line_);
        if (!std::all_of(
                trailer_.begin(), trailer_.end(), may_stand_in_trailer))
            throw malformed("the trailer section has a field that belongs in "
                            "the head");
        state_ = State::finished;
    } else if (state_ == State::data_end) {
        state_ = State::size_line;
    } else {
        remaining_ = parse_chunk_size({line_.data(), line_.size() - 2});
        state_ = remaining_ == 0 ? State::trailer : State::data;
    }
    line_.clear();
}

#include "message.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace {

// --- Small pieces -----------------------------------------------------------

char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

// Written out, because isalnum() asks the locale.
bool is_alphanumeric(char c)
{
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9');
}

// Whether all of the text is letters, digits and these marks, and not empty.
bool consists_of_alphanumerics_and(
    std::string_view marks, std::string_view text)
{
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
        return is_alphanumeric(c) || marks.find(c) != std::string_view::npos;
    });
}

// Any byte but controls, space and DEL.  RFC 3986 allows less, but browsers and
// curl send "|", "[" and UTF-8 as their user typed them, and servers read them.
bool has_only_target_bytes(std::string_view text)
{
    return !has_control(text)
        && text.find_first_of(" \t") == std::string_view::npos;
}

// Cuts one line off the front of `text`; HeadLines has seen its CRLF.
std::string_view take_line(std::string_view& text)
{
    const std::size_t end = text.find("\r\n");
    refuse_if(end == std::string_view::npos, "a line does not end in CRLF");
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
    if (text.size() == 8 && text.starts_with("HTTP/") && text[6] == '.'
        && parse_digits(text.substr(5, 1)).value_or(0) > 1
        && parse_digits(text.substr(7)))
        throw MessageError{error::version_not_supported,
            std::string{text} + ": this proxy speaks HTTP/1.1 and HTTP/1.0"};
    throw MessageError{"the HTTP version is neither HTTP/1.1 nor HTTP/1.0"};
}

// field-line = field-name ":" OWS field-value OWS (RFC 9112 §5)
FieldLine parse_field_line(std::string_view line)
{
    refuse_if(line.front() == ' ' || line.front() == '\t',
        "a field line is folded (obs-fold) or indented");
    const std::size_t colon = line.find(':');
    refuse_if(colon == std::string_view::npos, "a field line has no colon");
    const std::string_view name = line.substr(0, colon);
    refuse_if(!is_token(name), "a field name is empty or not a token");
    const std::string_view value = trim_blanks(line.substr(colon + 1));
    refuse_if(has_control(value), "a field value contains a control character");
    return {std::string{name}, std::string{value}};
}

// Gateways that pass fields on as environment variables turn "-" into "_", some
// of them everything but letters and digits, and so read Content_Length as
// Content-Length: they could find another end of the body.  Conforming senders
// do not use these names, so they are refused, not dropped.
bool imitates_framing_field(const std::string& name)
{
    std::string imitated = name;
    std::replace_if(
        imitated.begin(), imitated.end(),
        [](char c) { return !is_alphanumeric(c); }, '-');
    return imitated != name
        && is_one_of(imitated, "Content-Length", "Transfer-Encoding");
}

// RFC 9112 §3.2: exactly one valid Host in HTTP/1.1, at most one in HTTP/1.0.
// It may be empty; the request target is what counts for a proxy (§3.2.2).
void check_host_field(const RequestHead& request)
{
    const std::size_t hosts = count(request.fields, "Host");
    refuse_if(hosts > 1, "the request has more than one Host field");
    refuse_if(hosts == 0 && request.version == Version::http_1_1,
        "an HTTP/1.1 request needs a Host field");
    const auto value = combined_value(request.fields, "Host");
    if (value && !value->empty())
        parse_authority(*value);
}

// Each option is compared with each field name (RFC 9110 §7.6.1): 30,000 of
// them, as many as a head can hold, would cost milliseconds for each head.
// Empty members count, too.
void check_connection_options(const Fields& fields)
{
    const auto options = combined_value(fields, "Connection").value_or("");
    if (std::count(options.begin(), options.end(), ',')
        >= max_connection_options)
        throw MessageError{error::head_too_large,
            "Connection lists more than "
                + std::to_string(max_connection_options) + " options"};
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

void check_first_bytes(std::string_view bytes)
{
    if (bytes.starts_with("\x16\x03"))  // a handshake record of TLS 1.x
        throw MessageError{error::tls_to_plain_port,
            "these bytes are TLS (a ClientHello, it seems), not HTTP"};
}

std::size_t HeadLines::limit() const noexcept
{
    const std::size_t left = max_head + 1 - std::min(size_, max_head);
    return what_ == Of::head && lines_ == 0 ? std::min(left, max_start_line + 1)
                                            : left;
}

bool HeadLines::add(std::string_view line)
{
    // lines_ counts the start line, which a trailer section has not
    const std::size_t max_lines = max_field_lines + (what_ == Of::head);
    size_ += line.size();
    if (what_ == Of::head && lines_ == 0 && line.size() > max_start_line)
        throw MessageError{error::target_too_long,
            "the first line is longer than " + std::to_string(max_start_line)
                + " bytes"};
    if (size_ > max_head || lines_ > max_lines)
        throw MessageError{error::head_too_large,
            "more than " + std::to_string(max_head) + " bytes or "
                + std::to_string(max_field_lines) + " field lines"};
    if (!line.ends_with('\n'))
        throw MessageError{error::request_cut_short,
            "the connection ended in the middle of a message head"};
    refuse_if(
        !line.ends_with("\r\n"), "a line ends in LF alone instead of CRLF");
    const bool is_empty = line.size() == 2;
    const bool is_leading
        = what_ == Of::head && lines_ == 0 && size_ == line.size();
    lines_ += !(is_empty && is_leading);
    return is_empty && !is_leading;
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
            throw MessageError{
                "the field name " + fields.back().name + " imitates framing"};
    }
    refuse_if(!lines.empty(), "bytes after the empty line");
    check_connection_options(fields);
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
    refuse_if(first == std::string_view::npos || first == last,
        "the request line is not \"method target version\"");

    RequestHead request;
    request.method = line.substr(0, first);
    request.target = line.substr(first + 1, last - first - 1);
    refuse_if(!is_token(request.method), "the method is not a token");
    refuse_if(request.target.empty() || !has_only_target_bytes(request.target),
        "the request target contains a space or a control character");
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

    // "HTTP/1.1 200 OK": the space after the status code may be missing when
    // no reason follows.  Many servers do that, and it can mean one thing only.
    const std::string_view rest
        = line.substr(std::min<std::size_t>(9, line.size()));
    const auto status = parse_digits(rest.substr(0, 3));
    refuse_if(!status || rest.size() < 3 || *status < 100 || *status > 599
            || (rest.size() > 3 && rest[3] != ' '),
        "the status code is not a number from 100 to 599");
    response.status = static_cast<int>(*status);
    response.reason = rest.substr(std::min<std::size_t>(4, rest.size()));
    refuse_if(has_control(response.reason),
        "the reason phrase contains a control character");
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
    return head.method + " " + head.target + " "
        + std::string{to_string(head.version)} + "\r\n" + to_string(head.fields)
        + "\r\n";
}

std::string to_string(const ResponseHead& head)
{
    return std::string{to_string(head.version)} + " "
        + std::to_string(head.status) + " " + head.reason + "\r\n"
        + to_string(head.fields) + "\r\n";
}

// --- Field values -----------------------------------------------------------

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept
{
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
        [](char x, char y) { return lower(x) == lower(y); });
}

bool is_token(std::string_view text) noexcept
{
    return consists_of_alphanumerics_and("!#$%&'*+-.^_`|~", text);
}

bool has_control(std::string_view text) noexcept
{
    return std::any_of(text.begin(), text.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return (byte < 0x20 && c != '\t') || byte == 0x7f;
    });
}

std::string_view trim_blanks(std::string_view text) noexcept
{
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    return text.substr(0, text.find_last_not_of(" \t") + 1);
}

std::size_t count(const Fields& fields, std::string_view name) noexcept
{
    return static_cast<std::size_t>(std::count_if(
        fields.begin(), fields.end(), [&](const FieldLine& field) {
            return equal_ignoring_case(field.name, name);
        }));
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
    const std::string value = combined_value(fields, name).value_or("");
    for (const std::string_view member : list_members(value))
        if (equal_ignoring_case(member, token))
            return true;
    return false;
}

// --- Request targets --------------------------------------------------------

std::optional<IpAddress> parse_ip_address(std::string_view text)
{
    const bool is_ipv6 = text.find(':') != std::string_view::npos;
    const std::string digits{is_ipv6 ? text.substr(0, text.find('%')) : text};
    if (digits.find('\0') != std::string::npos)  // where inet_pton would stop
        return std::nullopt;
    IpAddress address{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const int result = is_ipv6
        ? ::inet_pton(AF_INET6, digits.c_str(), address.data())
        : ::inet_pton(AF_INET, digits.c_str(), address.data() + 12);
    return result == 1 ? std::optional{address} : std::nullopt;
}

namespace {

// uri-host = IP-literal / IPv4address / reg-name (RFC 3986 §3.2.2).  Future IP
// versions and zone identifiers have no use here, and of reg-names only host
// names: letters, digits, hyphen and dot (RFC 1123 §2.1), and the underscore
// that some have.  getaddrinfo() reads "*" as no name, which is this machine.
bool is_host(std::string_view text, bool in_brackets)
{
    if (!in_brackets)
        return consists_of_alphanumerics_and("-._", text);
    return text.find('%') == std::string_view::npos
        && text.find(':') != std::string_view::npos && parse_ip_address(text);
}

}  // namespace

// uri-host [ ":" port ], without user information: it is a relic that serves
// to deceive (RFC 9110 §4.2.4).  The port is empty where none is written.
Authority parse_authority(std::string_view text)
{
    refuse_if(text.find('@') != std::string_view::npos,
        "the request target contains user information");
    const bool in_brackets = text.starts_with('[');
    const std::size_t host_end
        = in_brackets ? text.find(']') : std::min(text.find(':'), text.size());
    refuse_if(host_end == std::string_view::npos,
        "the IPv6 address has no closing bracket");

    const std::string_view host
        = text.substr(in_brackets, host_end - in_brackets);
    const std::string_view rest = text.substr(host_end + in_brackets);
    refuse_if(!is_host(host, in_brackets),
        "the host name is empty or not a valid one");
    refuse_if(!rest.empty() && rest.front() != ':',
        "the host is not followed by a colon and a port");
    const std::string_view port = rest.substr(rest.empty() ? 0 : 1);
    const auto number = parse_digits(port);
    refuse_if(!port.empty() && (!number || *number < 1 || *number > 65535),
        "the port is not a number from 1 to 65535");
    return {std::string{host}, number ? std::to_string(*number) : ""};
}

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
    refuse_if(authority.port.empty(),
        "CONNECT needs host:port, and this target has no port");
    return authority;
}

HttpTarget parse_absolute_form(std::string_view target, std::string_view method)
{
    if (target.starts_with('/') || target == "*")
        throw MessageError{error::not_for_a_proxy,
            "the request target is not a whole URI, so this request was meant "
            "for a server"};
    const std::size_t scheme_end = target.find("://");
    const std::string_view scheme = target.substr(0, scheme_end);
    refuse_if(scheme_end == std::string_view::npos,
        "the request target is not an absolute URI");
    if (equal_ignoring_case(scheme, "https"))
        throw MessageError{error::use_connect,
            "an https URI goes through a tunnel: use CONNECT"};
    refuse_if(
        !equal_ignoring_case(scheme, "http"), "the URI scheme is not http");

    const std::string_view rest = target.substr(scheme_end + 3);
    const std::size_t authority_end
        = std::min(rest.find_first_of("/?"), rest.size());
    const std::string_view path = rest.substr(authority_end);
    refuse_if(!has_only_target_bytes(path)
            || path.find('#') != std::string_view::npos,
        "the path or query contains a space, a control "
        "character or a fragment");

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

void make_origin_form(RequestHead& request)
{
    HttpTarget target = parse_absolute_form(request.target, request.method);
    request.target = std::move(target.origin_form);
    std::erase_if(request.fields, [](const FieldLine& field) {
        return equal_ignoring_case(field.name, "Host");
    });
    request.fields.push_back({"Host", std::move(target.host_field)});
}

// --- What must not be shown -------------------------------------------------

bool is_secret(std::string_view field_name) noexcept
{
    return is_one_of(field_name, "Authorization", "Proxy-Authorization",
        "Cookie", "Set-Cookie");
}

std::string value_without_secrets(const FieldLine& field)
{
    if (is_one_of(field.name, "Location", "Content-Location", "Referer"))
        return without_userinfo(field.value);
    if (!is_secret(field.name))
        return field.value;
    // After any other word the secret itself may begin.
    std::string scheme = field.value.substr(0, field.value.find(' ') + 1);
    if (!is_one_of(
            scheme, "Basic ", "Bearer ", "Digest ", "Negotiate ", "NTLM "))
        scheme.clear();
    return scheme + "(not shown)";
}

// An invalid head has no reliable fields: if it has a word that goes with
// secrets, all of it is hidden.  Other bytes may stand within the word.
std::string head_without_secrets(std::string_view head)
{
    std::string kept;
    for (const char c : head)
        if (is_alphanumeric(c) || c == '@')
            kept += lower(c);
    for (const char* const word : {"authorization", "cookie", "@"})
        if (kept.find(word) != std::string::npos)
            return "(not shown, because it may hold credentials)";
    return std::string{head};
}

namespace {

bool is_authority(std::string_view text, bool needs_port)
try {
    return !parse_authority(text).port.empty() || !needs_port;
} catch (const MessageError&) {
    return false;
}

}  // namespace

// User information ends at the last "@" of the authority.  Where no host would
// follow, a password with a "/" may have been split: then at the last "@" of
// all.
std::string without_userinfo(std::string_view target)
{
    // Where the authority begins, in a target of any form, well-formed or not.
    const std::size_t scheme_end
        = std::min(target.find_first_of(":/?#@"), target.size());
    std::size_t start = target.starts_with("//") ? 2 : 0;
    if (target.substr(scheme_end).starts_with("://"))
        start = scheme_end + 3;
    if (start == 0 && target.starts_with('/'))
        return std::string{target};  // origin-form
    const std::string_view rest = target.substr(start);
    const std::string_view authority
        = rest.substr(0, rest.find_first_of("/?#"));
    std::size_t at = authority.rfind('@');
    if (!is_authority(authority.substr(at + 1), start == 0))  // npos + 1 is 0
        at = rest.rfind('@');
    if (at == std::string_view::npos)
        return std::string{target};
    std::string shown{target.substr(0, start)};
    return shown.append("***").append(rest.substr(at));
}

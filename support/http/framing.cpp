#include "framing.h"

#include <algorithm>
#include <optional>

#include "forwarding.h"

namespace {

// Content-Length = 1*DIGIT (RFC 9110 §8.6).  A repeated value is refused even
// where all are equal: §8.6 allows it, but conforming programs do not send it.
std::uint64_t parse_content_length(const Fields& fields)
{
    const auto value = combined_value(fields, "Content-Length");
    const auto length = parse_digits(*value);
    refuse_if(!length || count(fields, "Content-Length") > 1,
        "Content-Length is not one decimal number");
    return *length;
}

// "chunked" and nothing else.  RFC 9112 §6.1 wants 501 for a coding that we do
// not know; without chunked at its end such a body has no certain end at all.
// Rule 4 would let a response end with its connection then, but a client that
// did not ask for the coding would get it.
void check_transfer_encoding(const Fields& fields, Version version)
{
    refuse_if(version == Version::http_1_0,
        "Transfer-Encoding in an HTTP/1.0 message");
    refuse_if(count(fields, "Content-Length") > 0,
        "both Transfer-Encoding and Content-Length");
    const auto value = combined_value(fields, "Transfer-Encoding");
    if (equal_ignoring_case(*value, "chunked"))
        return;
    const auto codings = list_members(*value);
    if (codings.size() > 1 && equal_ignoring_case(codings.back(), "chunked")
        && !equal_ignoring_case(codings.front(), "chunked"))
        throw MessageError{error::coding_not_supported,
            "this proxy knows no transfer coding but chunked"};
    throw MessageError{"Transfer-Encoding is not exactly \"chunked\""};
}

// The framing that the fields declare, if they declare any.
std::optional<BodyFraming> declared_framing(const auto& head)
{
    // Rules 3 and 4: refuses fields that can be read in two ways.
    if (count(head.fields, "Transfer-Encoding") > 0) {
        check_transfer_encoding(head.fields, head.version);
        return BodyFraming{BodyFraming::Kind::chunked};
    }
    // Rules 5 and 6.
    if (count(head.fields, "Content-Length") > 0)
        return BodyFraming{
            BodyFraming::Kind::length, parse_content_length(head.fields)};
    return std::nullopt;
}

}  // namespace

BodyFraming request_framing(const RequestHead& request)
{
    // Rule 7: a request that declares no length has no body.
    const BodyFraming no_body;
    const BodyFraming declared = declared_framing(request).value_or(no_body);
    return declared == BodyFraming{BodyFraming::Kind::length, 0} ? no_body
                                                                 : declared;
}

BodyFraming response_framing(
    std::string_view request_method, const ResponseHead& response)
{
    // Rule 1: these have no body, whatever their fields say, and
    // response_to_forward() takes the fields away.
    const BodyFraming no_body;
    if (response.is_interim() || response.status == 204)
        return no_body;

    // Rule 2 is about CONNECT: see tunnel.cpp.

    // Rule 8: where no length is declared, the close is the end.
    const BodyFraming declared = declared_framing(response).value_or(
        BodyFraming{BodyFraming::Kind::until_close});

    // Rule 1 again.  Here the fields are sent on, because they tell of the body
    // that a GET would get.  So what is ambiguous about it was refused as for
    // the GET: a client that forgets rule 1 could be made to read the next
    // response as a body (RFC 9112 §11.1).
    return request_method == "HEAD" || response.status == 304 ? no_body
                                                              : declared;
}

namespace {

// Cuts a token, or a quoted string where one may be, off the front; false if
// there is neither.
bool skip_word(std::string_view& text, bool may_be_quoted)
{
    std::size_t end = std::min(text.find_first_of("=; \t"), text.size());
    bool is_word = is_token(text.substr(0, end));
    if (may_be_quoted && text.starts_with('"')) {
        for (end = 1; end < text.size() && text[end] != '"'; ++end)
            end += text[end] == '\\';  // quoted-pair (RFC 9110 §5.6.4)
        is_word = end < text.size();
        ++end;
    }
    text = trim_blanks(text.substr(std::min(end, text.size())));
    return is_word;
}

// *( BWS ";" BWS name [ BWS "=" BWS value ] ), and blanks at the end, which
// some senders pad the size with.
bool is_chunk_extension(std::string_view text)
{
    text = trim_blanks(text);
    while (text.starts_with(';')) {
        text = trim_blanks(text.substr(1));
        if (!skip_word(text, false))
            return false;
        if (!text.starts_with('='))
            continue;
        text = trim_blanks(text.substr(1));
        if (!skip_word(text, true))
            return false;
    }
    return text.empty();
}

}  // namespace

// Extensions are for this hop alone, and we know none: they are checked and
// dropped (RFC 9112 §7.1.1).
std::uint64_t parse_chunk_size(std::string_view line)
{
    if (!line.ends_with("\r\n"))
        throw MessageError{line.ends_with('\n')
                ? "a chunk-size line ends in LF alone"
                : "a chunk-size line is too long or cut short"};
    line.remove_suffix(2);
    const std::size_t end = std::min(line.find_first_of("; \t"), line.size());
    const auto size = parse_digits(line.substr(0, end), 16);
    refuse_if(!size, "a chunk size is not a hexadecimal number of 64 bits");
    refuse_if(has_control(line) || !is_chunk_extension(line.substr(end)),
        "a chunk size is followed by something other than "
        "chunk extensions");
    return *size;
}

void check_chunk_end(std::string_view line)
{
    refuse_if(line != "\r\n", "a chunk is longer than its size says");
}

void ChunkOverhead::add(std::size_t line_size, std::uint64_t data_size)
{
    constexpr std::uint64_t allowed = 16 * 1024;
    excess_ += line_size;
    excess_ -= std::min(excess_, 16 + 2 * std::min(data_size, allowed));
    refuse_if(excess_ > allowed,
        "a chunked body has more chunk extensions than data");
}

Fields parse_trailer(std::string_view lines)
{
    Fields trailer = parse_field_lines(lines);
    for (const FieldLine& field : trailer)
        refuse_if(is_hop_by_hop(field.name)
                || is_one_of(
                    field.name, "Transfer-Encoding", "Content-Length", "Host"),
            "the trailer section has a field that belongs in the head");
    return trailer;
}

void check_chunks(std::string_view bytes)
{
    ChunkOverhead overhead;
    for (;;) {
        const std::size_t line_size
            = std::min(bytes.find('\n'), max_chunk_size_line - 1) + 1;
        if (bytes.size() < line_size)
            return;
        const std::uint64_t size = parse_chunk_size(bytes.substr(0, line_size));
        overhead.add(line_size, size);
        bytes.remove_prefix(line_size);
        if (size == 0)
            break;
        if (bytes.size() <= size)
            return;
        const std::string_view end = bytes.substr(size, 2);
        if (end == "\r")
            return;
        check_chunk_end(end);
        bytes.remove_prefix(size + end.size());
    }
    if (const std::size_t end = bytes.find("\r\n\r\n");
        end != std::string_view::npos && !bytes.starts_with("\r\n"))
        parse_trailer(bytes.substr(0, end + 4));
}

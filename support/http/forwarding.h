// forwarding -- what a proxy changes in the heads that it passes on.  Pure
// text.

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "message.h"

/// How a chunked body is passed on; to HTTP/1.0 clients chunks mean nothing.
enum class Delimiting { as_received, by_close };

/// Whether field lines with that name are for this connection only.
bool is_hop_by_hop(std::string_view name) noexcept;

/// The field lines of a head, or of the trailer section after it, that are sent
/// on, in their order: all but those for this connection only, which are
/// hop-by-hop or nominated by Connection in the head (RFC 9110 §7.6.1).
Fields fields_to_forward(const Fields& received, const Fields& head);

/// Whether the client asks to speak another protocol on this connection
/// (RFC 9110 §7.8).
bool wants_upgrade(const RequestHead& request);

/// The same request, which does not ask for that.
RequestHead without_upgrade(RequestHead request);

/// Checks a 101: the client has asked, and the response names the protocol,
/// which is one that the client named (RFC 9110 §7.8, §15.2.2).  Throws
/// MessageError.
void check_switch(const RequestHead& request, const ResponseHead& response);

/// How many more times an OPTIONS or TRACE request may be forwarded, if it says
/// so (RFC 9110 §7.6.2).  Throws MessageError if what it says is no number.
std::optional<std::uint64_t> max_forwards(const RequestHead& request);

/// The request in origin-form, with Host from its target, with Via, and without
/// what was meant for this hop alone (RFC 9110 §7.6.1).  `via` is our name.
RequestHead request_to_forward(
    const RequestHead& request, const HttpTarget& target, std::string_view via);

/// Why the proxy removes a field line, or adds one.
std::string why_removed(const FieldLine& field, const Fields& received);
std::string why_added(const FieldLine& field);

/// The response for the client.  `keep_open` false announces our close.
ResponseHead response_to_forward(const ResponseHead& response,
    Delimiting delimiting, bool keep_open, std::string_view via);

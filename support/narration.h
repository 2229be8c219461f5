// narration -- what the steps of a trace say of HTTP.  Each costs nothing
// unless somebody listens.

#pragma once

#include <string>

#include "copy.h"
#include "forwarding.h"
#include "http_message.h"
#include "trace.h"

// --- The words --------------------------------------------------------------

/// A head as it stands, a line for each line.  Credentials are left out, and
/// long values cut.
std::string head_in_words(const RequestHead& head);
std::string head_in_words(const ResponseHead& head);

/// The field lines that a proxy took away and put in, each with its reason.
std::string changes_in_words(const Fields& received, const Fields& forwarded);

enum class Message { request, response };

/// How long the body is, and by which rule of RFC 9112 §6.3.
std::string framing_in_words(Message message, BodyFraming framing);

// --- The steps --------------------------------------------------------------

void tell_accepted(Trace& trace, const std::string& client);

void tell_request(Trace& trace, const RequestHead& request);

/// That the credentials were right, or that none are asked for.
void tell_credentials(Trace& trace, bool asked_for);

void tell_request_sent(Trace& trace, const RequestHead& received,
    const RequestHead& forwarded, BodyFraming body);

/// A response of the server's, final or not.
void tell_response(
    Trace& trace, const ResponseHead& response, BodyFraming body);
void tell_response_sent(
    Trace& trace, const ResponseHead& received, const ResponseHead& forwarded);

/// An answer of the proxy's own.
void tell_answer(Trace& trace, std::string_view answer);

/// copy_body(), and says how long the body was.  With --show-bodies its text is
/// shown while it passes: the first 4 KiB, and no character torn.
void copy_body_and_tell(Trace& trace, Way way, Connection& from, Connection& to,
    BodyFraming framing, Delimiting delimiting,
    std::atomic<bool>* has_read_all = nullptr);

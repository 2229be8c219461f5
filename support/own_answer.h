// own_answer -- what the proxy answers on its own account, when it is asked
// itself and not for a way to somebody else.  Pure text.

#pragma once

#include <optional>
#include <string>

#include "http_message.h"

/// A whole response, which announces the close: to GET / and OPTIONS *, and to
/// an OPTIONS or TRACE that may not go further (Max-Forwards: 0, RFC 9110
/// §7.6.2).  Nothing for all else.  Throws MessageError for a bad Max-Forwards.
std::optional<std::string> own_answer(const RequestHead& request);

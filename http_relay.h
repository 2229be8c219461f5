// http_relay -- a plain HTTP request: sent on, and its response sent back.

#pragma once

#include "support/connection.h"
#include "support/http_message.h"
#include "support/options.h"
#include "support/story.h"

/// Relays one request over a fresh connection to its origin server.  True if
/// the client may send another one.  Throws Failure while the client has been
/// sent no part of the final response, and anything else after that.
bool relay(Connection& client, const RequestHead& request,
    const Options& options, Exchange& exchange);

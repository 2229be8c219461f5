// http_relay -- a plain HTTP request sent on, and its response sent back.

#pragma once

#include "support/http/message.h"
#include "support/log/exchange.h"
#include "support/net/connection.h"
#include "support/options.h"

/// Relays one request over a fresh connection to its origin server.  True if
/// the client may send another one.  What it throws can be answered while
/// exchange.status is 0: no part of the final response was sent by then.
bool relay(Connection& client, const RequestHead& request,
    const Options& options, Exchange& exchange);

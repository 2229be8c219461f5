// tunnel -- CONNECT: a connection to the origin server, and bytes both ways.

#pragma once

#include <string_view>

#include "support/http/message.h"
#include "support/log/exchange.h"
#include "support/net/connection.h"
#include "support/options.h"

/// Answers a CONNECT request and serves its tunnel to the end.  Always false:
/// the client's connection cannot be used for HTTP again.  Throws Failure, with
/// nothing sent, if no server was reached (RFC 9110 §9.3.6).
bool serve_connect(Connection& client, const RequestHead& request,
    const Options& options, Exchange& exchange);

/// Sends the client the greeting, then copies both ways until both directions
/// have ended; notes in the exchange how.  Throws system_error, with nothing
/// sent, if the second thread cannot start.
void tunnel(Connection& client, Connection& server, std::string_view greeting,
    Exchange& exchange);

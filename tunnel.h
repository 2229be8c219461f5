// tunnel -- CONNECT: a connection to the origin server, and bytes both ways.

#pragma once

#include "support/connection.h"
#include "support/http_message.h"
#include "support/options.h"
#include "support/story.h"

/// Answers a CONNECT request and serves its tunnel to the end.  False: the
/// client's connection cannot be used for HTTP again.  Throws Failure, with
/// nothing sent, if there is no server to reach.
bool serve_connect(Connection& client, const RequestHead& request,
    const Options& options, Exchange& exchange);

/// Sends the client the greeting, then copies both ways until both directions
/// have ended; adds to the exchange how.  Throws, with nothing sent, if there
/// is no thread to be had.
void tunnel(Connection& client, Connection& server, std::string_view greeting,
    Exchange& exchange);

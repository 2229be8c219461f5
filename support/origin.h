// origin -- reaches the origin server, or says in a Failure why it cannot.

#pragma once

#include "connection.h"
#include "failure.h"
#include "http_message.h"
#include "story.h"

/// A fresh connection, noted in the exchange.  Throws Failure 502 or 504.
Connection connect_to_origin(const Authority& origin, milliseconds patience,
    IdleTimer& idle, Exchange& exchange);

/// The Failure that a server's broken or silent connection amounts to.
Failure server_failure(const Connection& server, const PeerError& error);

// http_io -- HTTP on connections: reads heads, copies bodies, and turns what
// goes wrong on a connection into a failure that can be answered.

#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "http/error.h"
#include "http/forwarding.h"
#include "http/framing.h"
#include "http/message.h"
#include "log/diagnosis.h"
#include "log/exchange.h"
#include "net/connection.h"
#include "options.h"

// --- Heads ------------------------------------------------------------------

/// How long a head may take from its first byte, and what it is if it takes
/// longer.
struct HeadLimit {
    milliseconds time;
    const ErrorKind& exceeded;
};

/// Appends lines to `head` up to the empty line, checking each while it is read
/// (RFC 9112 §2.2).  Calls `wait` before each recv(2), with the time that it
/// may wait: see Wait.  False if the stream ended before the first byte.
bool read_head(Connection& from, std::string& head, HeadLimit limit,
    const std::function<bool(milliseconds)>& wait);

/// The client's next request, nothing if it closed instead.  A first request
/// has to begin within head_timeout, later ones within the idle limit; each has
/// to be complete head_timeout after that.  Throws Failure 400 to 505, or a
/// NetError if no byte of it came.
std::optional<RequestHead> read_request(
    Connection& client, milliseconds head_timeout, Exchange& exchange);

/// Sends a head, in one packet with the beginning of its body if that is in the
/// buffer of `from` already.
void write_head(Connection& to, std::string_view head, const Connection& from,
    BodyFraming body);

// --- Bodies -----------------------------------------------------------------

/// Copies one message body and nothing after it; `head` has the fields that
/// came before it.  Chunked bodies are checked, and framed anew (RFC 9112
/// §7.1).  Calls `all_read` before the last bytes are written, if the body ends
/// before the stream.  Throws Failure for a malformed or truncated body,
/// NetError for one that a reset ends.  `wait`, if any, replaces
/// from.wait_unless_gone(to).
void copy_body(
    Connection& from, Connection& to, const Fields& head, BodyFraming framing,
    Delimiting delimiting, Trace& trace,
    const std::function<void()>& all_read = [] {}, Wait wait = nullptr);

// --- Connecting, and what can go wrong --------------------------------------

/// A fresh connection, noted in the exchange.  Throws Failure 403 for an
/// address that the client may not reach, 508 for one of our listeners, 502 or
/// 504 if there is no connection, NetError if the client was reset meanwhile,
/// or what `client_finished` throws when it has sent a FIN.
Connection connect_to_origin(const Authority& origin, const Connection& client,
    const Options& options, Exchange& exchange,
    const std::function<void()>& client_finished = nullptr);

/// The Failure to answer for an error of the connection to a server.
Failure server_failure(const std::string& address, const NetError& error);

/// Any exception as a Failure: a limit of the system is 503, the rest 500.
Failure to_failure(const std::exception& error);

Side side_of(Peer peer) noexcept;

/// How a direction of a tunnel ended, for the log.
Ending to_ending(const std::exception& error);

// diagnosis -- why a tunnel failed, as far as an observer on the path can tell.
//
// Only what passed in clear is certain ("seen").  What is sealed can be guessed
// from sizes and order, and a guess says so ("inferred"): a wrong reason that
// sounds sure costs its reader more than none.

#pragma once

#include <string>

#include "../http/message.h"
#include "event.h"
#include "tls.h"

/// How the first of a tunnel's two directions came to its end.
struct Ending {
    std::string text;
    Side by = Side::proxy;
    int error = 0;  ///< errno, ETIMEDOUT for silence; 0 for a FIN
};

/// Both give "seen: ..." or "inferred: ...", or "" if all seems well.

/// A plain response: does it send the client away from plain HTTP?
std::string diagnose_response(const ResponseHead& response);

/// A tunnel that has ended.
std::string diagnose_tunnel(const tls::Seen& client, const tls::Seen& server,
    const Ending& first_ending);

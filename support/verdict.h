// verdict -- why a tunnel did not do what its client wanted, as far as whoever
// carries its bytes can tell.
//
// Certain is only what passed in clear.  What is sealed can be guessed from
// sizes and order, and a guess says that it is one: a wrong reason that sounds
// sure costs its reader more than none.

#pragma once

#include <optional>
#include <string>

#include "connection.h"
#include "http_message.h"
#include "tls_view.h"

/// How the first of a tunnel's two directions came to its end.
struct Ending {
    std::string words;
    std::optional<Peer> by;  ///< nothing: the proxy itself
    int error = 0;  ///< errno, ETIMEDOUT for silence; 0 for a FIN
};

/// Both give "seen: ..." or "inferred: ...", or nothing if all seems well.

/// A plain response: does it send the client away from plain HTTP?
std::optional<std::string> response_verdict(const ResponseHead& response);

/// A tunnel that has ended.
std::optional<std::string> tls_verdict(const tls::Reader& client,
    const tls::Reader& server, const Ending& first_ending);

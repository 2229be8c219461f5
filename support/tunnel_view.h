// tunnel_view -- what whoever carries a tunnel sees of it: the beginning of
// each direction, and its end.

#pragma once

#include <atomic>
#include <exception>
#include <string_view>

#include "story.h"
#include "tls_view.h"
#include "verdict.h"

/// Watches one tunnel.  Each direction may have a thread of its own.
class TunnelView {
public:
    explicit TunnelView(Exchange& exchange);

    /// Bytes that have just been sent on: delays nothing, changes nothing.
    void passed(Peer sender, std::string_view bytes);

    /// How a direction ended.
    void finished(Peer sender);
    void failed(Peer sender, const std::exception& error);

    /// When both have ended: the first end is the cause, and the other its
    /// effect.  Adds it to the exchange, with the verdict.
    void conclude();

private:
    tls::Reader& of(Peer sender)
    {
        return sender == Peer::client ? from_client_ : from_server_;
    }
    void ended(Ending ending);

    Exchange& exchange_;
    tls::Reader from_client_;
    tls::Reader from_server_;
    std::atomic_flag has_ended_;
    Ending first_;  // to be read when the threads have been joined
};

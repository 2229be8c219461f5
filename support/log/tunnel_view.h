// tunnel_view -- what an observer on the path can see of a tunnel: the
// beginning of each direction, and its end.

#pragma once

#include <atomic>
#include <string_view>

#include "diagnosis.h"
#include "exchange.h"
#include "tls.h"

/// Watches one tunnel.  Each direction may have its own thread.
class TunnelView {
public:
    explicit TunnelView(Exchange& exchange);

    /// Bytes that were just sent on; `bytes` is empty once they are spliced.
    void passed(Side sender, std::uint64_t size, std::string_view bytes);

    /// How a direction ended.  After a failure the other direction ends because
    /// the proxy shuts both sockets down, and that is not shown as a FIN.
    void finished(Side sender);
    void failed(Side sender, Ending ending);

    /// After both have ended: notes in the exchange how the first one did,
    /// because its end caused the other's, and the diagnosis.
    void conclude();

private:
    tls::Reader& of(Side sender)
    {
        return sender == Side::client ? from_client_ : from_server_;
    }
    tls::Reader::Show show(Side sender);
    void ended(Ending ending);

    Exchange& exchange_;
    tls::Reader from_client_;
    tls::Reader from_server_;
    std::atomic_flag has_ended_;
    std::atomic<bool> is_broken_{false};
    Ending first_;  // to be read after the threads were joined
};

#include "tunnel_view.h"

TunnelView::TunnelView(Exchange& exchange)
    : exchange_{exchange}, from_client_{show(Side::client),
                               exchange.trace.draws()},
      from_server_{show(Side::server), exchange.trace.draws()}
{
}

// Without a listener nothing is decoded.
tls::Reader::Show TunnelView::show(Side sender)
{
    if (!exchange_.trace)
        return nullptr;
    return [&trace = exchange_.trace, sender](
               tls::Message message) { trace.tls(sender, std::move(message)); };
}

void TunnelView::passed(Side sender, std::uint64_t size, std::string_view bytes)
{
    exchange_.trace.passed(sender, size);
    tls::Reader& direction = of(sender);
    if (!direction.seen().anything && sender == Side::server)
        exchange_.first_byte = Exchange::Clock::now() - exchange_.start;
    if (bytes.empty())
        direction.miss();
    else
        direction.read(bytes);
}

void TunnelView::finished(Side sender)
{
    if (!is_broken_)
        exchange_.trace.finished(sender);
    ended({sender == Side::client ? "client finished first"
                                  : "server finished first",
        sender, 0});
}

void TunnelView::failed(Side sender, Ending ending)
{
    is_broken_ = true;
    exchange_.trace.broken(sender, ending.text, ending.by, ending.error);
    ended(std::move(ending));
}

void TunnelView::ended(Ending ending)
{
    if (!has_ended_.test_and_set())
        first_ = std::move(ending);
}

void TunnelView::conclude()
{
    exchange_.ending += first_.text;
    exchange_.diagnosis
        = diagnose_tunnel(from_client_.seen(), from_server_.seen(), first_);
}

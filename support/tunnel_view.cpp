#include "tunnel_view.h"

namespace {

tls::Reader::Depth depth(const Trace& trace)
{
    return trace ? tls::Reader::Depth::messages : tls::Reader::Depth::records;
}

Way way_from(Peer sender)
{
    return sender == Peer::client ? Way::client_across : Way::server_across;
}

}  // namespace

TunnelView::TunnelView(Exchange& exchange)
    : exchange_{exchange}, from_client_{depth(exchange.trace)},
      from_server_{depth(exchange.trace)}
{
}

void TunnelView::passed(Peer sender, std::string_view bytes)
{
    tls::Reader& direction = of(sender);
    if (!direction.has_begun()) {
        if (sender == Peer::server && !exchange_.first_byte)
            exchange_.first_byte = Clock::now() - exchange_.start;
        exchange_.trace.step(way_from(sender), "first byte");
    }
    if (!direction.is_done())
        for (const tls::Event& event : direction.read(bytes))
            if (exchange_.trace)
                exchange_.trace.step(way_from(sender), to_words(event));
}

void TunnelView::finished(Peer sender)
{
    exchange_.trace.step(
        way_from(sender), "FIN: nothing more comes from this side");
    ended({sender == Peer::client ? "client finished first"
                                  : "server finished first",
        sender});
}

void TunnelView::failed(Peer sender, const std::exception& error)
{
    exchange_.trace.step(way_from(sender), error.what());
    const auto* const broken = dynamic_cast<const PeerError*>(&error);
    if (broken != nullptr)
        ended({error.what(), broken->peer, broken->error});
    else
        ended({error.what(), std::nullopt});
}

void TunnelView::ended(Ending ending)
{
    if (!has_ended_.test_and_set())
        first_ = std::move(ending);
}

void TunnelView::conclude()
{
    exchange_.ending += first_.words;
    exchange_.verdict
        = tls_verdict(from_client_, from_server_, first_).value_or("");
}

// trace -- tells what happens on one client's connection, step by step: the
// events that --trace prints and the live page draws.

#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "../http/error.h"
#include "../http/framing.h"
#include "../http/message.h"
#include "event.h"
#include "tls_message.h"

struct Exchange;

/// Where events go.  Without a listener none is built.
struct TraceSettings {
    bool bodies = false;  ///< --show-bodies
    bool draws = false;  ///< what is only drawn is told too
    std::function<void(const Event&)> listener;
    std::function<bool()> wants;  ///< the next exchange; null: each of them
};

/// For one connection of a client.  Its threads may all call it; events are
/// numbered in the order in which they are told.  Without a listener no call
/// formats its arguments.
class Trace {
public:
    Trace(const TraceSettings& settings, std::uint64_t connection);
    ~Trace();  ///< tells that the connection was closed

    explicit operator bool() const noexcept { return is_wanted_; }

    /// From now on events belong to the next exchange; its id, "#12.3".
    std::string next_exchange();

    // --- A request ----------------------------------------------------------
    void accepted(const std::string& client);
    void request_received(const RequestHead& head);
    /// What was read of a head that is no request.
    void head_rejected(std::string_view bytes);
    void credentials_accepted();
    void request_sent(const RequestHead& received, const RequestHead& forwarded,
        BodyFraming body);

    /// The client asked for an upgrade, which --connect-ports forbids.
    void upgrade_withheld(const std::string& port);

    // --- The way to the server ----------------------------------------------
    void resolving(const std::string& host);
    void resolved(
        const std::string& addresses, std::chrono::steady_clock::duration time);
    void connecting(const std::string& address);
    void connect_failed(const std::string& address, const std::string& error);
    void connected(const std::string& address);

    // --- A response ---------------------------------------------------------
    void response_received(const ResponseHead& head, BodyFraming body);
    void response_sent(
        const ResponseHead& received, const ResponseHead& forwarded);
    /// A response of the proxy's own.
    void answered(std::string_view response);
    void failed(const Failure& failure);
    void body_text(Side sender, const std::string& text);
    void body_ended(Side sender, std::uint64_t size);

    // --- A tunnel -----------------------------------------------------------
    void passed(Side sender, std::uint64_t size) noexcept;
    void tls(Side sender, tls::Message message);
    void finished(Side sender);
    /// `whose` connection failed, with which errno.
    void broken(Side sender, const std::string& error, Side whose = Side::proxy,
        int number = 0);

    /// The end of an exchange, with its diagnosis.
    void ended(const Exchange& exchange);

    /// The exchange is that of a page which draws events: it is not drawn.
    void is_watcher();

    bool shows_bodies() const noexcept { return settings_.bodies && *this; }
    bool draws() const noexcept { return settings_.draws && *this; }

private:
    bool asks_whether_wanted() const;
    std::uint64_t passed_by(Side sender) const noexcept;
    void emit(Event event);

    const TraceSettings& settings_;
    const std::uint64_t connection_;
    const std::chrono::steady_clock::time_point accepted_
        = std::chrono::steady_clock::now();
    bool is_wanted_;  // this exchange
    bool was_wanted_;  // an exchange of this connection
    Passed passed_;
    std::mutex mutex_;  // for what follows, and for the order of events
    int exchange_ = 0;
    int step_ = 0;
};

/// Shows the text of one body while it passes: the first 4 KiB, and no
/// character torn.
class BodyShown {
public:
    BodyShown(Trace& trace, Side sender)
        : trace_{trace}, sender_{sender}, over_{!trace.shows_bodies()}
    {
    }
    void show(std::string_view bytes);

private:
    Trace& trace_;
    Side sender_;
    bool over_;
    std::size_t left_ = 4096;
    std::string held_back_;  // the beginning of a character
};

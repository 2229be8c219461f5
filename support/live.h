// live -- the page that draws what the proxy does, and the events it is sent.
//
// GET / is the page (log/live.html), GET /events its stream of server-sent
// events (HTML Living Standard §9.2).  A watcher is a client like any other: a
// thread that blocks in its own socket.  Threads that serve other clients only
// append to bounded queues, and never wait for a watcher.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "access.h"
#include "http/message.h"
#include "log/event.h"
#include "log/exchange.h"
#include "net/connection.h"

/// The events of all connections: the last ones, what is known of those that
/// are open, and a queue for each watcher.
class EventHub {
public:
    static constexpr std::size_t max_history = 500;  ///< events
    /// Bytes of an event's JSON; a larger one is shortened.  A head of 64 KiB
    /// could make 300 KiB of it, and of each open connection 12 are kept.
    static constexpr std::size_t max_event = 8 * 1024;
    static constexpr std::size_t max_queue = 2000;  ///< events of one watcher
    static constexpr std::size_t max_watchers = 50;
    /// Exchanges in a second that are told while no watcher listens.
    static constexpr int max_unwatched = 50;

    /// The listener of each Trace.  Events that hold a body are left out, and
    /// so are the exchanges of watchers.
    void tell(const Event& event) noexcept;

    /// Whether to tell the events of the next exchange.  Building them costs
    /// more than being watched may cost a proxy that is busy, so while no
    /// page is open only the first exchanges of each second are told.
    bool wants() noexcept;

    /// The queue of one watcher, from the constructor to the destructor.
    class Watcher {
    public:
        /// Begins with what a late joiner has to know.  Throws Failure 503 for
        /// one watcher too many.
        explicit Watcher(EventHub& hub);
        ~Watcher();
        Watcher(const Watcher&) = delete;
        Watcher& operator=(const Watcher&) = delete;

        /// The next events as they are sent; empty if there was none for a
        /// quarter of a second.
        std::string next();

    private:
        friend class EventHub;
        EventHub& hub_;
        std::deque<std::shared_ptr<const std::string>> queue_;
        std::size_t skipped_ = 0;  // events that did not fit
        std::uint64_t untold_ = 0;  // of the hub, when the first did not fit
        std::condition_variable arrived_;
    };

private:
    using Message = std::shared_ptr<const std::string>;

    struct Told {
        std::uint64_t connection;
        int exchange;
        Message message;
    };
    struct Open {
        const Passed* passed = nullptr;
        std::uint64_t last_sum = 0;  // of the bytes passed, when last sent
        std::vector<Told> essentials;  // what a late joiner is told again
    };

    void add(const Event& event, const std::string& json);
    void hide(const Event& event);
    bool is_hidden(const Event& event);
    void note_open(const Event& event, const Message& message);
    void send_to_all(const Message& message);
    void count_listening();
    void send_bytes_passed();
    std::string state() const;

    std::mutex mutex_;  // for what follows, and the queues
    std::uint64_t last_id_ = 0;
    std::deque<Told> history_;
    std::map<std::uint64_t, Open> open_;  // by number of the connection
    std::map<std::uint64_t, int> hidden_;  // connections with their exchange
    std::set<Watcher*> watchers_;
    std::chrono::steady_clock::time_point last_bytes_{};

    std::atomic<std::size_t> listening_{0};  // watchers that skip nothing
    std::atomic<std::uint64_t> untold_{0};  // exchanges not recorded
    std::atomic<std::int64_t> second_{0};
    std::atomic<int> in_this_second_{0};
};

/// --live: the page, its stream, and who may see them.
class LivePage {
public:
    /// Has the page told of events too, besides the listener that is there.
    void listen(TraceSettings& trace);

    /// Threads of --max-clients that serve watchers, who have slots of their
    /// own.
    std::size_t slots_of_watchers() const noexcept { return slots_; }

    /// Answers a GET of / or of /events; false for any other request.  With
    /// `takes_slot`, the thread counts among the --max-clients.  Throws Failure
    /// for one that may not have it.
    bool answer(Connection& client, const RequestHead& request, bool takes_slot,
        const Users& users, Exchange& exchange);

private:
    void send_page(Connection& client, const RequestHead& request);
    void send_events(Connection& client, bool takes_slot, Exchange& exchange);

    EventHub hub_;
    std::atomic<std::size_t> slots_{0};
};

/// Throws Failure for a request that may not see the page.  Without users:
/// loopback clients only, by an address or as localhost, because another name
/// may have been made to lead here (DNS rebinding).  With users: those with the
/// password, in Authorization.  Never for another site.
void check_watcher(const RequestHead& request, const std::string& client,
    bool is_stream, const Users& users);

// What watchers of the live page are told, without sockets.

#include <sys/resource.h>

#include "catch.h"
#include "harness.h"
#include "support/live.h"

using Catch::Matchers::EndsWith;

namespace {

const Passed no_bytes;

Event event_of(std::uint64_t connection, int exchange, std::string_view kind,
    Values values = {})
{
    Event event{kind, {Side::client, Side::proxy}, "", Weight::story,
        std::move(values)};
    event.connection = connection;
    event.exchange = exchange;
    event.passed = &no_bytes;
    return event;
}

// Everything that is queued now.
std::string all_of(EventHub::Watcher& watcher)
{
    std::string all;
    for (std::string some; !(some = watcher.next()).empty();)
        all += some;
    return all;
}

void tell_short_connections(EventHub& hub, std::uint64_t from, std::size_t n)
{
    for (std::uint64_t i = from; i < from + n; ++i) {
        hub.tell(event_of(i, 0, "accepted"));
        hub.tell(event_of(i, 1, "request"));
        hub.tell(event_of(i, 1, "ended"));
        hub.tell(event_of(i, 1, "closed"));
    }
}

}  // namespace

TEST_CASE(
    "a late watcher is told the last 500 events, and what is open", "[live]")
{
    EventHub hub;
    hub.tell(event_of(1, 1, "request", {{"target", std::string{"long-ago"}}}));
    tell_short_connections(hub, 2, 200);
    EventHub::Watcher watcher{hub};
    const std::string told = all_of(watcher);

    CHECK(count(told, "\ndata: {\"connection\"") == EventHub::max_history + 1);
    CHECK_THAT(told, ContainsSubstring("\"target\":\"long-ago\""));
    CHECK_THAT(told, ContainsSubstring("event: open\ndata: {\"open\":[1],"));
}

TEST_CASE(
    "a queue that is full skips until it is empty, and says how many", "[live]")
{
    EventHub hub;
    EventHub::Watcher slow{hub};
    EventHub::Watcher quick{hub};
    all_of(slow);
    hub.tell(event_of(1, 1, "request", {{"target", std::string{"open"}}}));
    tell_short_connections(hub, 2, EventHub::max_queue / 2);
    const std::string told = all_of(slow);

    const std::size_t sent = count(told, "\"kind\":\"accepted\"")
        + count(told, "\"kind\":\"ended\"") + count(told, "\"kind\":\"closed\"")
        + count(told, "\"kind\":\"request\"");
    // One of them was told again, with the state.
    CHECK(sent == EventHub::max_queue + 1);
    CHECK_THAT(told,
        ContainsSubstring("event: skipped\ndata: {\"skipped\":"
            + std::to_string(1 + EventHub::max_queue * 2 - EventHub::max_queue)
            + ",\"untold\":0}"));
    CHECK_THAT(told, EndsWith("}\n\n"));
    CHECK_THAT(told, ContainsSubstring("{\"open\":[1],"));

    hub.tell(event_of(1, 1, "closed"));
    CHECK_THAT(all_of(slow), ContainsSubstring("\"kind\":\"closed\""));
    CHECK(all_of(slow).empty());
}

TEST_CASE("a large event is told without its lists, and its text cut", "[live]")
{
    EventHub hub;
    EventHub::Watcher watcher{hub};
    all_of(watcher);
    const std::string much(64 * 1024, '\xff');
    Event event = event_of(1, 1, "request",
        {{"method", std::string{"GET"}}, {"target", much},
            {"fields", FieldChanges{{"X", much, ""}}},
            {"names", std::vector<std::string>{much}}});
    event.text = much;
    hub.tell(event);
    const std::string told = all_of(watcher);

    REQUIRE(told.size() < 4 * EventHub::max_event);
    CHECK_THAT(told, ContainsSubstring("\"method\":\"GET\",\"target\":\""));
    CHECK_THAT(told, ContainsSubstring("... (65536 bytes)\",\"fields\":[],"));
    CHECK_THAT(told, ContainsSubstring("\"names\":[]}"));
}

#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
TEST_CASE("a connection ends without memory for the event of it", "[live]")
{
    EventHub hub;
    hub.tell(event_of(1, 1, "request"));
    hub.tell(event_of(2, 1, "request"));
    Event event = event_of(1, 1, "closed");
    event.text.assign(16 << 20, 'x');

    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_AS, &before) == 0);
    const rlimit no_more{64 << 20, before.rlim_max};  // no large allocation
    REQUIRE(::setrlimit(RLIMIT_AS, &no_more) == 0);
    hub.tell(event);
    REQUIRE(::setrlimit(RLIMIT_AS, &before) == 0);

    EventHub::Watcher watcher{hub};
    const std::string told = all_of(watcher);
    CHECK_THAT(told, !ContainsSubstring("\"kind\":\"closed\""));
    CHECK_THAT(told, ContainsSubstring("event: open\ndata: {\"open\":[2],"));
}
#endif

TEST_CASE("the exchanges of watchers are not told", "[live]")
{
    EventHub hub;
    EventHub::Watcher before{hub};
    all_of(before);
    SECTION("on a connection of their own")
    {
        hub.tell(event_of(1, 0, "accepted"));
        hub.tell(event_of(1, 1, "watcher"));
        for (const char* const kind : {"failure", "ended", "closed"})
            hub.tell(event_of(1, 1, kind));
        CHECK(count(all_of(before), "\"kind\":\"") == 2);  // accepted, watcher
        EventHub::Watcher after{hub};
        const std::string told = all_of(after);
        CHECK(count(told, "\"kind\":\"") == 0);
        CHECK_THAT(told, ContainsSubstring("{\"open\":[],"));
    }
    SECTION("on a connection that was relayed for before")
    {
        hub.tell(event_of(1, 0, "accepted"));
        hub.tell(event_of(1, 1, "ended"));
        hub.tell(event_of(1, 2, "request"));  // by an absolute-form target
        hub.tell(event_of(1, 2, "watcher"));
        hub.tell(event_of(1, 2, "ended"));
        hub.tell(event_of(1, 3, "closed"));
        EventHub::Watcher after{hub};
        const std::string told = all_of(after);
        CHECK(count(told, "\"exchange\":2") == 0);
        CHECK_THAT(told, ContainsSubstring("\"kind\":\"closed\""));
    }
}

TEST_CASE("bodies never reach a watcher", "[live]")
{
    EventHub hub;
    EventHub::Watcher watcher{hub};
    all_of(watcher);
    hub.tell(event_of(1, 1, "body_text"));
    CHECK(all_of(watcher).empty());
}

TEST_CASE("at most 50 watch, and one that leaves makes room", "[live]")
{
    EventHub hub;
    std::vector<std::unique_ptr<EventHub::Watcher>> watchers;
    while (watchers.size() < EventHub::max_watchers)
        watchers.push_back(std::make_unique<EventHub::Watcher>(hub));
    CHECK_THROWS_AS(EventHub::Watcher{hub}, Failure);
    watchers.pop_back();
    CHECK_NOTHROW(EventHub::Watcher{hub});
}

TEST_CASE(
    "without a watcher a crowd is told in part, with one as a whole", "[live]")
{
    EventHub hub;
    const auto wanted = [&] {
        int n = 0;
        for (int i = 0; i < 10 * EventHub::max_unwatched; ++i)
            n += hub.wants() ? 1 : 0;
        return n;
    };
    const int alone = wanted();  // the second may end meanwhile
    CHECK(alone >= EventHub::max_unwatched);
    CHECK(alone < 10 * EventHub::max_unwatched);
    {
        EventHub::Watcher watcher{hub};
        CHECK(wanted() == 10 * EventHub::max_unwatched);
        all_of(watcher);
        tell_short_connections(hub, 1, EventHub::max_queue);
        CHECK(wanted() < 10 * EventHub::max_unwatched);  // its queue is full
        CHECK_THAT(all_of(watcher),
            ContainsSubstring("\"untold\":")
                && !ContainsSubstring("\"untold\":0"));
        CHECK(wanted() == 10 * EventHub::max_unwatched);
    }
    CHECK(wanted() < 10 * EventHub::max_unwatched);
}

TEST_CASE("bytes that pass through a tunnel are counted for watchers", "[live]")
{
    EventHub hub;
    EventHub::Watcher watcher{hub};
    all_of(watcher);
    Passed passed;
    Event event = event_of(7, 1, "request");
    event.passed = &passed;
    hub.tell(event);
    passed.to_server = 5;
    std::string told;
    while (told.find("\"kind\":\"bytes\"") == std::string::npos)
        told = watcher.next();
    CHECK_THAT(told,
        ContainsSubstring("{\"connection\":7,\"kind\":\"bytes\","
                          "\"to_server\":5,\"to_client\":0}"));
    CHECK_THAT(told, !ContainsSubstring("id:"));  // not kept
    hub.tell(event_of(7, 1, "closed"));
}

#include "support/live.h"

#include <sys/resource.h>

#include "catch.h"
#include "harness.h"

using Catch::Matchers::EndsWith;

namespace {

// --- The hub, without sockets -----------------------------------------------

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

std::size_t count(const std::string& text, std::string_view part)
{
    std::size_t n = 0;
    for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos;
         at += part.size())
        ++n;
    return n;
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

// --- Who may watch ----------------------------------------------------------

namespace {

struct Asking {
    const char* target;
    const char* host;
    const char* client;
    Fields more;
    bool is_stream;
};

const ErrorKind* refusal(const Asking& asking, const Users& users = {})
try {
    RequestHead request{
        "GET", asking.target, Version::http_1_1, {{"Host", asking.host}}};
    request.fields.insert(
        request.fields.end(), asking.more.begin(), asking.more.end());
    if (request.target != "/")
        make_origin_form(request);
    check_watcher(request, asking.client, asking.is_stream, users);
    return nullptr;
} catch (const Failure& failure) {
    return &failure.kind();
}

}  // namespace

TEST_CASE("without --user loopback clients watch, by an address or localhost",
    "[live]")
{
    const auto local = "127.0.0.1:5000";
    for (const auto host :
        {"127.0.0.1:3128", "localhost:3128", "LocalHost", "[::1]:3128"})
        CHECK(refusal({"/", host, local, {}, false}) == nullptr);
    CHECK(refusal({"/", "[::1]:3128", "[::1]:5000", {}, false}) == nullptr);
    CHECK(
        refusal({"http://127.0.0.1:3128/", "x", local, {}, false}) == nullptr);
    for (const auto host : {"evil.example", "evil.example:3128", "", "a b",
             "localhost.evil.example", "127.0.0.1.evil.example"})
        CHECK(refusal({"/", host, local, {}, false}) == &error::live_by_name);
    CHECK(refusal(
              {"http://evil.example:3128/", "127.0.0.1:3128", local, {}, false})
        == &error::live_by_name);
    CHECK(refusal({"/", "127.0.0.1:3128", "192.0.2.1:5000", {}, false})
        == &error::live_loopback_only);
}

TEST_CASE("with --user those with the password watch, loopback too", "[live]")
{
    const Users users{{"sam:secret"}};
    const FieldLine right{"Authorization", "Basic c2FtOnNlY3JldA=="};
    const FieldLine wrong{"Authorization", "Basic c2FtOndyb25n"};
    const FieldLine of_proxy{"Proxy-Authorization", "Basic c2FtOnNlY3JldA=="};
    CHECK(refusal(
              {"/", "teacher.example", "192.0.2.1:5000", {right}, true}, users)
        == nullptr);
    for (const Fields& fields :
        {Fields{}, Fields{wrong}, Fields{of_proxy}, Fields{right, wrong}})
        CHECK(refusal({"/", "127.0.0.1:3128", "127.0.0.1:5000", fields, true},
                  users)
            == &error::live_password);
}

TEST_CASE("no other site's page watches", "[live]")
{
    const auto refused = [](FieldLine field, bool is_stream) {
        return refusal({"/", "127.0.0.1:3128", "127.0.0.1:5000",
                   {std::move(field)}, is_stream})
            == &error::live_foreign;
    };
    CHECK_FALSE(refused({"Origin", "http://127.0.0.1:3128"}, true));
    CHECK(refused({"Origin", "http://evil.example"}, true));
    CHECK(refused({"Origin", "null"}, true));
    CHECK(refused({"Origin", "http://127.0.0.1:8080"}, false));
    CHECK(refused({"Sec-Fetch-Site", "cross-site"}, true));
    CHECK(refused({"Sec-Fetch-Site", "same-site"}, true));
    CHECK_FALSE(refused({"Sec-Fetch-Site", "same-origin"}, true));
    CHECK_FALSE(refused({"Sec-Fetch-Site", "cross-site"}, false));  // a link
}

// --- The page ---------------------------------------------------------------

namespace {

std::string ask(const Proxy& proxy, const std::string& request_line,
    const std::string& more = "")
{
    TestSocket client = proxy.connect();
    client.send(request_line + " HTTP/1.1\r\nHost: " + proxy.authority()
        + "\r\n" + more + "\r\n");
    return client.read_to_end();
}

TestSocket watch(const Proxy& proxy)
{
    TestSocket client = proxy.connect();
    client.send(
        "GET /events HTTP/1.1\r\nHost: " + proxy.authority() + "\r\n\r\n");
    CHECK_THAT(client.read_head(), ContainsSubstring("text/event-stream"));
    client.read_until("event: open\n");
    return client;
}

}  // namespace

TEST_CASE("--live serves the page with a policy and a nonce", "[live]")
{
    const Proxy proxy{{"--live"}};
    const std::string page = ask(proxy, "GET /");
    CHECK(first_line(page) == "HTTP/1.1 200 OK");
    const std::string policy = field_lines(page, "Content-Security-Policy")[0];
    CHECK_THAT(policy, !ContainsSubstring("unsafe-inline"));
    const std::size_t at = policy.find("script-src 'nonce-") + 18;
    const std::string nonce = policy.substr(at, policy.find('\'', at) - at);
    CHECK(nonce.size() == 32);
    CHECK(count(page, "nonce=\"" + nonce + "\"") == 3);
    CHECK(field_lines(page, "X-Content-Type-Options").size() == 1);
    CHECK(field_lines(page, "Referrer-Policy").size() == 1);
    CHECK(field_lines(page, "Access-Control-Allow-Origin").empty());
    CHECK(page.ends_with("</html>\n"));
    CHECK_THAT(ask(proxy, "GET /"), !ContainsSubstring(nonce));
    CHECK_THAT(ask(proxy, "HEAD /"), EndsWith("\r\n\r\n"));

    const std::string absolute
        = ask(proxy, "GET http://" + proxy.authority() + "/");
    CHECK_THAT(absolute, ContainsSubstring("<title>forward_proxy live"));
    CHECK_THAT(ask(proxy, "GET /", "Origin: http://evil.example\r\n"),
        StartsWith("HTTP/1.1 403 Live Page Not For Other Sites\r\n"));
}

TEST_CASE("without --live, / is a short text that names it", "[live]")
{
    const std::string answer = ask(default_proxy(), "GET /");
    CHECK_THAT(answer, ContainsSubstring("Content-Type: text/plain"));
    CHECK_THAT(answer, ContainsSubstring("--live"));
    CHECK_THAT(ask(default_proxy(), "GET /events"),
        StartsWith("HTTP/1.1 400 Not A Proxy Request\r\n"));
}

TEST_CASE("the page asks for a password where the proxy does", "[live]")
{
    const Proxy proxy{{"--live", "--user", "sam:secret"}};
    const std::string refused = ask(proxy, "GET /");
    CHECK_THAT(refused, StartsWith("HTTP/1.1 401 "));
    CHECK(field_lines(refused, "WWW-Authenticate").size() == 1);
    CHECK_THAT(ask(proxy, "GET /events"), StartsWith("HTTP/1.1 401 "));
    CHECK_THAT(ask(proxy, "GET /", "Authorization: Basic c2FtOnNlY3JldA==\r\n"),
        StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_CASE("a watcher sees an exchange, and no secret of it", "[live]")
{
    const Proxy proxy{{"--live", "--trace", "--show-bodies"}};
    const Origin origin;
    TestSocket watcher = watch(proxy);
    TestSocket client = proxy.connect();
    client.send("POST http://sam:word-1@" + origin.authority()
        + "/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    client.read_to_end();
    client = proxy.connect();
    client.send("POST " + origin.url()
        + " HTTP/1.1\r\nHost: " + origin.authority()
        + "\r\nAuthorization: Basic word-2\r\nCookie: word-3\r\n"
          "Content-Length: 6\r\nConnection: close\r\n\r\nword-4");
    TestSocket server = origin.accept();
    server.read_until("word-4");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n"
                "Set-Cookie: word-5\r\n\r\nword-6");
    client.read_to_end();
    const std::string told = watcher.read_until("\"kind\":\"closed\"")
        + watcher.read_until("\"kind\":\"closed\"");
    CHECK_THAT(told, ContainsSubstring("\"kind\":\"changes\""));
    CHECK_THAT(told, !ContainsSubstring("word-"));
}

TEST_CASE("a watcher sees how much passes through a tunnel", "[live]")
{
    const Proxy proxy{{"--live"}};
    TestSocket watcher = watch(proxy);
    Tunnel tunnel{proxy};
    tunnel.client.send("12345");
    tunnel.server.read_exactly(5);
    tunnel.server.send("123");
    tunnel.client.read_exactly(3);
    tunnel.client.finish_sending();
    tunnel.server.read_to_end();
    tunnel.server.finish_sending();
    watcher.read_until("\"kind\":\"fin\"");
    const std::string told = watcher.read_until("\"kind\":\"ended\"");
    CHECK_THAT(told, ContainsSubstring("\"size\":5"));
    CHECK_THAT(told, ContainsSubstring("\"size\":3"));
}

TEST_CASE("watchers take no slot of --max-clients", "[live]")
{
    const Proxy proxy{{"--live", "--max-clients", "1"}};
    TestSocket one = watch(proxy);
    TestSocket two = watch(proxy);
    const Origin origin;
    const Tunnel tunnel{proxy, origin};
    TestSocket three = watch(proxy);
    TestSocket refused = proxy.connect();
    refused.send(connect_request(origin.authority()));
    CHECK_THAT(refused.read_to_end(), StartsWith("HTTP/1.1 503 "));
    three.read_until("\"kind\":\"failure\"");
    TestSocket silent = proxy.connect();
    CHECK_THAT(silent.read_to_end(), StartsWith("HTTP/1.1 503 "));
}

TEST_CASE("a stop does not wait for watchers", "[live]")
{
    Proxy proxy{{"--live"}};
    std::vector<TestSocket> watchers;
    for (int i = 0; i < 20; ++i)
        watchers.push_back(watch(proxy));
    CHECK(proxy.stop() == 0);
    CHECK_THAT(proxy.child().output(), !ContainsSubstring("under way"));
}

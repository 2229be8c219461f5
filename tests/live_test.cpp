#include "support/live.h"

#include "catch.h"
#include "harness.h"

using Catch::Matchers::EndsWith;

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

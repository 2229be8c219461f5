// The experiments of the README, with a real curl and a real nginx.

#include "catch.h"
#include "harness.h"
#include "servers.h"

namespace {

// Serves two files over http, and over https with HTTP/2.
class Website {
public:
    Website()
    {
        write_file(file("hello.txt"), "hello from nginx\n");
        write_file(file("big.bin"), some_bytes(5'000'000));
    }
    std::string http(const std::string& path) const
    {
        return "http://" + nginx_.authority(0) + path;
    }
    std::string https(const std::string& path) const
    {
        return "https://" + nginx_.authority(1) + path;
    }
    std::string https_port() const { return nginx_.port(1); }
    std::string certificate() const { return certificates_.good(); }
    std::string file(const std::string& name) const
    {
        return certificates_.dir() / name;
    }

private:
    Certificates certificates_;
    Nginx nginx_{certificates_, {";", "ssl http2;"}};
};

Finished curl(const Proxy& proxy, std::vector<std::string> arguments)
{
    arguments.insert(arguments.begin(),
        {"curl", "-sS", "--max-time", "60", "-x", "http://" + proxy.authority(),
            "--noproxy", ""});
    return run(arguments);
}

}  // namespace

// --- The three experiments --------------------------------------------------

TEST_CASE("curl gets a page whose name RFC 3986 does not allow", "[curl]")
{
    Proxy proxy;
    const Website nginx;
    const std::string name = "搜索|[1]{2}^`\"<3>\\.txt";
    write_file(nginx.file(name), "found\n");
    const Finished page
        = curl(proxy, {"-g", nginx.http("/" + name + "?q=中文|%")});
    CHECK(page.status == 0);
    CHECK(page.output == "found\n");
}

TEST_CASE("curl gets and heads a page", "[curl]")
{
    Proxy proxy;
    const Website nginx;
    const Finished page = curl(proxy, {nginx.http("/hello.txt?x=1")});
    CHECK(page.status == 0);
    CHECK(page.output == "hello from nginx\n");
    const Finished head = curl(proxy, {"-I", nginx.http("/hello.txt")});
    CHECK_THAT(head.output, ContainsSubstring("Content-Length: 17"));
    CHECK_THAT(head.output, ContainsSubstring("Via: 1.1 forward_proxy-"));
    CHECK_THAT(
        curl(proxy, {nginx.http("/missing")}).output, ContainsSubstring("404"));
}

// The reference's own example, which it cannot carry itself.
TEST_CASE("curl posts the reference's JSON, byte for byte", "[curl]")
{
    const std::string json = "{\"message\": \"\xe4\xbd\xa0\xe5\xa5\xbd\xe3"
                             "\x80\x82\xe3\x80\x82\xe3\x80\x82\", "
                             "\"stream\": true}";
    Proxy proxy;
    Origin origin;
    std::string head;
    std::string body;
    Background server{[&] {
        TestSocket socket = origin.accept();
        head = socket.read_head();
        body = socket.read_exactly(json.size());
        socket.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }};
    const Finished finished = curl(proxy,
        {"-X", "POST", "-H", "Content-Type: application/json", "-H",
            "Authorization: Bearer token", "-b", "a=b; c=d", "-d", json,
            origin.url("/api/settings?role_name=mila")});
    server.join();
    CHECK(finished.output == "ok");
    CHECK(first_line(head) == "POST /api/settings?role_name=mila HTTP/1.1");
    CHECK(field_lines(head, "Authorization")
        == std::vector<std::string>{"Authorization: Bearer token"});
    CHECK(field_lines(head, "Cookie")
        == std::vector<std::string>{"Cookie: a=b; c=d"});
    CHECK(body == json);
}

TEST_CASE("curl reaches https through a tunnel", "[curl][tunnel]")
{
    Proxy proxy;
    const Website nginx;
    const auto version = GENERATE(as<std::string>{}, "1.1", "2");
    const Finished page = curl(proxy,
        {"--cacert", nginx.certificate(), "--http" + version, "-w",
            "%{http_connect} %{http_version}", nginx.https("/hello.txt")});
    CHECK(page.output == "hello from nginx\n200 " + version);
    CHECK(page.status == 0);
    const std::string line = proxy.wait_for_log(
        "\"CONNECT localhost:" + nginx.https_port() + "\"");
    CHECK_THAT(line, ContainsSubstring(" 200 "));
}

TEST_CASE("curl sees why a host cannot be reached", "[curl]")
{
    Proxy proxy;
    const Finished plain = curl(proxy, {"-i", "http://no-such-host.invalid/"});
    CHECK_THAT(plain.output, StartsWith("HTTP/1.1 502 Name Not Resolved"));
    const Finished tunnel
        = curl(proxy, {"-v", "https://no-such-host.invalid/"});
    CHECK(tunnel.status == 56);
    CHECK_THAT(
        tunnel.output, ContainsSubstring("< HTTP/1.1 502 Name Not Resolved"));
}

TEST_CASE("curl gives its credentials", "[curl][access]")
{
    Proxy proxy{{"--user", "sam:12345678"}};
    const Website nginx;
    CHECK_THAT(curl(proxy, {"-i", nginx.http("/hello.txt")}).output,
        StartsWith("HTTP/1.1 407 Proxy Authentication Required"));
    CHECK(curl(proxy, {"-U", "sam:12345678", nginx.http("/hello.txt")}).output
        == "hello from nginx\n");
    CHECK(curl(proxy,
              {"-U", "sam:12345678", "--cacert", nginx.certificate(),
                  nginx.https("/hello.txt")})
              .output
        == "hello from nginx\n");
    CHECK(curl(proxy, {"-U", "sam:wrong", nginx.https("/hello.txt")}).status
        == 56);
}

// How it began: nginx, set up as a forward proxy the way people try it, serves
// http and not https.  CONNECT is a 400 for it before 1.31.0, then a 405.
TEST_CASE("nginx as a forward proxy relays http, and refuses CONNECT",
    "[curl][nginx]")
{
    const Website website;
    const Certificates certificates;
    const Nginx nginx{certificates,
        {"; location / { proxy_pass http://$http_host$request_uri; resolver "
         "127.0.0.1; }"}};
    Proxy ours;
    std::string http = website.http("/hello.txt");
    http.replace(http.find("localhost"), 9, "127.0.0.1");  // needs no resolver
    const auto through = [&](const std::string& proxy, const std::string& url) {
        return run({"curl", "-sS", "--max-time", "60", "-x", proxy, "--noproxy",
            "", "--cacert", website.certificate(), url});
    };
    CHECK(through(nginx.authority(), http).output == "hello from nginx\n");
    CHECK(through(ours.authority(), http).output == "hello from nginx\n");

    const Finished refused
        = through(nginx.authority(), website.https("/hello.txt"));
    CHECK(refused.status == 56);
    CHECK_THAT(
        refused.output, ContainsSubstring("400") || ContainsSubstring("405"));
    CHECK(through(ours.authority(), website.https("/hello.txt")).output
        == "hello from nginx\n");
}

// --- Bodies -----------------------------------------------------------------

TEST_CASE("curl downloads a large file unchanged", "[curl]")
{
    Proxy proxy;
    const Website nginx;
    const bool secure = GENERATE(false, true);
    const Finished finished = curl(proxy,
        {"--cacert", nginx.certificate(), "-o", nginx.file("copy.bin"),
            secure ? nginx.https("/big.bin") : nginx.http("/big.bin")});
    CHECK(finished.status == 0);
    CHECK(
        read_file(nginx.file("copy.bin")) == read_file(nginx.file("big.bin")));
}

TEST_CASE("curl uploads in chunks", "[curl]")
{
    Proxy proxy;
    Origin origin;
    TempDir dir;
    write_file(dir / "body", some_bytes(200'000));
    std::string body;
    Background server{[&] {
        TestSocket socket = origin.accept();
        socket.read_head();
        for (;;) {
            const std::string line = socket.read_until("\r\n");
            const auto size = std::stoul(line, nullptr, 16);
            body += socket.read_exactly(size + 2).substr(0, size);
            if (size == 0)
                break;
        }
        socket.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }};
    const Finished finished = curl(proxy,
        {"-H", "Transfer-Encoding: chunked", "--data-binary",
            "@" + (dir / "body"), origin.url()});
    server.join();
    CHECK(finished.output == "ok");
    const bool is_equal = body == read_file(dir / "body");
    CHECK(is_equal);
}

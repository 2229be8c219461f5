// The experiments of the README, with a real curl and a real nginx.

#include <unistd.h>

#include <cstdlib>

#include "catch.h"
#include "harness.h"

namespace {

// nginx on two free ports: http, and https with HTTP/2.  It inherits listening
// sockets that are ready, so there is nothing to wait for.
class Nginx {
public:
    Nginx()
    {
        run({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
            "-keyout", dir_ / "key.pem", "-out", certificate()});
        write_file(dir_ / "hello.txt", "hello from nginx\n");
        write_file(dir_ / "big.bin", some_bytes(5'000'000));
        write_file(dir_ / "nginx.conf", configuration());
        const int http = http_.socket().descriptor();
        const int https = https_.socket().descriptor();
        child_ = std::make_unique<Child>(
            std::vector<std::string>{"env",
                "PATH=" + std::string{std::getenv("PATH")} + ":/usr/sbin",
                "NGINX=" + std::to_string(http) + ";" + std::to_string(https)
                    + ";",
                "nginx", "-e", "stderr", "-p", dir_ / "", "-c", "nginx.conf"},
            std::vector<int>{http, https});
    }

    std::string http(const std::string& path) const { return http_.url(path); }
    std::string https(const std::string& path) const
    {
        return "https://localhost:" + https_.port() + path;
    }
    std::string https_port() const { return https_.port(); }
    std::string certificate() const { return dir_ / "cert.pem"; }
    std::string file(const std::string& name) const { return dir_ / name; }

private:
    std::string configuration() const
    {
        const std::string user = ::geteuid() == 0 ? "user root;\n" : "";
        return user
            + "daemon off; worker_processes 1; pid nginx.pid;\n"
              "error_log stderr warn; events {}\n"
              "http { access_log off; default_type text/plain;\n"
              "  client_body_temp_path t1; proxy_temp_path t2;\n"
              "  fastcgi_temp_path t3; uwsgi_temp_path t4;\n"
              "  scgi_temp_path t5;\n"
              "  server { listen "
            + http_.authority() + "; root .; }\n  server { listen "
            + https_.authority()
            + " ssl http2; root .;\n"
              "    ssl_certificate cert.pem; ssl_certificate_key key.pem; }\n"
              "}\n";
    }

    TempDir dir_;
    Origin http_;
    Origin https_;
    std::unique_ptr<Child> child_;
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

TEST_CASE("curl gets and heads a page", "[curl]")
{
    Proxy proxy;
    Nginx nginx;
    const Finished page = curl(proxy, {nginx.http("/hello.txt?x=1")});
    CHECK(page.status == 0);
    CHECK(page.output == "hello from nginx\n");
    const Finished head = curl(proxy, {"-I", nginx.http("/hello.txt")});
    CHECK_THAT(head.output, ContainsSubstring("Content-Length: 17"));
    CHECK_THAT(head.output, ContainsSubstring("Via: 1.1 forward_proxy-"));
    CHECK_THAT(
        curl(proxy, {nginx.http("/missing")}).output, ContainsSubstring("404"));
}

// The reference's own example, which it cannot carry itself (R17, R28).
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
    Nginx nginx;
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

TEST_CASE("curl sees why a host cannot be reached", "[curl][P52]")
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
    Nginx nginx;
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

// --- Bodies -----------------------------------------------------------------

TEST_CASE("curl downloads a large file unchanged", "[curl]")
{
    Proxy proxy;
    Nginx nginx;
    const bool secure = GENERATE(false, true);
    const Finished finished = curl(proxy,
        {"--cacert", nginx.certificate(), "-o", nginx.file("copy.bin"),
            secure ? nginx.https("/big.bin") : nginx.http("/big.bin")});
    CHECK(finished.status == 0);
    CHECK(
        read_file(nginx.file("copy.bin")) == read_file(nginx.file("big.bin")));
}

TEST_CASE("curl uploads in chunks", "[curl][P26]")
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
